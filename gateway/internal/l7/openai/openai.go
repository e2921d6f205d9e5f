// Package openai reads what OpenAI's services, and the many that are built like
// them, are asked for and say: chat completions, responses, completions,
// embeddings, and lists of models, under /v1 or as Azure has them. It holds
// nothing back and changes nothing.
//
// Where a request could be read in two ways, it fails: what is told of it, every
// reader finds. Of an answer, what cannot be read is not told.
package openai

import (
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/inspect"
)

// Operations, as an inspect.Ask names them.
const (
	Chat           = "chat"
	Responses      = "responses"
	TextCompletion = "text_completion"
	Embeddings     = "embeddings"
	ListModels     = "list_models"
	GetModel       = "get_model"
	GetResponse    = "get_response"
	CancelResponse = "cancel_response"
	DeleteResponse = "delete_response"
)

// Protocol is OpenAI's. It has no state.
type Protocol struct{}

var _ inspect.Protocol = Protocol{}

// Request begins to read a request. It is nil where the head says it all, or
// where it is no operation of those above. A request of another operation than
// those that ask a model for something has a Request only if it contradicts itself.
func (Protocol) Request(head *l7.RequestHead) (inspect.Request, inspect.Ask) {
	ask, err := route(head)
	reads := requests[ask.Operation]
	switch {
	case err != nil:
		return &request{asks: [1]inspect.Ask{ask}, err: err}, ask
	case reads == nil:
		return nil, ask
	}
	r := &request{asks: [1]inspect.Ask{ask}, limit: -1}
	r.scan.Reset(reads.Paths, (*requestHandler)(r))
	r.schema = reads
	if kind, ok := inspect.MediaOf(head.Fields); !ok || kind != inspect.JSON {
		r.err = inspect.Unreadable("the content is of no JSON type", nil)
	}
	return r, ask
}

// Answer begins to read an answer. Rules do not matter: nothing is left out.
func (Protocol) Answer(asks []inspect.Ask, head *l7.ResponseHead, _ *inspect.Rules) inspect.Answer {
	operation := ""
	if len(asks) > 0 {
		operation = asks[0].Operation
	}
	kind, _ := inspect.MediaOf(head.Fields)
	said := inspect.NewSaid()
	said.Failed = head.Status >= 400
	switch {
	case kind == inspect.EventStream && streams[operation] != nil:
		return newStream(said, streams[operation])
	case kind == inspect.JSON && said.Failed:
		return newWhole(said, failures)
	case kind == inspect.JSON && answers[operation] != nil:
		return newWhole(said, answers[operation])
	case said.Failed:
		return inspect.Unread(said)
	default:
		return nil
	}
}
