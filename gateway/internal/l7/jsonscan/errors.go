package jsonscan

import (
	"errors"
	"fmt"
)

// What a document is refused for. Every error of a Scanner that its Handler
// did not give wraps one of them.
var (
	// ErrSyntax says that it is no JSON text (RFC 8259), or not in UTF-8.
	ErrSyntax = errors.New("not JSON")
	// ErrLimit says that it is beyond a bound.
	ErrLimit = errors.New("beyond a bound")
	// ErrAmbiguous says that two readers could take it differently where
	// somebody asked: a key that comes twice, or in another case, or a text with
	// U+0000 or half a surrogate pair.
	ErrAmbiguous = errors.New("ambiguous")
)

// Error is why a document is refused, and where. Its text has nothing of the
// document.
type Error struct {
	Kind   error  // ErrSyntax, ErrLimit or ErrAmbiguous
	What   string // in words
	Offset int64  // in bytes from the start, at or just behind the fault
}

func (e *Error) Error() string {
	return fmt.Sprintf("%v: %s at byte %d", e.Kind, e.What, e.Offset)
}

// Unwrap gives the kind.
func (e *Error) Unwrap() error { return e.Kind }

func syntax(what string) error    { return &Error{Kind: ErrSyntax, What: what} }
func limit(what string) error     { return &Error{Kind: ErrLimit, What: what} }
func ambiguous(what string) error { return &Error{Kind: ErrAmbiguous, What: what} }
