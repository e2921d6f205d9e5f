package agree

import (
	"errors"
	"net/http"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/jsonrpc"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/jsonscan"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// headerMismatch is MCP's own code (2026-07-28, Streamable HTTP, Server Validation:
// HeaderMismatch).
const headerMismatch = -32020

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
	fault := jsonrpc.Fault{Code: c.code(), Message: detail, Crossing: crossing, Reason: reason, Owner: owner}
	return fault.Answer(http.StatusBadRequest, c.id)
}

func (c *Check) code() int {
	switch {
	case errors.Is(c.err, ErrDisagree):
		return headerMismatch
	case errors.Is(c.err, jsonscan.ErrSyntax):
		return jsonrpc.ParseError
	default:
		return jsonrpc.InvalidRequest
	}
}
