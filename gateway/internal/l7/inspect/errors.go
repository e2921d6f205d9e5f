package inspect

import "errors"

// Why a content cannot be understood.
var (
	// ErrUnreadable says that it is not of the protocol, or not well formed, or beyond
	// a bound.
	ErrUnreadable = errors.New("the content cannot be understood")
	// ErrAmbiguous says that two readers could take it for two different things.
	ErrAmbiguous = errors.New("the content can be read in more than one way")
	// ErrForbidden says that an answer has something that the caller may not get.
	ErrForbidden = errors.New("the answer has what the caller may not get")
)

// Error is why a content cannot be understood. Its text has nothing of the
// content but names of fields, and of tools.
type Error struct {
	Kind  error  // one of the above
	What  string // in words
	Cause error  // such as a *jsonscan.Error; may be nil
}

func (e *Error) Error() string { return e.Kind.Error() + ": " + e.What }

// Unwrap gives the kind, and the cause.
func (e *Error) Unwrap() []error {
	if e.Cause == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Cause}
}
