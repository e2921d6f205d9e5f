package l7

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// CrossingName is the field in which every answer names its crossing.
const CrossingName = "sallyport-crossing"

// gRPC status codes used here (grpc/doc/statuscodes.md).
const (
	grpcInvalidArgument  = 3
	grpcDeadlineExceeded = 4
	grpcPermissionDenied = 7
	grpcExhausted        = 8
	grpcUnavailable      = 14
	grpcUnauthenticated  = 16
)

// problem is a body of RFC 9457. It says what a caller may know: which
// crossing, why in one word, and whom to ask. Never which intents there are.
type problem struct {
	Type     string `json:"type"`
	Title    string `json:"title"`
	Status   int    `json:"status"`
	Detail   string `json:"detail"`
	Instance string `json:"instance,omitempty"`
	Crossing string `json:"crossing,omitempty"`
	Reason   string `json:"reason"`
	Owner    string `json:"owner,omitempty"`
}

// Problem is the answer to a request that was refused for a reason: a head and
// a body. id is the crossing's, "" if it has none; owner is the transition's,
// "" if it has none; head is the request's, nil if it could not be read. For a
// gRPC call it is a Trailers-Only answer: the body is empty and the head ends
// the exchange. A CONNECT or a request in absolute form without identity is
// asked for Proxy-Authorization, others for Authorization.
func Problem(id string, reason crossingv1.Reason, owner string, head *RequestHead) (*ResponseHead, []byte) {
	return ProblemStatus(0, "", id, reason, owner, head)
}

// ProblemStatus is Problem with another HTTP status and another detail than
// the reason's own; 0 and "" keep these.
func ProblemStatus(status int, detail, id string, reason crossingv1.Reason, owner string, head *RequestHead) (*ResponseHead, []byte) {
	if status == 0 {
		status = StatusOf(reason)
	}
	if detail == "" {
		detail = Explain(reason)
	}
	if head != nil && head.IsGRPC() {
		return grpcProblem(status, detail, id, reason, owner), nil
	}
	answer := &ResponseHead{Status: status}
	if status == 401 {
		answer.challenge(head)
	}
	p := problem{
		Type:   "urn:sallyport:problem:" + strings.ToLower(strings.ReplaceAll(reason.String(), "_", "-")),
		Title:  title(status),
		Status: answer.Status, Detail: detail,
		Crossing: id, Reason: reason.String(), Owner: owner,
	}
	if id != "" {
		p.Instance = "urn:uuid:" + id
		answer.Fields = append(answer.Fields, Field{CrossingName, id})
	}
	body, _ := json.Marshal(p) // strings and a number: it cannot fail
	body = append(body, '\n')
	answer.Fields = append(answer.Fields,
		Field{"content-type", "application/problem+json"},
		Field{"content-length", strconv.Itoa(len(body))},
		Field{"cache-control", "no-store"})
	return answer, body
}

// challenge asks for a credential where the caller would put it.
func (h *ResponseHead) challenge(request *RequestHead) {
	const bearer = `Bearer realm="sallyport"`
	if request == nil || request.Method != "CONNECT" && request.Scheme == "" {
		h.Fields = append(h.Fields, Field{"www-authenticate", bearer})
		return
	}
	h.Status = 407
	// Clients that know a proxy by its URL alone send what is in it as Basic, and
	// some only when asked.
	h.Fields = append(h.Fields, Field{"proxy-authenticate", bearer}, Field{"proxy-authenticate", `Basic realm="sallyport"`})
}

func grpcProblem(status int, detail, id string, reason crossingv1.Reason, owner string) *ResponseHead {
	answer := &ResponseHead{Status: 200, Fields: Fields{
		{"content-type", "application/grpc"},
		{"grpc-status", strconv.Itoa(grpcStatusOf(status))},
		{"grpc-message", percentEncode(Sentence(detail, id, reason, owner))},
	}}
	if id != "" {
		answer.Fields = append(answer.Fields, Field{CrossingName, id})
	}
	return answer
}

// Sentence says all that Problem says in one sentence, for callers that show nothing
// else.
func Sentence(detail, id string, reason crossingv1.Reason, owner string) string {
	if detail == "" {
		detail = Explain(reason)
	}
	notes := []string{"reason " + reason.String()}
	if id != "" {
		notes = append([]string{"crossing " + id}, notes...)
	}
	if owner != "" {
		notes = append(notes, "owner "+owner)
	}
	return detail + " (" + strings.Join(notes, ", ") + ")"
}

// percentEncode writes a grpc-message: printable ASCII but for "%"
// (grpc/doc/PROTOCOL-HTTP2.md, Status-Message).
func percentEncode(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '%' {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// StatusOf is the HTTP status of an answer to what was refused for that reason.
func StatusOf(reason crossingv1.Reason) int {
	switch reason {
	case crossingv1.Reason_NO_IDENTITY, crossingv1.Reason_BAD_IDENTITY, crossingv1.Reason_EXPIRED_IDENTITY:
		return 401
	case crossingv1.Reason_MALFORMED, crossingv1.Reason_DISAGREES, crossingv1.Reason_UNREADABLE:
		return 400
	case crossingv1.Reason_TOO_LARGE:
		return 431
	case crossingv1.Reason_OVER_LIMIT, crossingv1.Reason_OVER_BUDGET:
		return 429
	case crossingv1.Reason_UNREACHABLE, crossingv1.Reason_NOT_RECORDED, crossingv1.Reason_DRAINING, crossingv1.Reason_GUARD_UNAVAILABLE:
		return 503
	default:
		return 403
	}
}

func grpcStatusOf(status int) int {
	switch status {
	case 401:
		return grpcUnauthenticated
	case 400:
		return grpcInvalidArgument
	case 413, 429, 431:
		return grpcExhausted
	case 504:
		return grpcDeadlineExceeded
	case 503:
		return grpcUnavailable
	default:
		return grpcPermissionDenied
	}
}

func title(status int) string {
	switch status {
	case 401:
		return "Who is calling?"
	case 403:
		return "Not allowed"
	case 429:
		return "Too much at a time"
	case 501:
		return "Not supported"
	case 503:
		return "Not available"
	case 504:
		return "Not in time"
	default:
		return "Not a valid request"
	}
}

// Explain says a reason in words, for whoever reads the answer.
func Explain(reason crossingv1.Reason) string {
	switch reason {
	case crossingv1.Reason_NO_INTENT:
		return "no intent allows it"
	case crossingv1.Reason_DENIED_BY_INTENT:
		return "an intent denies it"
	case crossingv1.Reason_NO_TRANSITION:
		return "the policy has no such transition, so nobody owns it"
	case crossingv1.Reason_NO_POLICY:
		return "the gateway holds no valid policy"
	case crossingv1.Reason_POLICY_MISMATCH:
		return "the two gateways do not hold the same policy"
	case crossingv1.Reason_NO_IDENTITY:
		return "no SVID was shown: call with an X509-SVID in the TLS handshake or a JWT-SVID as bearer"
	case crossingv1.Reason_BAD_IDENTITY:
		return "the SVID shown did not verify"
	case crossingv1.Reason_EXPIRED_IDENTITY:
		return "the SVID shown is expired or not yet valid"
	case crossingv1.Reason_FOREIGN_IDENTITY:
		return "the SVID shown is not of this gateway's trust domain"
	case crossingv1.Reason_UNKNOWN_PEER:
		return "the peer is not a gateway of the policy"
	case crossingv1.Reason_UNKNOWN_DESTINATION:
		return "no workload has that name"
	case crossingv1.Reason_UNKNOWN_SERVICE:
		return "the workload serves nothing there"
	default:
		return explainFault(reason)
	}
}

func explainFault(reason crossingv1.Reason) string {
	switch reason {
	case crossingv1.Reason_MALFORMED:
		return "the request is not well formed"
	case crossingv1.Reason_TOO_LARGE:
		return "the request is larger than a limit"
	case crossingv1.Reason_UNREACHABLE:
		return "the other gateway or the destination cannot be reached"
	case crossingv1.Reason_NOT_RECORDED:
		return "the crossing cannot be recorded, so it may not happen"
	case crossingv1.Reason_NOT_ENFORCEABLE:
		return "it would be allowed under an obligation that this gateway cannot keep"
	case crossingv1.Reason_DRAINING:
		return "the gateway is going away"
	case crossingv1.Reason_OVER_LIMIT:
		return "the caller has too much under way"
	case crossingv1.Reason_NO_PROOF:
		return "the caller must prove for itself that it calls, and sent no proof"
	case crossingv1.Reason_BAD_PROOF:
		return "the caller must prove for itself that it calls, and its proof is not good"
	case crossingv1.Reason_BAD_LABEL:
		return "a label of the data's class came, and it is not good"
	case crossingv1.Reason_DISAGREES:
		return "the request's head and its content disagree"
	default:
		return explainDenied(reason)
	}
}

// explainDenied says why nobody stands behind a crossing that was let through before.
func explainDenied(reason crossingv1.Reason) string {
	switch reason {
	case crossingv1.Reason_QUARANTINED:
		return "an operator has quarantined the caller or the destination"
	case crossingv1.Reason_REVOKED_GATEWAY:
		return "an operator has revoked one of the two gateways"
	case crossingv1.Reason_UNKNOWN_SOURCE:
		return "the caller is no workload of the policy any more"
	default:
		return explainContent(reason)
	}
}

// explainContent says what is wrong with what is asked for or answered.
func explainContent(reason crossingv1.Reason) string {
	switch reason {
	case crossingv1.Reason_UNREADABLE:
		return "what decides whether it is allowed cannot be read in its content"
	case crossingv1.Reason_OVER_BUDGET:
		return "the caller has used up a budget"
	case crossingv1.Reason_FORBIDDEN_ANSWER:
		return "the answer has what the caller may not get"
	case crossingv1.Reason_BAD_LABEL:
		return "the label of its data's class does not hold"
	case crossingv1.Reason_TOOL_CHANGED:
		return "the tool is not what the policy knows it as"
	case crossingv1.Reason_DIGEST_NOT_ALLOWED:
		return "its digest is none that may cross here; what a manifest names may, once the caller has pulled that manifest"
	case crossingv1.Reason_GUARD_REFUSED:
		return "a guard that must see the content does not let it pass"
	case crossingv1.Reason_GUARD_UNAVAILABLE:
		return "a guard that must see the content cannot be asked now"
	default:
		return "denied"
	}
}
