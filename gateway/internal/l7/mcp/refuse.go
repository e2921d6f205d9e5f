package mcp

import (
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/inspect"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/jsonrpc"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// Codes of a gateway's own errors. They are of the part of the range that MCP leaves
// to implementations (2026-07-28, Error Codes), beside those that SDKs have for
// themselves, which are -32000 to -32005.
const (
	Denied      = -32010 // it may not be
	OverLimit   = -32011 // it may be later
	Unavailable = -32012 // the server cannot be reached, or the gateway cannot do its part
)

// headerMismatch is MCP's own code for what disagrees; its status is always 400.
const headerMismatch = -32020

func code(reason crossingv1.Reason) int {
	switch reason {
	case crossingv1.Reason_OVER_LIMIT:
		return OverLimit
	case crossingv1.Reason_UNREACHABLE, crossingv1.Reason_NOT_RECORDED, crossingv1.Reason_DRAINING, crossingv1.Reason_NO_POLICY:
		return Unavailable
	case crossingv1.Reason_MALFORMED, crossingv1.Reason_TOO_LARGE:
		return jsonrpc.InvalidRequest
	case crossingv1.Reason_DISAGREES:
		return headerMismatch
	default:
		return Denied
	}
}

// Refuse is a JSON-RPC error, of each request in a batch. Its HTTP status is 200
// where a request's id is known, because that is where SDKs hand code and message to
// the program: the TypeScript ones take any other for a fault of the transport (but 400
// of version 2026-07-28), and Go's may take 403 for a call to log in. Some statuses stay:
// see acts.
//
// Where no request's id is known the error has the crossing's id for one: Go's SDK
// takes an error without any for the end of the connection, and no request of a client
// has that id.
func (Protocol) Refuse(r *inspect.Refusal, asks []inspect.Ask, head *l7.RequestHead) (*l7.ResponseHead, []byte) {
	problem, _ := l7.Problem(r.Crossing, r.Reason, r.Owner, head)
	status := problem.Status
	if r.Status != 0 {
		status = r.Status
	}
	fault := jsonrpc.Fault{Code: code(r.Reason), Message: r.Detail, Crossing: r.Crossing, Reason: r.Reason, Owner: r.Owner}
	if fault.Message == "" {
		fault.Message = l7.Explain(r.Reason)
	}
	answer, body := answerTo(&fault, requests(asks), status)
	for _, f := range problem.Fields {
		if status == problem.Status && (f.Name == "www-authenticate" || f.Name == "proxy-authenticate") {
			answer.Fields = append(answer.Fields, f)
		}
	}
	if r.RetryAfter > 0 {
		answer.Fields = append(answer.Fields, l7.Field{Name: "retry-after", Value: strconv.FormatInt(r.RetryAfter, 10)})
	}
	return answer, body
}

// requests are the ids of those that wait for an answer.
func requests(asks []inspect.Ask) (ids [][]byte) {
	for i := range asks {
		if asks[i].ID != nil {
			ids = append(ids, asks[i].ID)
		}
	}
	return ids
}

func answerTo(fault *jsonrpc.Fault, ids [][]byte, status int) (*l7.ResponseHead, []byte) {
	if len(ids) > 0 && !acts(status, fault.Code) {
		status = http.StatusOK
	}
	switch {
	case len(ids) > 1:
		return fault.Batch(status, ids)
	case len(ids) == 1:
		return fault.Answer(status, ids[0])
	case fault.Crossing == "":
		return fault.Answer(status, nil)
	}
	id, _ := json.Marshal(fault.Crossing) // a string: it cannot fail
	return fault.Answer(status, id)
}

// acts says that a status is one that clients, and what is between, act upon: they
// show a credential, or come back later. No SDK ends the connection for it. For headers
// that do not match, MCP prescribes it.
func acts(status, code int) bool {
	switch status {
	case http.StatusUnauthorized, http.StatusProxyAuthRequired, http.StatusTooManyRequests:
		return true
	}
	return status >= http.StatusInternalServerError || code == headerMismatch
}
