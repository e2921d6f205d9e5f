package agree

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/jsonscan"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// Codes of JSON-RPC 2.0, section 5.1, and MCP's own (2026-07-28, Streamable HTTP,
// Server Validation: HeaderMismatch).
const (
	parseError     = -32700
	invalidRequest = -32600
	headerMismatch = -32020
)

// rpcError is a JSON-RPC 2.0 response, section 5.
type rpcError struct {
	JSONRPC string          `json:"jsonrpc"`
	ID      json.RawMessage `json:"id"` // null if the request's is not known
	Error   rpcErrorObject  `json:"error"`
}

type rpcErrorObject struct {
	Code    int         `json:"code"`
	Message string      `json:"message"`
	Data    rpcCrossing `json:"data"`
}

// rpcCrossing is what l7.Problem says beside a reason in words.
type rpcCrossing struct {
	Crossing string `json:"crossing,omitempty"`
	Reason   string `json:"reason"`
	Owner    string `json:"owner,omitempty"`
}

// Answer is what the caller of a request that failed is told: a head of status
// 400 and a body, which is a JSON-RPC error for MCP and a problem of RFC 9457
// otherwise. crossing and owner are as for l7.Problem, and so is the reason:
// DISAGREES.
func (c *Check) Answer(crossing, owner string, head *l7.RequestHead) (*l7.ResponseHead, []byte) {
	const reason = crossingv1.Reason_DISAGREES
	detail := ""
	if c.err != nil {
		detail = c.err.Error()
	}
	if !c.mcp {
		return l7.ProblemStatus(http.StatusBadRequest, detail, crossing, reason, owner, head)
	}
	body, _ := json.Marshal(rpcError{"2.0", c.id, rpcErrorObject{
		c.code(), detail, rpcCrossing{crossing, reason.String(), owner},
	}}) // strings, a number, and an id that was scanned: it cannot fail
	answer := &l7.ResponseHead{Status: http.StatusBadRequest, Fields: l7.Fields{
		{Name: "content-type", Value: "application/json"},
		{Name: "content-length", Value: strconv.Itoa(len(body))},
		{Name: "cache-control", Value: "no-store"},
	}}
	if crossing != "" {
		answer.Fields = append(answer.Fields, l7.Field{Name: l7.CrossingName, Value: crossing})
	}
	return answer, body
}

func (c *Check) code() int {
	switch {
	case errors.Is(c.err, ErrDisagree):
		return headerMismatch
	case errors.Is(c.err, jsonscan.ErrSyntax):
		return parseError
	default:
		return invalidRequest
	}
}

// messageID is a message's id as JSON; nil if it can be none.
func messageID(kind jsonscan.Kind, text []byte) []byte {
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
