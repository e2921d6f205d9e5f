package crossing

import (
	"errors"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

const (
	// maxAuthority bounds operation.authority, in bytes: the longest host of RFC
	// 1035 with a port, and room for quotes.
	maxAuthority = 320
	// maxEndDetail bounds end.detail, in bytes.
	maxEndDetail = 512
	// maxMessage bounds end.message, in bytes.
	maxMessage = 1024
)

// Authority is the host and port that a caller asked for as a record has it: as
// they are, or quoted and cut if they are none. A user's name and password, which
// no authority has here (RFC 9110 4.2.4), are left out.
func Authority(s string) string {
	if i := strings.LastIndexByte(s, '@'); i >= 0 {
		s = s[i:]
	}
	odd := func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && !strings.ContainsRune("-._:[]", r)
	}
	if strings.IndexFunc(s, odd) >= 0 {
		s = strconv.QuoteToASCII(s)
	}
	return s[:min(len(s), maxAuthority)]
}

// Detail is what went wrong, for people, as a record has it: visible ASCII,
// other characters escaped, and cut.
func Detail(s string) string {
	s = escaped(s)
	return s[:min(len(s), maxEndDetail)]
}

// escaped is s in visible ASCII.
func escaped(s string) string {
	if visible(s) {
		return s
	}
	quoted := strconv.QuoteToASCII(s)
	return quoted[1 : len(quoted)-1]
}

// Message is a grpc-message as a record has it: decoded, what cannot be shown
// escaped, and cut. A "%" that begins no escape stands for itself (gRPC over
// HTTP/2, Responses).
func Message(s string) string {
	const most = 3 * (maxMessage + utf8.UTFMax) // an escape is three bytes
	return cut(printable(cut(unescape(s[:min(len(s), most)]), maxMessage)), maxMessage)
}

// printable is s with what cannot be shown escaped.
func printable(s string) string {
	if strings.IndexFunc(s, unprintable) < 0 && utf8.ValidString(s) {
		return s
	}
	quoted := strconv.Quote(s)
	return quoted[1 : len(quoted)-1]
}

// cut cuts a text to so many bytes, but not within a character.
func cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	end := most
	for end > most-utf8.UTFMax && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end]
}

func unprintable(r rune) bool { return !strconv.IsPrint(r) }

// unescape reads percent-encoding.
func unescape(s string) string {
	if strings.IndexByte(s, '%') < 0 {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		if i+2 < len(s) && c == '%' {
			if n, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err == nil {
				c, i = byte(n), i+2
			}
		}
		b = append(b, c)
	}
	return string(b)
}

// visible says that a text is ASCII without control characters, so that it does
// to a terminal or a log what it says.
func visible(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// Outage says that a reason is no decision but what kept one from being carried
// out: of a crossing that was allowed and yet refused.
func Outage(r crossingv1.Reason) bool {
	switch r {
	case crossingv1.Reason_UNREACHABLE, crossingv1.Reason_NOT_RECORDED, crossingv1.Reason_DRAINING,
		crossingv1.Reason_OVER_LIMIT, crossingv1.Reason_DISAGREES:
		return true
	}
	return false
}

// early says that an outage may be one of a crossing on which the policy could not decide
// before it, because what it asks for was not known yet.
func early(r crossingv1.Reason) bool {
	return r == crossingv1.Reason_OVER_LIMIT || r == crossingv1.Reason_DISAGREES
}

// Judged says that the policy was asked, and its transition known, where a half
// has that reason.
func Judged(r crossingv1.Reason) bool {
	switch r {
	case crossingv1.Reason_REASON_UNSPECIFIED, crossingv1.Reason_NO_INTENT,
		crossingv1.Reason_DENIED_BY_INTENT, crossingv1.Reason_NOT_ENFORCEABLE,
		crossingv1.Reason_NO_PROOF, crossingv1.Reason_BAD_PROOF,
		crossingv1.Reason_UNREADABLE, crossingv1.Reason_OVER_BUDGET, crossingv1.Reason_FORBIDDEN_ANSWER,
		crossingv1.Reason_TOOL_CHANGED, crossingv1.Reason_DIGEST_NOT_ALLOWED, crossingv1.Reason_GUARD_REFUSED,
		crossingv1.Reason_GUARD_UNAVAILABLE:
		return true
	}
	return Outage(r)
}

// checkTexts holds what callers may have had a word in.
func checkTexts(h *crossingv1.Half) error {
	if authority := h.GetOperation().GetAuthority(); len(authority) > maxAuthority || !visible(authority) {
		return errors.New("operation.authority is not short, visible ASCII")
	}
	return errors.Join(checkDetail(h.GetEnd().GetDetail()), checkMessage(h.GetEnd().GetMessage()), checkAsk(h.GetOperation()))
}

// checkMessage holds what destinations say.
func checkMessage(s string) error {
	if len(s) > maxMessage || strings.IndexFunc(s, unicode.IsControl) >= 0 {
		return errors.New("message is not short text without control characters")
	}
	return nil
}

func checkDetail(s string) error {
	if len(s) > maxEndDetail || !visible(s) {
		return errors.New("detail is not short, visible ASCII")
	}
	return nil
}
