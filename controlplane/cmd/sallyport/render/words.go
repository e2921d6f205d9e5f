package render

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// Short is a revision or digest as people say it: "sha256:9d1c…".
func Short(digest string) string {
	const hexDigits = 4
	algorithm, hex, ok := strings.Cut(digest, ":")
	if !ok || len(hex) <= hexDigits {
		return digest
	}
	return algorithm + ":" + hex[:hexDigits] + "…"
}

// Pair is an ordered pair of environments: "onprem ─► azure".
func Pair(from, to string) string {
	return orQuestion(from) + " ─► " + orQuestion(to)
}

// Padded is Pair with its ends padded to these widths, so that arrows line up.
func Padded(from, to string, wFrom, wTo int) string {
	pad := func(s string, w int) string { return s + strings.Repeat(" ", max(0, w-columns(s))) }
	return pad(orQuestion(from), wFrom) + " ─► " + pad(orQuestion(to), wTo)
}

func orQuestion(s string) string {
	if s == "" {
		return "?"
	}
	return Printable(s)
}

// Ref is a policy's serial and short revision: "41 sha256:9d1c…".
func Ref(ref *crossingv1.PolicyRef) string {
	if ref.GetRevision() == "" {
		return "none"
	}
	if ref.GetSerial() == 0 { // not published
		return Short(ref.GetRevision())
	}
	return strconv.FormatUint(ref.GetSerial(), 10) + " " + Short(ref.GetRevision())
}

// Name is the last segment of a SPIFFE ID: what a gateway or workload is called.
func Name(id string) string {
	return id[strings.LastIndexByte(id, '/')+1:]
}

// Took is a duration to three digits: "41 ms", "1.9 s", "2m5s".
func Took(d time.Duration) string {
	switch {
	case d < 0:
		return "-" + Took(-d)
	case d < time.Millisecond:
		return strconv.FormatInt(d.Microseconds(), 10) + " µs"
	case d < time.Second:
		return strconv.FormatInt(d.Milliseconds(), 10) + " ms"
	case d < time.Minute:
		return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + " s"
	}
	return d.Round(time.Second).String()
}

// Size is a number of bytes: "812 B", "1.4 MiB".
func Size(n uint64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	f, prefix := float64(n)/unit, 0
	for f >= unit && prefix < 5 {
		f, prefix = f/unit, prefix+1
	}
	return fmt.Sprintf("%.1f %ciB", f, "KMGTPE"[prefix])
}

// Why is a reason in words, as they follow "denied: ".
func Why(r crossingv1.Reason) string {
	if why, ok := whys()[r]; ok {
		return why
	}
	return "reason " + r.String() // of a newer schema
}

func whys() map[crossingv1.Reason]string {
	return map[crossingv1.Reason]string{
		crossingv1.Reason_REASON_UNSPECIFIED:  "no reason given",
		crossingv1.Reason_NO_INTENT:           "no intent allows it",
		crossingv1.Reason_DENIED_BY_INTENT:    "an intent denies it",
		crossingv1.Reason_NO_TRANSITION:       "the policy has no such transition",
		crossingv1.Reason_NO_POLICY:           "the gateway held no valid policy",
		crossingv1.Reason_POLICY_MISMATCH:     "the two gateways' policies were too far apart",
		crossingv1.Reason_NO_IDENTITY:         "the caller showed no identity",
		crossingv1.Reason_BAD_IDENTITY:        "the caller's identity did not verify",
		crossingv1.Reason_EXPIRED_IDENTITY:    "an SVID was expired or not yet valid",
		crossingv1.Reason_FOREIGN_IDENTITY:    "a peer spoke for an identity of another trust domain",
		crossingv1.Reason_UNKNOWN_PEER:        "the peer is not a gateway of the policy",
		crossingv1.Reason_UNKNOWN_DESTINATION: "no workload has that name",
		crossingv1.Reason_UNKNOWN_SERVICE:     "the workload serves nothing there",
		crossingv1.Reason_MALFORMED:           "the request was not well formed",
		crossingv1.Reason_TOO_LARGE:           "a head or a frame was larger than its limit",
		crossingv1.Reason_UNREACHABLE:         "the peer gateway or the destination could not be reached",
		crossingv1.Reason_NOT_RECORDED:        "it could not be recorded",
		crossingv1.Reason_NOT_ENFORCEABLE:     "it is allowed under an obligation that the gateway cannot keep",
		crossingv1.Reason_DRAINING:            "the gateway was going away",
		crossingv1.Reason_OVER_LIMIT:          "it was beyond a limit of the gateway's",
		crossingv1.Reason_NO_PROOF:            "the caller did not prove for itself that it called",
		crossingv1.Reason_BAD_PROOF:           "the caller's proof that it called was not good",
		crossingv1.Reason_DISAGREES:           "the request's head and its content disagree",
		crossingv1.Reason_QUARANTINED:         "an operator quarantined the caller or the destination",
		crossingv1.Reason_REVOKED_GATEWAY:     "an operator revoked one of the gateways",
		crossingv1.Reason_UNKNOWN_SOURCE:      "the caller is no workload of the policy any more",
		crossingv1.Reason_UNREADABLE:          "its content does not tell what it asks for",
		crossingv1.Reason_OVER_BUDGET:         "the caller has used up a budget",
		crossingv1.Reason_FORBIDDEN_ANSWER:    "the answer had what the caller may not get",
		crossingv1.Reason_BAD_LABEL:           "the label of its data does not hold",
		crossingv1.Reason_TOOL_CHANGED:        "the tool is not what the policy knows it as",
		crossingv1.Reason_DIGEST_NOT_ALLOWED:  "its content has a digest that may not cross",
		crossingv1.Reason_GUARD_REFUSED:       "a guard did not let the content pass",
		crossingv1.Reason_GUARD_UNAVAILABLE:   "a guard that must see the content could not be asked",
	}
}
