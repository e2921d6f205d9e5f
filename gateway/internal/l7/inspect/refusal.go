package inspect

import (
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// Refusal is an answer in a gateway's own name.
type Refusal struct {
	Crossing   string // its id
	Reason     crossingv1.Reason
	Owner      string
	Detail     string // for people; "" for the reason in words
	Status     int    // HTTP's; 0 for the reason's own
	RetryAfter int64  // seconds until it may be allowed; 0 if that is not known
}

// longestWait is how many seconds an SDK may be asked to wait before it tries again.
// Some wait without a word to the program that uses them, as long as they are told.
const longestWait = 60

// Answer is an error as providers' SDKs read it: they tell the program what is in it,
// and try again for some statuses, unless x-should-retry says no. content makes what
// becomes its JSON text, of a status and of all there is to say, in one sentence. A
// gRPC call is answered as l7.Problem does.
func (r *Refusal) Answer(head *l7.RequestHead, content func(status int, message string) any) (*l7.ResponseHead, []byte) {
	return r.AnswerIn("application/json", head, func(status int, message string) []byte {
		text, _ := json.Marshal(content(status, message)) // strings: it cannot fail
		return text
	})
}

// AnswerIn is Answer with a content of another type.
func (r *Refusal) AnswerIn(mediaType string, head *l7.RequestHead, content func(status int, message string) []byte) (*l7.ResponseHead, []byte) {
	answer, body := l7.ProblemStatus(r.Status, r.Detail, r.Crossing, r.Reason, r.Owner, head)
	if body == nil {
		return answer, nil
	}
	body = content(answer.Status, l7.Sentence(r.Detail, r.Crossing, r.Reason, r.Owner))
	answer.Fields.Set("content-type", mediaType)
	answer.Fields.Set("content-length", strconv.Itoa(len(body)))
	if r.RetryAfter > 0 {
		answer.Fields.Set("retry-after", strconv.FormatInt(r.RetryAfter, 10))
	}
	if r.RetryAfter > longestWait || !passes(answer.Status) {
		answer.Fields.Set("x-should-retry", "false")
	}
	return answer, body
}

// passes says that what was refused with that status may be allowed later.
func passes(status int) bool {
	switch status {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	default:
		return false
	}
}
