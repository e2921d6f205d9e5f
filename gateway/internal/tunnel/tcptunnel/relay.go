package tcptunnel

import (
	"errors"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/internal/blocks"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel/parking"
)

const (
	// atOnce is how many blocks one write to a local connection takes.
	atOnce = 16
	// grace is how long a local connection may take what has arrived before the
	// stream was reset.
	grace = 2 * time.Second
)

// past interrupts who waits.
var past = time.Unix(1, 0)

// relay is a stream's local connection. What arrives is written to it by the
// tunnel's read loop, without waiting; what the connection does not take
// gathers in the stream's blocks, within its window, until a goroutine of its
// own has written it. What the connection says is read by outgoing. The stream's
// mu guards the rest.
type relay struct {
	s     *stream
	local *net.TCPConn
	raw   syscall.RawConn
	code  tunnel.ResetCode // if the local connection fails
	count *tunnel.Count
	done  func(tunnel.Relayed)
	lot   *parking.Lot // nil if it waits with a goroutine only
	out   outgoing

	write func(fd uintptr) bool
	p     []byte // what write writes
	n     int    // how much of it was written
	busy  bool   // a goroutine writes what has gathered
	cut   bool   // nothing more is read
	over  bool   // and nobody reads any more
	err   error  // why the local connection failed
}

func newRelay(s *stream, local *net.TCPConn, code tunnel.ResetCode, count *tunnel.Count, done func(tunnel.Relayed)) (*relay, error) {
	raw, err := local.SyscallConn()
	if err != nil {
		return nil, err
	}
	r := &relay{s: s, local: local, raw: raw, code: code, count: count, done: done}
	r.write = r.writeNow // made once, because it escapes
	return r, local.SetDeadline(time.Time{})
}

// interrupt makes whoever waits for the local connection come back: its reader,
// and unless the peer's direction is whole its writer, which first writes what is
// left if that was not dropped. The caller holds the stream's mu.
func (r *relay) interrupt(dropped bool) {
	r.cut = true
	r.local.SetReadDeadline(past) //nolint:errcheck // a connection that is closed has nobody who waits
	switch {
	case r.s.recvErr == nil:
	case dropped:
		r.local.SetWriteDeadline(past) //nolint:errcheck // as above
	default:
		r.local.SetWriteDeadline(time.Now().Add(grace)) //nolint:errcheck // as above
	}
	r.unpark()
}

// settle ends the relay once nobody uses the local connection any more and the
// stream has ended. The caller holds the stream's mu.
func (s *stream) settle() {
	r := s.relay
	if r == nil || !r.over || r.busy || !s.finished() {
		return
	}
	s.relay = nil
	go func() { r.done(r.outcome()) }()
}

// outcome says how the relay ended. Whoever failed first made the other one
// fail.
func (r *relay) outcome() tunnel.Relayed {
	s := r.s
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	var end tunnel.Relayed
	reset := s.reset
	if reset == nil {
		reset = s.recvErr // both directions had ended, but not all was written yet
	}
	switch {
	case reset != nil && reset.Code != r.code:
		end.Stream = reset
	case r.out.local != nil:
		end.Local = r.out.local
	case r.err != nil && !errors.Is(r.err, os.ErrDeadlineExceeded):
		end.Local = r.err
	case reset != nil:
		end.Stream = reset
	case r.out.err != nil:
		end.Stream = r.out.err
	}
	return end
}

// relayNow takes what has arrived. It gives how much the local connection took,
// and why it takes no more. The caller holds the stream's mu.
func (s *stream) relayNow(r *relay, p []byte, fin bool) (int, error) {
	n := 0
	if !r.busy && len(p) > 0 && r.err == nil {
		r.p, r.n = p, 0
		if err := r.raw.Write(r.write); err != nil && r.err == nil {
			r.err = err
		}
		r.p, n = nil, r.n
		r.count.Received.Add(uint64(n))
	}
	s.eof = s.eof || fin
	s.in.Put(p[n:])
	s.relayRest(r)
	return n, r.err
}

// relayRest sees to what the local connection has not taken yet. The caller
// holds the stream's mu.
func (s *stream) relayRest(r *relay) {
	switch {
	case r.busy || r.err != nil:
	case s.in.Len() > 0:
		r.busy = true
		go s.relayLater(r)
	case s.recvErr != nil:
	case s.eof && !s.eofRead:
		s.eofRead = true
		if err := r.local.CloseWrite(); err != nil && !errors.Is(err, syscall.ENOTCONN) {
			r.err = err
			return
		}
		s.end()
		s.settle()
	}
}

// relayed gives the peer credit for what the local connection took, or resets
// the stream because it failed.
func (s *stream) relayed(r *relay, n int, failed error) {
	if n > 0 {
		s.consumed(n)
	}
	if failed != nil {
		s.Reset(r.code)
	}
}

// relayLater writes what has gathered, and what comes meanwhile.
func (s *stream) relayLater(r *relay) {
	var taken [atOnce]*blocks.Block
	var pieces [atOnce][]byte
	for {
		s.mu.Lock()
		n := s.in.Detach(taken[:])
		if n == 0 || r.err != nil {
			r.busy = false
			s.relayRest(r)
			s.settle()
			failed := r.err
			s.mu.Unlock()
			s.relayed(r, 0, failed)
			return
		}
		s.mu.Unlock()
		for i, b := range taken[:n] {
			pieces[i] = b.Bytes()
		}
		buffers := net.Buffers(pieces[:n])
		m, err := buffers.WriteTo(r.local)
		for _, b := range taken[:n] {
			b.Free()
		}
		r.count.Received.Add(uint64(m))
		s.mu.Lock()
		if err != nil && r.err == nil {
			r.err = err
		}
		s.mu.Unlock()
		s.relayed(r, int(m), nil)
	}
}

// attach makes the local connection take what arrives, after what has.
func (s *stream) attach(r *relay) {
	s.c.mu.Lock()
	r.lot = s.c.openLot()
	s.mu.Lock()
	s.relay = r
	s.arrived = waiters{} // of Read, which nobody calls any more
	s.relayRest(r)
	if s.reset != nil {
		r.interrupt(!r.busy)
	}
	failed := r.err
	s.mu.Unlock()
	s.c.mu.Unlock()
	s.relayed(r, 0, failed)
}
