package provider

import (
	"encoding/json"
	"net/http"
	"strconv"
)

// fault is an answer that is an error.
type fault struct {
	status  int
	code    string // Anthropic's type of it, and OpenAI's code
	message string
	after   string // Retry-After, in seconds
	soon    bool   // it may be tried again at once, by the SDKs' own field
	once    bool   // what is tried again is answered
}

// faultOf is the fault that a model has.
func faultOf(model string) (fault, bool) {
	switch model {
	case BadRequest:
		return fault{status: http.StatusBadRequest, code: "invalid_request_error", message: "max_tokens: 0 is less than the minimum of 1"}, true
	case NoKey:
		return fault{status: http.StatusUnauthorized, code: "authentication_error", message: "Incorrect API key provided: sk-…7f3a"}, true
	case Busy:
		return fault{status: http.StatusTooManyRequests, code: "rate_limit_error", message: "Rate limit reached", soon: true}, true
	case BusyOnce:
		return fault{status: http.StatusTooManyRequests, code: "rate_limit_error", message: "Rate limit reached", after: "1", once: true}, true
	case Broken:
		return fault{status: http.StatusInternalServerError, code: "api_error", message: "Internal server error", soon: true}, true
	case Overloaded:
		const overloaded = 529 // Anthropic's
		return fault{status: overloaded, code: "overloaded_error", message: "Overloaded", soon: true}, true
	}
	return fault{}, false
}

// answer says it as Anthropic does, or as OpenAI does.
func (f fault) answer(w http.ResponseWriter, anthropic bool) {
	type object = map[string]any
	body := object{"error": object{"message": f.message, "type": f.code, "param": nil, "code": f.code}}
	if anthropic {
		body = object{"type": "error", "error": object{"type": f.code, "message": f.message}, "request_id": "req_scripted"}
	}
	text, _ := json.MarshalIndent(body, "", "  ") // texts only: it cannot fail
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(text)))
	if f.after != "" {
		h.Set("Retry-After", f.after)
	}
	if f.soon {
		h.Set("Retry-After-Ms", "5")
	}
	w.WriteHeader(f.status)
	w.Write(text) //nolint:errcheck // the caller may be gone
}
