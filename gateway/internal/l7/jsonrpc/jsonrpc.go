// Package jsonrpc writes errors of JSON-RPC 2.0 in a gateway's own name. MCP and A2A
// have them where others have a problem of RFC 9457. It reads nothing.
package jsonrpc

import (
	"encoding/json"
	"strconv"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/jsonscan"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// Codes of JSON-RPC 2.0, section 5.1.
const (
	ParseError     = -32700
	InvalidRequest = -32600
)

// Fault is why requests are not answered.
type Fault struct {
	Code    int
	Message string
	// Crossing, Reason and Owner are what l7.Problem says beside a reason in words.
	Crossing string
	Reason   crossingv1.Reason
	Owner    string
}

// message is a response, section 5.
type message struct {
	JSONRPC string          `json:"jsonrpc"`
	ID      json.RawMessage `json:"id"` // null if the request's is not known
	Error   object          `json:"error"`
}

type object struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
	Data    data   `json:"data"`
}

type data struct {
	Crossing string `json:"crossing,omitempty"`
	Reason   string `json:"reason"`
	Owner    string `json:"owner,omitempty"`
}

func (f *Fault) message(id []byte) message {
	return message{"2.0", id, object{f.Code, f.Message, data{f.Crossing, f.Reason.String(), f.Owner}}}
}

// Answer is an HTTP answer of one error, to the request of that id as JSON; nil if
// it is not known.
func (f *Fault) Answer(status int, id []byte) (*l7.ResponseHead, []byte) {
	return f.answer(status, f.message(id))
}

// Batch is an HTTP answer of an error to each request of a batch, by their ids as
// JSON.
func (f *Fault) Batch(status int, ids [][]byte) (*l7.ResponseHead, []byte) {
	batch := make([]message, len(ids))
	for i := range ids {
		batch[i] = f.message(ids[i])
	}
	return f.answer(status, batch)
}

func (f *Fault) answer(status int, content any) (*l7.ResponseHead, []byte) {
	body, _ := json.Marshal(content) // strings, numbers, and ids that were scanned: it cannot fail
	head := &l7.ResponseHead{Status: status, Fields: l7.Fields{
		{Name: "content-type", Value: "application/json"},
		{Name: "content-length", Value: strconv.Itoa(len(body))},
		{Name: "cache-control", Value: "no-store"},
	}}
	if f.Crossing != "" {
		head.Fields = append(head.Fields, l7.Field{Name: l7.CrossingName, Value: f.Crossing})
	}
	return head, body
}

// ID is a message's id as JSON, as a scanner tells it; nil if it can be none.
func ID(kind jsonscan.Kind, text []byte) []byte {
	switch kind {
	case jsonscan.Number:
		return append([]byte(nil), text...)
	case jsonscan.String:
		coded, _ := json.Marshal(string(text)) // a string: it cannot fail
		return coded
	default:
		return nil
	}
}
