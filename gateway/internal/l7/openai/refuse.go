package openai

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/inspect"
)

// longestWait is how many seconds an SDK may be asked to wait before it tries
// again. Those of OpenAI wait without a word to the program that uses them, some
// for as long as they are told.
const longestWait = 60

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

// Refuse is an error as OpenAI's SDKs read it: they tell the program its message,
// type and code, and try again for some statuses, unless x-should-retry says no.
// A gRPC call is answered as l7.Problem does.
func (Protocol) Refuse(r *inspect.Refusal, _ []inspect.Ask, head *l7.RequestHead) (*l7.ResponseHead, []byte) {
	status := r.Status
	if status == 0 {
		status = l7.StatusOf(r.Reason)
	}
	answer, body := l7.ProblemStatus(status, r.Detail, r.Crossing, r.Reason, r.Owner, head)
	if body == nil {
		return answer, nil
	}
	body, _ = json.Marshal(refusal{refusalError{
		Message: message(r), Type: errorType(answer.Status), Code: strings.ToLower(r.Reason.String()),
	}}) // strings: it cannot fail
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

// message says what l7.Problem says, in one sentence: an SDK shows nothing else.
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

// passing says that what was refused with that status may be allowed later.
func passing(status int) bool {
	switch status {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	default:
		return false
	}
}
