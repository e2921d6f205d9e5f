package agree

import (
	"errors"
	"fmt"
)

var (
	// ErrDisagree says that head and content differ, or that one of them can be
	// read to say two things.
	ErrDisagree = errors.New("head and content disagree")
	// ErrUndecidable says that the content cannot be compared: it is not JSON,
	// beyond a bound, or in a coding that is not undone here.
	ErrUndecidable = errors.New("head and content cannot be compared")
)

// Error is why a request must not go on. Its text is for its record and its
// caller: of what the request says it repeats at most maxQuoted bytes of each
// side, quoted.
type Error struct {
	Kind error // ErrDisagree or ErrUndecidable

	Field   string // the field of the head; "" if it is about none
	Header  string // what that says
	Member  string // the place in the content, as a JSON Pointer; "" if it is about none
	Content string // what stands there: a quoted string, or words

	Why string // in words, if it is not that two values differ

	cause error
}

func (e *Error) Error() string {
	switch {
	case e.Field == "":
		return fmt.Sprintf("%v: %s", e.Kind, e.Why)
	case e.Member == "":
		return fmt.Sprintf("%v: %s %s", e.Kind, e.Field, e.Why)
	default:
		return fmt.Sprintf("%v: %s is %s, %s is %s", e.Kind, e.Field, quote(e.Header), e.Member, e.Content)
	}
}

// Unwrap gives the kind, and the scanner's error where there was one.
func (e *Error) Unwrap() []error {
	if e.cause == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.cause}
}

// differs is that the content does not say what the head claims.
func (c *claim) differs(member, content string) error {
	return &Error{Kind: ErrDisagree, Field: c.field, Header: c.value, Member: member, Content: content}
}

// maxQuoted is how much of a value is repeated, in bytes.
const maxQuoted = 64

// quote makes ASCII of a value, cut.
func quote(s string) string {
	if len(s) > maxQuoted {
		return fmt.Sprintf("%+q...", s[:maxQuoted])
	}
	return fmt.Sprintf("%+q", s)
}
