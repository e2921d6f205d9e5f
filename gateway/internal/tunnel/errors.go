package tunnel

import (
	"errors"
	"fmt"
	"net"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// ErrDraining says that the tunnel takes no more streams, because it drains or has
// ended, and that this one was not opened: open it in another.
var ErrDraining = errors.New("tunnel is draining")

// ErrInterrupted says that a Write or an Open did not wait for room in the tunnel.
var ErrInterrupted = errors.New("interrupted while waiting for room")

// ResetCode says why a stream was reset. It travels in the RESET frame.
type ResetCode uint32

// The reset codes. Numbers are part of the wire format.
const (
	TunnelClosed    ResetCode = 1 // the tunnel was lost or closed
	CallerGone      ResetCode = 2 // the caller went away
	DestinationGone ResetCode = 3 // the destination failed or went away
	ProtocolError   ResetCode = 4 // the peer broke the protocol
	Refused         ResetCode = 5 // the stream was refused before it was read
	Stopped         ResetCode = 6 // the gateway is stopping
	Repeated        ResetCode = 7 // the crossing goes on in another stream
)

// denied is the first of the codes that say why a gateway stands by a crossing no
// more: it and the number of a reason, as records have it.
const denied ResetCode = 0x100

// Denied is the code with which a gateway ends a crossing that it let through
// before.
func Denied(reason crossingv1.Reason) ResetCode { return denied + ResetCode(reason) }

// Reason is why a gateway stands by the crossing no more; REASON_UNSPECIFIED if the
// code says something else.
func (c ResetCode) Reason() crossingv1.Reason {
	if _, known := crossingv1.Reason_name[int32(c-denied)]; c <= denied || !known {
		return crossingv1.Reason_REASON_UNSPECIFIED
	}
	return crossingv1.Reason(c - denied)
}

// AtOnce says that nothing that came before the reset is passed on any more: a
// gateway that stands by a crossing no more means all of it. Any other reset comes
// after what was written before it; so does that of a budget that is used up, which
// takes back nothing of what there was room for.
func (c ResetCode) AtOnce() bool {
	return c > denied && c.Reason() != crossingv1.Reason_OVER_BUDGET
}

// String is the code's name.
func (c ResetCode) String() string {
	if why := c.Reason(); why != crossingv1.Reason_REASON_UNSPECIFIED {
		return "denied by now: " + why.String()
	}
	switch c {
	case TunnelClosed:
		return "tunnel closed"
	case CallerGone:
		return "caller gone"
	case DestinationGone:
		return "destination gone"
	case ProtocolError:
		return "protocol error"
	case Refused:
		return "refused"
	case Stopped:
		return "gateway stopping"
	case Repeated:
		return "repeated"
	}
	return fmt.Sprintf("reset code %d", uint32(c))
}

// ResetError is what Read and Write return once a stream was reset. It is
// net.ErrClosed too.
type ResetError struct {
	Code   ResetCode
	Remote bool // the peer reset it
}

// Error says who reset the stream and why.
func (e *ResetError) Error() string {
	who := "here"
	if e.Remote {
		who = "by the peer"
	}
	return fmt.Sprintf("stream reset %s: %s", who, e.Code)
}

// Unwrap makes errors.Is(err, net.ErrClosed) hold.
func (e *ResetError) Unwrap() error { return net.ErrClosed }
