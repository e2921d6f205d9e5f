package tcptunnel

import (
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/internal/blocks"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	"github.com/sallyport-mesh/sallyport/gateway/mux"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// stream is one stream. Its sending half belongs to the conn's mu, its
// receiving half to its own, so that a reader and the tunnel's writers do not
// wait for each other.
type stream struct {
	c      *conn
	header *crossingv1.Header
	state  *mux.Stream[stream] // what this is part of; the conn's mu guards it
	ends   atomic.Int32        // directions that ended in order
	ending ending
	sending

	mu sync.Mutex // guards what follows
	receiving
}

// sending is what the conn's mu guards.
type sending struct {
	data   []byte // what Write has still to send
	wrote  waiters
	queued bool    // in the conn's queue
	after  *stream // the next one there
	reset  *tunnel.ResetError
	ended  bool          // CloseWrite was called
	last   bool          // data ends this end's direction
	hasty  bool          // Write does not wait
	bulk   bool          // it carries much
	bytes  int           // carried since a time, both ways; until it is bulk
	since  time.Duration // that time, from the tunnel's begin
}

// receiving is what the stream's own mu guards.
type receiving struct {
	arrived waiters
	in      blocks.Buffer
	want    []byte // where Read waits for data, nil if it does not
	got     int    // how much of it has come
	eof     bool   // the peer ended its direction
	eofRead bool   // and Read has said so
	recvErr *tunnel.ResetError
	relay   *relay // the local connection that takes what arrives; nil if Read does
}

var (
	_ tunnel.Interruptible = (*stream)(nil)
	_ tunnel.Finisher      = (*stream)(nil)
	_ tunnel.Notifier      = (*stream)(nil)
	_ tunnel.Releaser      = (*stream)(nil)
)

// newStream makes a stream of one that was just opened. The caller holds mu.
func (c *conn) newStream(state *mux.Stream[stream], h *crossingv1.Header) *stream {
	s := &state.User
	s.c, s.header, s.state, s.since = c, h, state, time.Since(c.info.Since)
	return s
}

// Release implements tunnel.Releaser.
func (s *stream) Release() {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.state.Finished() || s.reset != nil || !s.eof || s.in.Len() > 0 || s.recvErr != nil || s.relay != nil {
		return
	}
	s.header, s.sending, s.receiving = nil, sending{}, receiving{}
	s.ends.Store(0)
	s.ending.reset()
	c.mux.Reuse(s.state)
}

// waiters is a condition that takes no room while nobody waits for it. A mutex
// guards it, which is the one to wait with.
type waiters struct {
	cond  *sync.Cond
	count int
}

var conds = sync.Pool{New: func() any { return new(sync.Cond) }}

func (w *waiters) wait(mu *sync.Mutex) {
	if w.count == 0 {
		w.cond = conds.Get().(*sync.Cond)
		w.cond.L = mu
	}
	w.count++
	w.cond.Wait()
	if w.count--; w.count == 0 {
		w.cond.L = nil
		conds.Put(w.cond)
		w.cond = nil
	}
}

func (w *waiters) wake() {
	if w.cond != nil {
		w.cond.Broadcast()
	}
}

// Header implements tunnel.Stream.
func (s *stream) Header() *crossingv1.Header { return s.header }

// Done implements tunnel.Stream. The peer's direction has ended when Read said
// so: what has arrived and is not read yet is not lost on those who wait here.
func (s *stream) Done() <-chan struct{} { return s.ending.channel() }

// OnDone implements tunnel.Notifier.
func (s *stream) OnDone(w tunnel.Waiter) (before bool) { return s.ending.tell(w) }

func (s *stream) finished() bool { return s.ending.isOver() }

// ending is whether a stream is done, and who waits for it.
type ending struct {
	mu     sync.Mutex // guards what follows
	over   bool
	done   chan struct{} // nil while nobody has asked for it: few do
	waiter tunnel.Waiter
}

// finish says that it is, once.
func (e *ending) finish() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.over {
		return
	}
	if e.over = true; e.done != nil {
		close(e.done)
	}
	e.call()
}

// call calls who waits, once. The caller holds mu.
func (e *ending) call() {
	if e.waiter != nil {
		go e.waiter.StreamDone()
		e.waiter = nil
	}
}

func (e *ending) channel() <-chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.done == nil {
		if e.done = make(chan struct{}); e.over {
			close(e.done)
		}
	}
	return e.done
}

// tell puts w in the place of who waits, and says whether there was anybody who was
// not called yet.
func (e *ending) tell(w tunnel.Waiter) (before bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	before = e.waiter != nil
	if e.waiter = w; e.over {
		e.call()
	}
	return before
}

// reset is for another stream.
func (e *ending) reset() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.over, e.done, e.waiter = false, nil, nil
}

func (e *ending) isOver() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.over
}

// end counts a direction that ended in order.
func (s *stream) end() {
	if s.ends.Add(1) == 2 {
		s.ending.finish()
	}
}

// endRead notes that the peer's direction was read to its end. The caller holds mu.
func (s *stream) endRead() {
	if !s.eofRead {
		s.eofRead = true
		s.end()
	}
}

// Write sends p as the peer grants credit for it. It returns when all of p is
// on its way; p is not used afterwards.
func (s *stream) Write(p []byte) (int, error) {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	return s.write(p)
}

// Finish implements tunnel.Finisher: the last frame of data says that it is.
func (s *stream) Finish(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, s.CloseWrite()
	}
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	s.last = true
	n, err := s.write(p)
	s.last = false
	return n, err
}

// write is Write. The caller holds the conn's mu.
func (s *stream) write(p []byte) (int, error) {
	c := s.c
	s.data = p
	defer func() { s.data = nil }()
	if err := s.writable(); err != nil || len(p) == 0 {
		return 0, err
	}
	if c.out.first(s) {
		for c.pack(s) {
		}
	}
	if len(s.data) > 0 && !c.mux.Starved(s.state) {
		c.out.queue(s).push(s)
	}
	c.flush(combined)
	for len(s.data) > 0 && s.writable() == nil && !s.hasty {
		s.wrote.wait(&c.mu)
	}
	left := len(s.data)
	if left == 0 {
		return len(p), nil
	}
	if err := s.writable(); err != nil {
		return len(p) - left, err
	}
	return len(p) - left, tunnel.ErrInterrupted
}

// Interrupt implements tunnel.Interruptible.
func (s *stream) Interrupt() {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	s.hasty = true
	s.wrote.wake()
}

// Resume implements tunnel.Interruptible.
func (s *stream) Resume() {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	s.hasty = false
}

// writable says why nothing can be written. The caller holds the conn's mu.
func (s *stream) writable() error {
	if s.reset != nil {
		return s.reset
	}
	if s.ended {
		return fmt.Errorf("write after the end of the stream: %w", net.ErrClosed)
	}
	return nil
}

// CloseWrite implements tunnel.Stream. A second call does nothing.
func (s *stream) CloseWrite() error {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.reset != nil {
		return s.reset
	}
	if s.ended {
		return nil
	}
	c.out.pending = mux.AppendData(c.out.pending, s.state.ID(), nil, true)
	c.said(s)
	c.flush(combined)
	return nil
}

// said ends this end's direction once its last frame is pending. The caller holds
// mu.
func (c *conn) said(s *stream) {
	c.mux.End(s.state)
	c.grant(0, c.mux.Grant())
	s.ended = true
	s.wrote.wake()
	s.end()
}

// Reset implements tunnel.Stream. It never waits.
func (s *stream) Reset(code tunnel.ResetCode) {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.mux.Reset(s.state) {
		s.discard(code)
		return
	}
	c.out.pending = mux.AppendReset(c.out.pending, s.state.ID(), uint32(code))
	c.grant(0, c.mux.Grant())
	s.fail(&tunnel.ResetError{Code: code}, true)
	c.kick()
}

// discard drops what nobody will read of a stream that both ends have ended or the
// peer has reset, or it would hold on to the tunnel's window. The caller holds the
// conn's mu.
func (s *stream) discard(code tunnel.ResetCode) {
	s.mu.Lock()
	if s.eof && s.in.Len() == 0 {
		s.endRead() // there was nothing else to read
	}
	over := s.eofRead || s.recvErr != nil && s.in.Len() == 0 && s.relay == nil
	if !over {
		if s.recvErr == nil {
			s.recvErr = &tunnel.ResetError{Code: code}
		}
		s.in.Drop()
		s.arrived.wake()
		s.lost(true)
	}
	s.mu.Unlock()
	if !over {
		s.c.grant(0, s.c.mux.Discard(s.state))
	}
}

// fail ends both directions. What has arrived can still be read, and then the
// peer's end, or the error where it had not ended its direction; unless drop says
// that it is not wanted. What was whole is dropped only if this end asks for that.
// The caller holds the conn's mu.
func (s *stream) fail(err *tunnel.ResetError, drop bool) {
	s.reset = err
	s.wrote.wake()
	s.mu.Lock()
	if !s.eof || drop && !err.Remote {
		s.recvErr = err
		if drop {
			s.in.Drop()
		}
		s.arrived.wake()
	}
	s.lost(drop)
	s.mu.Unlock()
}

// lost tells those who wait for something else than Read. The caller holds mu.
func (s *stream) lost(dropped bool) {
	s.ending.finish()
	if s.relay != nil {
		s.relay.interrupt(dropped)
		s.settle()
	}
}

// take takes what came for the stream: straight to the local connection that a
// relay has, or to where Read waits for it; the rest into blocks. Windows bound
// it. The tunnel's read loop calls it, and it never waits.
func (s *stream) take(p []byte, fin bool) {
	s.mu.Lock()
	if s.recvErr != nil {
		s.mu.Unlock()
		return
	}
	if r := s.relay; r != nil {
		n, err := s.relayNow(r, p, fin)
		s.mu.Unlock()
		s.relayed(r, n, err)
		return
	}
	if len(p) > 0 && s.want != nil && s.got == 0 {
		s.got = copy(s.want, p)
		p = p[s.got:]
	}
	s.in.Put(p)
	s.eof = s.eof || fin
	s.arrived.wake()
	s.mu.Unlock()
}

// Read implements tunnel.Stream.
func (s *stream) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	n, err := s.receive(p)
	if n > 0 {
		s.consumed(n)
	}
	return n, err
}

func (s *stream) receive(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		if n := s.in.Take(p); n > 0 {
			return n, nil
		}
		if s.recvErr != nil {
			return 0, s.recvErr
		}
		if s.eof {
			s.endRead()
			return 0, io.EOF
		}
		s.want = p
		s.arrived.wait(&s.mu)
		n := s.got
		s.want, s.got = nil, 0
		if n > 0 {
			return n, nil
		}
	}
}

// consumed gives the peer credit for what was read.
func (s *stream) consumed(n int) {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	own, all := c.mux.Consumed(s.state, n)
	c.grant(s.state.ID(), own)
	c.grant(0, all)
}
