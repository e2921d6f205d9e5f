package mux

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// Why no stream can be opened.
var (
	// ErrGoingAway says that this end rests, or that the peer said GOAWAY.
	ErrGoingAway = errors.New("no more streams on this tunnel")
	// ErrStreamLimit says that as many are open as the peer takes.
	ErrStreamLimit = errors.New("as many streams as the peer takes")
	// ErrExhausted says that all numbers were used: dial again.
	ErrExhausted = errors.New("stream numbers are used up")
)

// Role of an end: who dialled.
type Role uint8

// The roles. The dialler's streams are odd, the acceptor's even.
const (
	Dialler  Role = 1
	Acceptor Role = 2
)

// Conn is the state of a connection as one end sees it. U is what the caller
// hangs on a stream. Nothing is safe for concurrent use: the caller has a lock,
// and puts frames on the wire in the order in which it called the methods they
// stem from.
type Conn[U any] struct {
	local, peer Settings
	role        Role
	streams     map[uint32]*Stream[U]
	spare       []*Stream[U] // to be used again
	next        uint32       // the stream this end opens next
	last        uint32       // the last one that the peer opened, 0 if none
	opened      uint32       // open now, by this end
	accepted    uint32       // open now, by the peer
	send        int64        // credit this end has for all streams
	window      window       // what the peer may send on all streams
	resting     bool         // this end opens no more
	gone        bool         // GOAWAY was received

	largest   int64         // that a stream's window may become
	roundTrip time.Duration // 0 while it is not known
}

// window is one receiving window: what the peer may still send, and what was
// consumed and is not granted again yet.
type window struct {
	credit   int64
	consumed int64
	size     int64
	granted  time.Time // when credit was granted last
}

func newWindow(size uint32) window { return window{credit: int64(size), size: int64(size)} }

// grant is the credit to grant now, 0 to wait: half a window at a time, so that
// WINDOW frames stay few while the sender never runs dry.
func (w *window) grant() uint32 {
	if !w.due() {
		return 0
	}
	n := w.consumed
	w.consumed = 0
	w.credit += n
	return uint32(n)
}

func (w *window) due() bool { return w.consumed*2 >= w.size }

// grow doubles a window that holds its sender up: one of which half was consumed
// within two round trips carries less than the path and the reader could. A
// reader that is slow never makes its window grow.
func (w *window) grow(now time.Time, roundTrip time.Duration, largest int64) {
	if !w.granted.IsZero() && now.Sub(w.granted) < 2*roundTrip && w.size < largest {
		more := min(w.size, largest-w.size)
		w.size += more
		w.consumed += more // to be granted with the rest
	}
	w.granted = now
}

// Stream is the state of one stream.
type Stream[U any] struct {
	// User is the caller's.
	User U

	id       uint32
	local    bool // this end opened it
	send     int64
	window   window
	unread   int64 // received and not consumed
	sentFin  bool
	recvFin  bool
	finished bool // reset, or both directions ended
}

// ID is the stream's number on the wire.
func (s *Stream[U]) ID() uint32 { return s.id }

// Finished says that the stream was reset or that both directions have ended.
func (s *Stream[U]) Finished() bool { return s.finished }

// Received says that the peer has ended its direction in order.
func (s *Stream[U]) Received() bool { return s.recvFin }

// NewConn is a connection after both prefaces.
func NewConn[U any](role Role, local, peer Settings) *Conn[U] {
	c := &Conn[U]{
		local: local, peer: peer, role: role,
		streams: map[uint32]*Stream[U]{},
		next:    uint32(role),
		send:    int64(peer.TunnelWindow),
		window:  newWindow(local.TunnelWindow),
		largest: int64(local.StreamWindow),
	}
	return c
}

// Tune lets the windows of streams grow up to largest, by what a round trip to
// the peer takes.
func (c *Conn[U]) Tune(roundTrip time.Duration, largest uint32) {
	c.roundTrip, c.largest = roundTrip, int64(largest)
}

// Len is the number of streams that are open.
func (c *Conn[U]) Len() int { return len(c.streams) }

// Streams calls f for each open stream, which f may reset.
func (c *Conn[U]) Streams(f func(*Stream[U])) {
	for _, s := range c.streams {
		f(s)
	}
}

// Open opens a stream from this end, whose User is the zero value. An OPEN frame
// must follow at once. It fails with ErrGoingAway, ErrStreamLimit or ErrExhausted.
func (c *Conn[U]) Open() (*Stream[U], error) {
	switch {
	case c.Going():
		return nil, ErrGoingAway
	case c.opened >= c.peer.MaxStreams:
		return nil, fmt.Errorf("%w: %d", ErrStreamLimit, c.opened)
	case c.next > math.MaxUint32-2:
		return nil, ErrExhausted
	}
	s := c.add(c.next, true)
	c.next += 2
	c.opened++
	return s, nil
}

func (c *Conn[U]) add(id uint32, local bool) *Stream[U] {
	var s *Stream[U]
	if last := len(c.spare) - 1; last >= 0 {
		s, c.spare = c.spare[last], c.spare[:last]
	} else {
		s = new(Stream[U])
	}
	s.id, s.local, s.send, s.window = id, local, int64(c.peer.StreamWindow), newWindow(c.local.StreamWindow)
	s.unread, s.sentFin, s.recvFin, s.finished = 0, false, false, false
	c.streams[id] = s
	return s
}

// maxSpare is how many streams are kept to be used again: as many as are open at a
// time, where many calls follow one another.
const maxSpare = 256

// Reuse has a stream that is finished made another one, once nobody uses it any more.
// Its User must be as if it were the zero value.
func (c *Conn[U]) Reuse(s *Stream[U]) {
	if len(c.spare) < maxSpare {
		c.spare = append(c.spare, s)
	}
}

// Credit is the bytes that may be sent on the stream now.
func (c *Conn[U]) Credit(s *Stream[U]) int {
	if s.finished || s.sentFin {
		return 0
	}
	return int(max(0, min(s.send, c.send)))
}

// Starved says that the stream may send nothing until the peer grants it credit.
func (c *Conn[U]) Starved(s *Stream[U]) bool { return s.finished || s.sentFin || s.send <= 0 }

// TunnelCredit is the bytes that may be sent on all streams together now.
func (c *Conn[U]) TunnelCredit() int { return int(c.send) }

// Sent takes n bytes, at most Credit, from the credit of stream and tunnel.
func (c *Conn[U]) Sent(s *Stream[U], n int) {
	s.send -= int64(n)
	c.send -= int64(n)
}

// End ends this end's direction and says whether a DATA frame with FlagFin must
// follow: not if it has ended before.
func (c *Conn[U]) End(s *Stream[U]) bool {
	if s.finished || s.sentFin {
		return false
	}
	s.sentFin = true
	c.settle(s)
	return true
}

// Reset ends both directions and says whether a RESET frame must follow: not if
// both have ended before.
func (c *Conn[U]) Reset(s *Stream[U]) bool {
	if s.finished {
		return false
	}
	c.giveBack(s)
	c.finish(s)
	return true
}

// Discard says that what was received on the stream and not consumed never will
// be, because its reader is gone or is not to have it. It gives the credit to
// grant to the tunnel.
func (c *Conn[U]) Discard(s *Stream[U]) (tunnel uint32) {
	c.giveBack(s)
	return c.window.grant()
}

// settle finishes a stream once both directions have ended.
func (c *Conn[U]) settle(s *Stream[U]) {
	if s.sentFin && s.recvFin {
		c.finish(s)
	}
}

// giveBack takes what the stream received and nobody will consume back into the
// tunnel's window, or each stream that is left unread would narrow it.
func (c *Conn[U]) giveBack(s *Stream[U]) {
	c.window.consumed += s.unread
	s.unread = 0
}

// finish forgets the stream. What it received is still in the tunnel's window
// until it is consumed, or streams that have ended would hold memory that
// nothing bounds.
func (c *Conn[U]) finish(s *Stream[U]) {
	s.finished = true
	delete(c.streams, s.id)
	if s.local {
		c.opened--
	} else {
		c.accepted--
	}
}

// Consumed says that n received bytes of the stream were taken by their reader.
// It gives the credit to grant to the stream and to the tunnel now, by WINDOW
// frames; 0 is none.
func (c *Conn[U]) Consumed(s *Stream[U], n int) (stream, tunnel uint32) {
	taken := min(int64(n), s.unread) // less if a reset has given it back meanwhile
	s.unread -= taken
	c.window.consumed += taken
	if s.window.consumed += taken; !s.finished && !s.recvFin && s.window.due() {
		s.window.grow(time.Now(), c.roundTrip, c.largest)
		stream = s.window.grant()
	}
	return stream, c.window.grant()
}

// Grant is the credit to grant to the tunnel now; 0 is none. It is asked after
// Reset and End, which may free some.
func (c *Conn[U]) Grant() uint32 { return c.window.grant() }

// GoAway says that this end takes no more streams and is about to say so. It
// gives the last stream of the peer for the GOAWAY frame. This end may still
// open streams, until Rest.
func (c *Conn[U]) GoAway() (last uint32) { return c.last }

// Rest says that this end opens no more streams.
func (c *Conn[U]) Rest() { c.resting = true }

// Going says that this end opens no more streams: by its own will, or because the
// peer said GOAWAY.
func (c *Conn[U]) Going() bool { return c.resting || c.gone }
