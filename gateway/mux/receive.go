package mux

import (
	"encoding/binary"
	"fmt"
)

// Kind of an event.
type Kind uint8

// What a received frame means for the one that received it.
const (
	Nothing   Kind = iota // for a stream that is over
	Opened                // Stream is new, its User is zero; Payload is the header
	Refused               // ID was opened beyond the limit: reset it
	Arrived               // Payload came on Stream; Fin ends the direction
	WasReset              // the peer reset Stream with Code
	Credited              // Stream, or the tunnel if nil, may send more
	Asked                 // the peer pings: answer Probe
	Answered              // the peer answered Probe
	GoingAway             // the peer takes no streams after Last, for Reason
)

// Event is what one frame means. Payload is the frame's own.
type Event[U any] struct {
	Kind    Kind
	Stream  *Stream[U]
	ID      uint32
	Payload []byte
	Length  int // of the payload
	Fin     bool
	Code    uint32
	Probe   Probe
	Last    uint32
	Reason  Reason
	Grant   uint32 // credit to grant to the tunnel now; 0 is none
}

// Receive takes a frame whose header ParseHeader let pass. Of a DATA frame the
// header alone counts: its payload may still be on its way, and nil. The error
// is a *FaultError, and the connection cannot go on.
func (c *Conn[U]) Receive(h Header, payload []byte) (Event[U], error) {
	switch h.Type {
	case Open:
		return c.receiveOpen(h, payload)
	case Data:
		return c.receiveData(h, payload)
	case Reset:
		return c.receiveReset(h, binary.BigEndian.Uint32(payload))
	case Window:
		return c.receiveWindow(h, binary.BigEndian.Uint32(payload))
	case Ping:
		return Event[U]{Kind: Asked, Probe: parseProbe(payload)}, nil
	case Pong:
		return Event[U]{Kind: Answered, Probe: parseProbe(payload)}, nil
	case GoAway:
		return c.receiveGoAway(h, binary.BigEndian.Uint32(payload), Reason(binary.BigEndian.Uint32(payload[4:])))
	}
	return Event[U]{}, h.fault(UnknownType, "")
}

// receiveOpen takes the next stream of the peer. Streams are opened without
// gaps, so that a number says by itself whether it was ever opened.
func (c *Conn[U]) receiveOpen(h Header, payload []byte) (Event[U], error) {
	switch next := c.nextOfPeer(); {
	case c.mine(h.Stream):
		return Event[U]{}, h.fault(BadParity, "")
	case h.Stream < next:
		return Event[U]{}, h.fault(StreamReuse, "")
	case h.Stream > next:
		return Event[U]{}, h.fault(UnknownStream, fmt.Sprintf("stream %d is next", next))
	}
	c.last = h.Stream
	if c.accepted >= c.local.MaxStreams {
		return Event[U]{Kind: Refused, ID: h.Stream}, nil
	}
	c.accepted++
	return Event[U]{Kind: Opened, Stream: c.add(h.Stream, false), ID: h.Stream, Payload: payload}, nil
}

func (c *Conn[U]) nextOfPeer() uint32 {
	if c.last == 0 {
		return uint32(3 - c.role)
	}
	return c.last + 2
}

func (c *Conn[U]) mine(id uint32) bool { return id%2 == uint32(c.role)%2 }

// lookup finds a stream; nil if it is over. A stream that never was is a fault.
func (c *Conn[U]) lookup(h Header) (*Stream[U], error) {
	if s := c.streams[h.Stream]; s != nil {
		return s, nil
	}
	if c.mine(h.Stream) && h.Stream < c.next || !c.mine(h.Stream) && h.Stream <= c.last {
		return nil, nil
	}
	return nil, h.fault(UnknownStream, "")
}

// receiveData takes bytes within both windows. What comes for a stream that is
// over was on its way when it ended: its credit goes back to the tunnel.
func (c *Conn[U]) receiveData(h Header, payload []byte) (Event[U], error) {
	s, err := c.lookup(h)
	if err != nil {
		return Event[U]{}, err
	}
	n, fin := int64(h.Length), h.Flags&FlagFin != 0
	if n > c.window.credit {
		return Event[U]{}, h.fault(WindowExceeded, fmt.Sprintf("%d bytes, the tunnel's credit is %d", n, c.window.credit))
	}
	c.window.credit -= n
	if s == nil {
		c.window.consumed += n
		return Event[U]{Kind: Nothing, Grant: c.window.grant()}, nil
	}
	if s.recvFin {
		return Event[U]{}, h.fault(AfterEnd, "")
	}
	if n > s.window.credit {
		return Event[U]{}, h.fault(WindowExceeded, fmt.Sprintf("%d bytes, the stream's credit is %d", n, s.window.credit))
	}
	s.window.credit -= n
	s.unread += n
	if fin {
		s.recvFin = true
		c.settle(s)
	}
	return Event[U]{Kind: Arrived, Stream: s, ID: h.Stream, Payload: payload, Length: h.Length, Fin: fin, Grant: c.window.grant()}, nil
}

func (c *Conn[U]) receiveReset(h Header, code uint32) (Event[U], error) {
	s, err := c.lookup(h)
	if s == nil {
		return Event[U]{}, err
	}
	c.finish(s) // what came before may still be read
	return Event[U]{Kind: WasReset, Stream: s, ID: h.Stream, Code: code}, nil
}

func (c *Conn[U]) receiveWindow(h Header, credit uint32) (Event[U], error) {
	if credit == 0 || credit > MaxWindow {
		return Event[U]{}, h.fault(BadCredit, fmt.Sprintf("%d bytes", credit))
	}
	if h.Stream == 0 {
		c.send += int64(credit)
		if c.send > MaxWindow {
			return Event[U]{}, h.fault(BadCredit, fmt.Sprintf("%d bytes in all", c.send))
		}
		return Event[U]{Kind: Credited}, nil
	}
	s, err := c.lookup(h)
	if s == nil {
		return Event[U]{}, err
	}
	s.send += int64(credit)
	if s.send > MaxWindow {
		return Event[U]{}, h.fault(BadCredit, fmt.Sprintf("%d bytes in all", s.send))
	}
	return Event[U]{Kind: Credited, Stream: s, ID: h.Stream}, nil
}

// receiveGoAway takes note. Streams of this end above last were not taken by
// the peer, unless it drains: then it still takes those that are on their way.
func (c *Conn[U]) receiveGoAway(h Header, last uint32, r Reason) (Event[U], error) {
	if last != 0 && (!c.mine(last) || last >= c.next) {
		return Event[U]{}, h.fault(BadGoAway, fmt.Sprintf("stream %d", last))
	}
	c.gone = true
	return Event[U]{Kind: GoingAway, Last: last, Reason: r}, nil
}
