// Package http1 reads HTTP/1.1 requests and writes their answers, and writes
// requests and reads their answers: strictly, so that no other reader of the
// same bytes can take them for something else. It is neither a server nor a
// client: it has no connections, no deadlines and no goroutines. One invariant:
// whatever it accepts, net/http reads the same way; what could be read in two
// ways is refused with an *Error.
package http1

import (
	"errors"
	"fmt"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// Limits of a message, in bytes.
const (
	maxRequestLine = 16 << 10 // and of a status line
	maxTrailers    = 16 << 10
	maxTrailerRows = 64
	maxChunkLine   = 4 << 10
	maxExtensions  = 16 << 10 // of all chunk extensions of one body
)

// Error says why a message is refused. After it the connection cannot go on:
// nobody knows where the next one begins.
type Error struct {
	Status int // HTTP status of the answer that a caller gets for it
	Reason crossingv1.Reason
	Detail string // for people; may quote a little of the message
}

// Error is the detail with the status.
func (e *Error) Error() string { return fmt.Sprintf("%s (%d)", e.Detail, e.Status) }

func malformed(format string, a ...any) *Error {
	return &Error{400, crossingv1.Reason_MALFORMED, fmt.Sprintf(format, a...)}
}

func tooLarge(status int, format string, a ...any) *Error {
	return &Error{status, crossingv1.Reason_TOO_LARGE, fmt.Sprintf(format, a...)}
}

// refuse makes an Error of what a check of l7 found.
func refuse(err error) *Error {
	if errors.Is(err, l7.ErrTooLarge) {
		return tooLarge(431, "%v", err)
	}
	return malformed("%v", err)
}
