package inspect

import (
	"errors"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/jsonscan"
)

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

// Unreadable is an *Error of that kind; cause may be nil.
func Unreadable(what string, cause error) error {
	return &Error{Kind: ErrUnreadable, What: what, Cause: cause}
}

// Ambiguous is an *Error of that kind; cause may be nil.
func Ambiguous(what string, cause error) error {
	return &Error{Kind: ErrAmbiguous, What: what, Cause: cause}
}

// Scanned is what a scan of JSON, or its handler, ended with, as an *Error.
func Scanned(err error) error {
	if told, ok := errors.AsType[*Error](err); ok {
		return told
	}
	if errors.Is(err, jsonscan.ErrAmbiguous) {
		return Ambiguous(err.Error(), err)
	}
	return Unreadable(err.Error(), err)
}
