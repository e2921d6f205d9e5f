package api

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sallyport-mesh/sallyport/certs/federation"
	"github.com/sallyport-mesh/sallyport/controlplane/internal/inventory"
	"github.com/sallyport-mesh/sallyport/controlplane/internal/join"
	"github.com/sallyport-mesh/sallyport/controlplane/internal/records"
	"github.com/sallyport-mesh/sallyport/controlplane/internal/sealed"
	"github.com/sallyport-mesh/sallyport/controlplane/internal/store"
)

// maxWords bounds what a caller is told of what is wrong, in bytes. A status
// travels as a header: one that is too long costs the whole connection.
const maxWords = 4 << 10

// errUnidentified says that a caller's connection did not prove who it is.
var errUnidentified = errors.New("caller not identified")

// errStopping ends the streams of a control plane that stops.
var errStopping = errors.New("the control plane is stopping")

// fault is an error that is about what the caller did. Its text is for the
// caller, so it says nothing of what is inside.
type fault struct {
	code codes.Code
	text string
}

func (f *fault) Error() string { return f.text }

func invalid(format string, a ...any) error {
	return &fault{codes.InvalidArgument, clip(fmt.Sprintf(format, a...), maxWords)}
}

// clip makes words text again, of at most that many bytes.
func clip(words string, most int) string {
	words = strings.ToValidUTF8(words, "?")
	if len(words) <= most {
		return words
	}
	const rest = " ..."
	return strings.ToValidUTF8(words[:most-len(rest)], "") + rest
}

func precondition(format string, a ...any) error {
	return &fault{codes.FailedPrecondition, fmt.Sprintf(format, a...)}
}

func missing(format string, a ...any) error {
	return &fault{codes.NotFound, fmt.Sprintf(format, a...)}
}

func denied(format string, a ...any) error {
	return &fault{codes.PermissionDenied, fmt.Sprintf(format, a...)}
}

// answer is the error as its caller gets it. What is not the caller's business
// is logged here, once, and the caller is told no more than that.
func (s *Server) answer(method string, err error) error {
	if err == nil {
		return nil
	}
	st, told := statusOf(err)
	if !told {
		s.log.Error("call failed", zap.String("method", method), zap.Error(err))
	}
	return st.Err()
}

// statusOf is the one map from errors to status codes. told says that the
// status says all there is to say.
func statusOf(err error) (st *status.Status, told bool) {
	var f *fault
	if errors.As(err, &f) {
		return status.New(f.code, f.text), true
	}
	// A status that nothing wraps was made for the caller: by the xDS server, or
	// by grpc about the stream itself. A wrapped one is another server's, told to us.
	if g, ok := err.(interface{ GRPCStatus() *status.Status }); ok {
		return g.GRPCStatus(), true
	}
	switch {
	case errors.Is(err, errUnidentified):
		return status.New(codes.Unauthenticated, "the connection does not prove who calls"), false
	case errors.Is(err, errStopping):
		return status.New(codes.Unavailable, errStopping.Error()), true
	case errors.Is(err, context.Canceled):
		return status.New(codes.Canceled, "the call was cancelled"), true
	case errors.Is(err, context.DeadlineExceeded):
		return status.New(codes.DeadlineExceeded, "the call took too long"), true
	case errors.Is(err, join.ErrSlow):
		return status.New(codes.ResourceExhausted, "records change faster than they are read: list again"), true
	case errors.Is(err, inventory.ErrInvalid):
		return status.New(codes.InvalidArgument, err.Error()), true
	case errors.Is(err, inventory.ErrUnknownWorkload), errors.Is(err, inventory.ErrNotRegistered):
		return status.New(codes.NotFound, err.Error()), true
	case errors.Is(err, inventory.ErrNotAllowed):
		return status.New(codes.PermissionDenied, err.Error()), true
	case errors.Is(err, federation.ErrMalformed), errors.Is(err, federation.ErrUnverified), errors.Is(err, federation.ErrUnknown):
		return status.New(codes.InvalidArgument, clip(err.Error(), maxWords)), true
	case errors.Is(err, federation.ErrRollback), errors.Is(err, federation.ErrForked):
		return status.New(codes.FailedPrecondition, clip(err.Error(), maxWords)), true
	case errors.Is(err, store.ErrConflict):
		return status.New(codes.FailedPrecondition, "changed meanwhile: look again and retry"), true
	case errors.Is(err, store.ErrNotFound):
		return status.New(codes.NotFound, "not found"), true
	case errors.Is(err, records.ErrInvalid):
		return status.New(codes.InvalidArgument, "a time or a limit that nothing can have: ask for the years from 1 to 9999"), true
	case errors.Is(err, records.ErrFull), errors.Is(err, records.ErrDamaged), errors.Is(err, records.ErrInUse):
		return status.New(codes.Unavailable, "the control plane's store of records is not available: retry; its log says why"), false
	case errors.Is(err, sealed.ErrInvalid):
		return status.New(codes.InvalidArgument, clip(err.Error(), maxWords)), true
	case errors.Is(err, sealed.ErrOther):
		return status.New(codes.AlreadyExists, sealed.ErrOther.Error()), true
	case errors.Is(err, sealed.ErrFull):
		return status.New(codes.ResourceExhausted, sealed.ErrFull.Error()), true
	case errors.Is(err, sealed.ErrNotFound):
		return status.New(codes.NotFound, sealed.ErrNotFound.Error()), true
	case errors.Is(err, errNotEntered):
		return status.New(codes.Unavailable, errNotEntered.Error()+", so it is not: its log says why"), false
	case errors.Is(err, store.ErrUnavailable):
		return status.New(codes.Unavailable, "the control plane's store is not available: retry; its log says why"), false
	default:
		return status.New(codes.Internal, "internal error: the control plane's log says which"), false
	}
}
