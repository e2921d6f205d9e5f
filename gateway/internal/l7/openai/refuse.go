package openai

import (
	"net/http"
	"strings"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/inspect"
)

// refusal is an error of OpenAI's API.
type refusal struct {
	Error refusalError `json:"error"`
}

type refusalError struct {
	Message string  `json:"message"`
	Type    string  `json:"type"`
	Param   *string `json:"param"` // always null: no field of the content is at fault
	Code    string  `json:"code"`
}

// Refuse is an error as OpenAI's SDKs read it.
func (Protocol) Refuse(r *inspect.Refusal, _ []inspect.Ask, head *l7.RequestHead) (*l7.ResponseHead, []byte) {
	return r.Answer(head, func(status int, message string) any {
		return refusal{refusalError{Message: message, Type: errorType(status), Code: strings.ToLower(r.Reason.String())}}
	})
}

// errorType is what OpenAI's API calls errors of that status.
func errorType(status int) string {
	switch {
	case status == http.StatusUnauthorized, status == http.StatusProxyAuthRequired:
		return "authentication_error"
	case status == http.StatusForbidden:
		return "permission_error"
	case status == http.StatusTooManyRequests:
		return "rate_limit_error"
	case status >= 500:
		return "server_error"
	default:
		return "invalid_request_error"
	}
}
