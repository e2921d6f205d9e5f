package tcptunnel

import (
	"errors"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	"github.com/sallyport-mesh/sallyport/gateway/mux"
)

const (
	// atOnce is how many blocks one write to a local connection takes.
	atOnce = 16
	// quiet is how many bytes a relay leaves to the tunnel's writer before its
	// goroutine writes by itself: that is faster, but its stack then grows by
	// what TLS needs, for connections that hardly say anything.
	quiet = 4 << 10
)

// past interrupts who waits.
var past = time.Unix(1, 0)

// relay is a stream's local connection. What arrives is written to it by the
// tunnel's read loop, without waiting; what the connection does not take
// gathers in the stream's blocks, within its window, until a goroutine of its
// own has written it. The stream's mu guards it.
type relay struct {
	local    *net.TCPConn
	raw      syscall.RawConn
	code     tunnel.ResetCode // if the local connection fails
	write    func(fd uintptr) bool
	p        []byte // what write writes
	n        int    // how much of it was written
	busy     bool   // a goroutine writes what has gathered
	err      error  // why the local connection failed
	received uint64
}

func newRelay(local *net.TCPConn, code tunnel.ResetCode) (*relay, error) {
	raw, err := local.SyscallConn()
	if err != nil {
		return nil, err
	}
	r := &relay{local: local, raw: raw, code: code}
	r.write = r.writeNow // made once, because it escapes
	return r, nil
}

// interrupt makes whoever waits for the local connection come back: its reader,
// and if all is lost its writer.
func (r *relay) interrupt(all bool) {
	if all {
		r.local.SetDeadline(past) //nolint:errcheck // a connection that is closed has nobody who waits
	} else {
		r.local.SetReadDeadline(past) //nolint:errcheck // as above
	}
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
		r.received += uint64(n)
	}
	s.eof = s.eof || fin
	s.in.put(p[n:], &s.c.blocks)
	s.relayRest(r)
	return n, r.err
}

// relayRest sees to what the local connection has not taken yet. The caller
// holds the stream's mu.
func (s *stream) relayRest(r *relay) {
	switch {
	case r.busy || r.err != nil || s.recvErr != nil:
	case s.in.first != nil:
		r.busy = true
		go s.relayLater(r)
	case s.eof && !s.eofRead:
		s.eofRead = true
		if err := r.local.CloseWrite(); err != nil && !errors.Is(err, syscall.ENOTCONN) {
			r.err = err
			return
		}
		s.end()
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
	var taken [atOnce]*block
	var pieces [atOnce][]byte
	for {
		s.mu.Lock()
		n := s.in.detach(taken[:])
		if n == 0 || r.err != nil {
			r.busy = false
			s.relayRest(r)
			failed := r.err
			s.arrived.wake()
			s.mu.Unlock()
			s.relayed(r, 0, failed)
			return
		}
		s.mu.Unlock()
		for i, b := range taken[:n] {
			pieces[i] = b.data[b.r:b.w]
		}
		buffers := net.Buffers(pieces[:n])
		m, err := buffers.WriteTo(r.local)
		for _, b := range taken[:n] {
			s.c.blocks.Put(b)
		}
		s.mu.Lock()
		r.received += uint64(m)
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
	s.mu.Lock()
	s.relay = r
	s.arrived = waiters{} // of Read, which nobody calls any more
	s.relayRest(r)
	if s.reset != nil {
		r.interrupt(s.recvErr != nil)
	}
	failed := r.err
	s.mu.Unlock()
	s.c.mu.Unlock()
	s.relayed(r, 0, failed)
}

// detach waits until nobody uses the local connection any more.
func (s *stream) detach(r *relay) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for r.busy {
		s.arrived.wait(&s.mu)
	}
	s.relay = nil
}

// outgoing is what a relay reads from its local connection.
type outgoing struct {
	s     *stream
	sent  uint64
	class int   // of the next buffer
	local error // why the connection can be read no more
	err   error // why the stream takes no more
}

// read reads the local connection and sends what comes, until its end. It is
// called when there may be something to read; false waits. An idle connection
// holds no buffer.
func (o *outgoing) read(fd uintptr) bool {
	for {
		buf := buffers[o.class].Get().(*[]byte)
		n, err := readNow(fd, (*buf)[mux.HeaderLen:])
		if n > 0 {
			o.err = o.s.send((*buf)[:mux.HeaderLen+n], o.sent < quiet)
		}
		buffers[o.class].Put(buf)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case errors.Is(err, syscall.EAGAIN):
			return false
		case err != nil:
			o.local = err
			return true
		case n == 0 || o.err != nil:
			return true
		}
		o.sent += uint64(n)
		o.class = classOf(o.sent)
	}
}

// buffers are pools of buffers by size: small ones for streams that carry
// little, larger ones as they carry more.
var buffers = [...]sync.Pool{
	{New: func() any { return newBuffer(4 << 10) }},
	{New: func() any { return newBuffer(16 << 10) }},
	{New: func() any { return newBuffer(64 << 10) }}, // the longest frame, in four records
}

func newBuffer(n int) *[]byte {
	b := make([]byte, n)
	return &b
}

func classOf(sent uint64) int {
	switch {
	case sent < 64<<10:
		return 0
	case sent < 512<<10:
		return 1
	}
	return 2
}

// send is Write of what lies behind a gap for a frame's header. Much of it is
// written from where it is, if nobody else has anything to write; what comes
// early is left to the writer.
func (s *stream) send(buf []byte, early bool) error {
	c := s.c
	n := len(buf) - mux.HeaderLen
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := s.writable(); err != nil {
		return err
	}
	if early && n < direct && c.out.first(s) && c.mux.Credit(s.state) >= n && c.out.roomy(s) {
		c.out.pending = mux.AppendData(c.out.pending, s.state.ID(), buf[mux.HeaderLen:], false)
		c.sent(s, n)
		c.kick()
		return nil
	}
	if n < direct || c.out.writing || len(c.out.pending) > 0 || !c.out.first(s) || c.mux.Credit(s.state) < n {
		_, err := s.write(buf[mux.HeaderLen:])
		return err
	}
	mux.PutDataHeader(buf, s.state.ID(), n)
	c.sent(s, n)
	c.out.writing = true
	c.write(buf)
	c.fill()
	c.flushOn(combined)
	return s.failure()
}

// failure is why the stream was reset, if it was. The caller holds the conn's
// mu.
func (s *stream) failure() error {
	if s.reset != nil {
		return s.reset
	}
	return nil
}
