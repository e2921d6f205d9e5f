package anthropic

import (
	"net/http"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/inspect"
)

// refusal is an error of Anthropic's API.
type refusal struct {
	Type      string       `json:"type"` // always error
	Error     refusalError `json:"error"`
	RequestID *string      `json:"request_id"`
}

type refusalError struct {
	Type    string `json:"type"`
	Message string `json:"message"`
}

// Refuse is an error as Anthropic's SDKs read it. The request's id is the crossing's.
func (Protocol) Refuse(r *inspect.Refusal, _ []inspect.Ask, head *l7.RequestHead) (*l7.ResponseHead, []byte) {
	var id *string
	if r.Crossing != "" {
		id = &r.Crossing
	}
	answer, body := r.Answer(head, func(status int, message string) any {
		return refusal{Type: "error", Error: refusalError{errorType(status), message}, RequestID: id}
	})
	if body != nil && id != nil {
		answer.Fields.Set("request-id", *id)
	}
	return answer, body
}

// errorType is what Anthropic's API calls errors of that status.
func errorType(status int) string {
	switch status {
	case http.StatusUnauthorized, http.StatusProxyAuthRequired:
		return "authentication_error"
	case http.StatusForbidden:
		return "permission_error"
	case http.StatusNotFound:
		return "not_found_error"
	case http.StatusRequestEntityTooLarge, http.StatusRequestHeaderFieldsTooLarge:
		return "request_too_large"
	case http.StatusTooManyRequests:
		return "rate_limit_error"
	case http.StatusServiceUnavailable:
		return "overloaded_error"
	case http.StatusGatewayTimeout:
		return "timeout_error"
	}
	if status >= 500 {
		return "api_error"
	}
	return "invalid_request_error"
}
