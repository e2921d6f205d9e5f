package anthropic

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/inspect"
)

// longestWait is how many seconds an SDK may be asked to wait before it tries again.
// Anthropic's wait without a word to the program that uses them, as long as they are
// told.
const longestWait = 60

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

// Refuse is an error as Anthropic's SDKs read it: they tell the program its type and
// message and the request's id, which is the crossing's. They try again for 408, 409,
// 429 and from 500 on, unless x-should-retry says no. A gRPC call is answered as
// l7.Problem does.
func (Protocol) Refuse(r *inspect.Refusal, _ []inspect.Ask, head *l7.RequestHead) (*l7.ResponseHead, []byte) {
	status := r.Status
	if status == 0 {
		status = l7.StatusOf(r.Reason)
	}
	answer, body := l7.ProblemStatus(status, r.Detail, r.Crossing, r.Reason, r.Owner, head)
	if body == nil {
		return answer, nil
	}
	says := refusal{Type: "error", Error: refusalError{errorType(answer.Status), message(r)}}
	if r.Crossing != "" {
		says.RequestID = &r.Crossing
		answer.Fields.Set("request-id", r.Crossing)
	}
	body, _ = json.Marshal(says) // strings: it cannot fail
	answer.Fields.Set("content-type", "application/json")
	answer.Fields.Set("content-length", strconv.Itoa(len(body)))
	if r.RetryAfter > 0 {
		answer.Fields.Set("retry-after", strconv.FormatInt(r.RetryAfter, 10))
	}
	if r.RetryAfter > longestWait || !passing(answer.Status) {
		answer.Fields.Set("x-should-retry", "false")
	}
	return answer, body
}

// message says what l7.Problem says, in one sentence: an SDK shows little else.
func message(r *inspect.Refusal) string {
	detail := r.Detail
	if detail == "" {
		detail = l7.Explain(r.Reason)
	}
	notes := []string{"reason " + r.Reason.String()}
	if r.Crossing != "" {
		notes = append([]string{"crossing " + r.Crossing}, notes...)
	}
	if r.Owner != "" {
		notes = append(notes, "owner "+r.Owner)
	}
	return detail + " (" + strings.Join(notes, ", ") + ")"
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

// passing says that what was refused with that status may be allowed later.
func passing(status int) bool {
	switch status {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	default:
		return false
	}
}
