package mux

import "fmt"

// Reason of a GOAWAY frame: why its sender takes no more streams.
type Reason uint32

// The reasons. Numbers are part of the wire format. Those from BadPreface on
// say what the receiver of the GOAWAY did wrong, and the connection ends with it.
const (
	Draining Reason = 1 // streams that are open go on, no new ones please
	Closed   Reason = 2 // the sender closes the connection
	Silent   Reason = 3 // PINGs were not answered
	Identity Reason = 4 // the peer's SVID no longer holds

	BadPreface     Reason = 16 // not this protocol, or not this version
	UnknownType    Reason = 17 // a frame type that there is not
	ReservedFlags  Reason = 18 // a flag that the type does not have
	BadLength      Reason = 19 // a length that the type cannot have
	BadStream      Reason = 20 // a stream where there must be none, or none where there must be one
	BadParity      Reason = 21 // opened a stream with the other end's parity
	StreamReuse    Reason = 22 // opened a stream a second time
	UnknownStream  Reason = 23 // spoke of a stream that was never opened, or left one out
	BadHeader      Reason = 24 // the crossing's header is not one
	WindowExceeded Reason = 25 // sent more than it had credit for
	BadCredit      Reason = 26 // granted nothing, or more than a window may hold
	AfterEnd       Reason = 27 // sent on a direction that it had ended
	Flood          Reason = 28 // asks faster than it reads the answers
	BadGoAway      Reason = 29 // spoke of streams that were never opened
	Truncated      Reason = 30 // the connection ended inside a frame
)

// String says the reason in words.
func (r Reason) String() string {
	switch r {
	case Draining:
		return "draining"
	case Closed:
		return "closed"
	case Silent:
		return "pings are not answered"
	case Identity:
		return "identity no longer holds"
	case BadPreface:
		return "bad preface"
	case UnknownType:
		return "unknown frame type"
	case ReservedFlags:
		return "reserved flags are set"
	case BadLength:
		return "impossible length"
	case BadStream:
		return "frame is on the wrong kind of stream"
	case BadParity:
		return "stream has the other end's parity"
	case StreamReuse:
		return "stream was opened before"
	case UnknownStream:
		return "stream was never opened"
	case BadHeader:
		return "crossing header does not decode"
	case WindowExceeded:
		return "more data than credit"
	case BadCredit:
		return "impossible credit"
	case AfterEnd:
		return "data after the end of its direction"
	case Flood:
		return "more requests than answers read"
	case BadGoAway:
		return "goaway of streams that were never opened"
	case Truncated:
		return "connection ended inside a frame"
	}
	return fmt.Sprintf("reason %d", uint32(r))
}

// FaultError says how a peer broke the protocol. Its connection cannot go on.
type FaultError struct {
	Reason Reason
	Type   Type   // of the frame; 0 for the preface
	Stream uint32 // of the frame
	Detail string // numbers only, nothing that the peer wrote
}

// Error says it in one line.
func (f *FaultError) Error() string {
	where := "preface"
	if f.Type != 0 {
		where = fmt.Sprintf("%s on stream %d", f.Type, f.Stream)
	}
	if f.Detail == "" {
		return fmt.Sprintf("%s: %s", where, f.Reason)
	}
	return fmt.Sprintf("%s: %s: %s", where, f.Reason, f.Detail)
}
