package tcptunnel

import (
	"errors"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel/eof"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel/parking"
	"github.com/sallyport-mesh/sallyport/gateway/mux"
)

const (
	// quiet is how many bytes a relay leaves to the tunnel's writer before its
	// goroutine writes by itself: that is faster, but its stack then grows by
	// what TLS needs, for connections that hardly say anything.
	quiet = 4 << 10
	// prompt is how long a goroutine waits for the first bytes of a connection.
	prompt = 10 * time.Millisecond
	// lull is how long it waits for more at least, and twice that at most. To park
	// a connection and to be woken costs as much as a request or two.
	lull = 250 * time.Millisecond
)

// outgoing is what a relay reads from its local connection. While there is
// something to read a goroutine does; then the connection is parked. It belongs
// to the goroutine, but for the ticket, which is the stream's mu's.
type outgoing struct {
	sent   uint64
	class  int            // of the next buffer
	local  error          // why the connection can be read no more
	err    error          // why the stream takes no more
	ticket parking.Ticket // of the last wait without a goroutine
}

// carry sends what the local connection says, until its end or until it is
// parked.
func (r *relay) carry() {
	for wait := prompt; r.await(wait); wait = lull {
		sent := r.out.sent
		if err := r.raw.Read(r.read); !errors.Is(err, os.ErrDeadlineExceeded) {
			if err != nil {
				r.out.local = err
			}
			break
		}
		if r.out.sent == sent && r.park() {
			return
		}
	}
	r.finish()
}

// await sets how long to wait for something to read. It is false if nobody may.
func (r *relay) await(wait time.Duration) bool {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	if !r.cut && r.lot != nil {
		r.local.SetReadDeadline(time.Now().Add(wait)) //nolint:errcheck // reading says what is wrong
	}
	return !r.cut
}

// park waits without a goroutine, if it can.
func (r *relay) park() bool {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	if r.cut || r.lot == nil {
		return false
	}
	var err error
	r.out.ticket, err = r.lot.Park(r.raw, func() { go r.carry() })
	return err == nil
}

// unpark goes on with a connection that is parked. The caller holds the stream's
// mu.
func (r *relay) unpark() {
	if r.out.ticket != 0 && r.lot.Leave(r.out.ticket) {
		go r.carry()
	}
}

// finish ends the stream's direction as the local connection's has.
func (r *relay) finish() {
	if r.out.local == nil && r.out.err == nil && r.wasReset() {
		r.out.local = syscall.ECONNRESET
	}
	switch {
	case r.out.local != nil:
		r.s.Reset(r.code)
	case r.out.err == nil:
		r.s.CloseWrite() //nolint:errcheck // only a stream that was reset cannot be closed
	}
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	r.over = true
	r.s.settle()
}

// wasReset says that the local connection's end is no end: a write was told that it
// was reset.
func (r *relay) wasReset() bool {
	if !eof.Reset(r.raw) {
		return false
	}
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	return !r.s.eofRead // else it has ended both ways
}

// read reads the local connection and sends what comes, until its end. It is
// called when there may be something to read; false waits. An idle connection
// holds no buffer.
func (r *relay) read(fd uintptr) bool {
	o := &r.out
	for {
		buf := buffers[o.class].Get().(*[]byte)
		n, err := readNow(fd, (*buf)[mux.HeaderLen:])
		if n > 0 {
			o.err = r.s.send((*buf)[:mux.HeaderLen+n], o.sent < quiet)
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
		r.count.Sent.Add(uint64(n))
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
