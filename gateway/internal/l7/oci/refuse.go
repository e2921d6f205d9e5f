package oci

import (
	"net/http"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/inspect"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// refusal is an error of a registry.
type refusal struct {
	Errors [1]refusalError `json:"errors"`
}

type refusalError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Detail  detail `json:"detail"`
}

// detail is what a program may want of the refusal: the specification leaves it open.
type detail struct {
	Crossing string `json:"crossing,omitempty"`
	Reason   string `json:"reason"`
	Owner    string `json:"owner,omitempty"`
}

// Refuse is an error as clients of registries read it (OCI distribution specification v1.1,
// "Error Codes").
func (Protocol) Refuse(r *inspect.Refusal, _ []inspect.Ask, head *l7.RequestHead) (*l7.ResponseHead, []byte) {
	return r.Answer(head, func(status int, message string) any {
		return refusal{[1]refusalError{{code(status, r.Reason), message, detail{r.Crossing, r.Reason.String(), r.Owner}}}}
	})
}

// code is what the specification calls errors of that status. What cannot be read is a
// manifest: nothing else is. UNAVAILABLE is no code of its own, but distribution's, which
// clients know.
func code(status int, reason crossingv1.Reason) string {
	switch {
	case reason == crossingv1.Reason_UNREADABLE:
		return "MANIFEST_INVALID"
	case status == http.StatusUnauthorized, status == http.StatusProxyAuthRequired:
		return "UNAUTHORIZED"
	case status == http.StatusTooManyRequests:
		return "TOOMANYREQUESTS"
	case status == http.StatusMethodNotAllowed, status == http.StatusNotImplemented:
		return "UNSUPPORTED"
	case status >= 500:
		return "UNAVAILABLE"
	}
	return "DENIED"
}
