package tunnel

import (
	"errors"
	"fmt"
	"net"
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

// String is the code's name.
func (c ResetCode) String() string {
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
