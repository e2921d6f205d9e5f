// Package s3 refuses in the words of Amazon S3's API, so that an SDK tells its program what
// a gateway says. What is asked of a store of objects its heads tell, which package
// artifact reads.
package s3

import (
	"encoding/xml"
	"net/http"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/inspect"
)

// Protocol is that of S3. It has no state.
type Protocol struct{}

var _ inspect.Protocol = Protocol{}

// Request is nil: heads tell all that there is.
func (Protocol) Request(*l7.RequestHead) (inspect.Request, inspect.Ask) { return nil, inspect.Ask{} }

// Answer is nil likewise.
func (Protocol) Answer([]inspect.Ask, *l7.ResponseHead, *inspect.Rules) inspect.Answer { return nil }

// refusal is an error of S3.
type refusal struct {
	XMLName   xml.Name `xml:"Error"`
	Code      string   `xml:"Code"`
	Message   string   `xml:"Message"`
	Resource  string   `xml:"Resource"`
	RequestID string   `xml:"RequestId"`
}

// Refuse is an error as SDKs read it (Amazon S3 API reference, "Error responses").
func (Protocol) Refuse(r *inspect.Refusal, _ []inspect.Ask, head *l7.RequestHead) (*l7.ResponseHead, []byte) {
	return r.AnswerIn("application/xml", head, func(status int, message string) []byte {
		what := refusal{Code: code(status), Message: message, Resource: head.PathOnly(), RequestID: r.Crossing}
		text, _ := xml.Marshal(what) // texts: it cannot fail
		return append([]byte(xml.Header), text...)
	})
}

// code is what S3 calls errors of that status (Amazon S3 API reference, "List of error
// codes").
func code(status int) string {
	switch {
	case status == http.StatusRequestHeaderFieldsTooLarge:
		return "RequestHeaderSectionTooLarge"
	case status == http.StatusRequestEntityTooLarge:
		return "EntityTooLarge"
	case status == http.StatusTooManyRequests:
		return "SlowDown"
	case status == http.StatusMethodNotAllowed:
		return "MethodNotAllowed"
	case status == http.StatusNotImplemented:
		return "NotImplemented"
	case status == http.StatusBadRequest:
		return "InvalidRequest"
	case status >= 500:
		return "ServiceUnavailable"
	}
	return "AccessDenied"
}
