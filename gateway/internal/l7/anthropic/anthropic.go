// Package anthropic reads what Anthropic's Messages API is asked for and says:
// messages, counts of tokens, lists of models, and batches of messages. It holds
// nothing back and changes nothing.
//
// Where a request could be read in two ways, it fails: what is told of it, every
// reader finds. Of an answer, what cannot be read is not told.
//
// A request may name more models than one: those to fall back to, and those that a
// tool asks. Each is an Ask of its own, behind that of the request's model; with
// the models that the service chooses itself to fall back to, as Default.
package anthropic

import (
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/inspect"
)

// Operations, as an inspect.Ask names them.
const (
	Chat         = "chat"
	CountTokens  = "count_tokens"
	ListModels   = "list_models"
	GetModel     = "get_model"
	CreateBatch  = "create_batch"
	GetBatch     = "get_batch"
	ListBatches  = "list_batches"
	CancelBatch  = "cancel_batch"
	BatchResults = "batch_results"
	DeleteBatch  = "delete_batch"
)

// Default is the model of an Ask that leaves its choice to the service.
const Default = "default"

// Protocol is Anthropic's. It has no state.
type Protocol struct{}

var _ inspect.Protocol = Protocol{}

// Request begins to read a request. It is nil where the head says it all, or where
// it is no operation of those above.
func (Protocol) Request(head *l7.RequestHead) (inspect.Request, inspect.Ask) {
	ask, query := route(head)
	reads := requests[ask.Operation]
	if reads == nil {
		return nil, ask
	}
	r := newRequest(reads, ask)
	if kind, ok := inspect.MediaOf(head.Fields); !ok || kind != inspect.JSON {
		r.err = inspect.Unreadable("the content is of no JSON type", nil)
		return r, ask
	}
	r.queried, r.err = modelIn(query)
	return r, ask
}

// Answer begins to read an answer. Rules do not matter: nothing is left out.
func (Protocol) Answer(asks []inspect.Ask, head *l7.ResponseHead, _ *inspect.Rules) inspect.Answer {
	if len(asks) == 0 || asks[0].Operation == "" {
		return nil
	}
	said := inspect.NewSaid()
	said.Failed = head.Status >= 400
	kind, _ := inspect.MediaOf(head.Fields)
	switch operation := asks[0].Operation; {
	case operation == BatchResults && head.Status/100 == 2:
		return newResults(said)
	case kind == inspect.EventStream && operation == Chat:
		return newStreamed(said)
	case kind == inspect.JSON && (said.Failed || told(operation)):
		return newWhole(said)
	case said.Failed:
		return inspect.Unread(said)
	default:
		return nil
	}
}

// told says that an answer has something to tell of, if it is no error.
func told(operation string) bool {
	switch operation {
	case ListModels, GetModel, ListBatches, BatchResults, "":
		return false
	default:
		return true
	}
}
