package http2

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/http2/fieldblock"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

const (
	// closeTimeout is how long the last frames may take to leave.
	closeTimeout = time.Second
	// linger is how long, and lingerBytes how much, is read after the last frame: data
	// that arrives on a closed socket would destroy what is on its way.
	linger      = 500 * time.Millisecond
	lingerBytes = 256 << 10
)

// Conn is one connection. Lock order: mu, then a stream's own.
type Conn struct {
	nc     net.Conn
	cfg    Config
	server bool
	serve  func(*Stream)
	done   chan struct{}
	heard  atomic.Bool // something came since the last look

	// The read loop's own.
	in     input
	block  *fieldblock.Reader
	head   partialHead
	headBy time.Time // when it must have come, zero if none is open
	begun  []*Stream // to be served before the next read
	owed   bool      // something was added to the output since the last read

	mu       sync.Mutex // guards what follows, and the sending half of each stream
	out      output
	peer     peerSettings
	streams  map[uint32]*Stream             // that are open
	serving  int                            // serve functions that have not returned
	last     uint32                         // the last stream that the peer opened, or this end did
	skipped  struct{ after, before uint32 } // streams that the peer passed over last
	resets   resetMemory
	send     int64  // credit for what is sent on all streams
	recv     window // what the peer may send on all streams
	acked    bool   // the peer acknowledged our SETTINGS
	greeted  bool   // and told its own
	going    bool   // no stream is opened any more; a client's
	drain    drain
	cause    *ConnError // why the connection ended; nil while it has not
	farewell *ConnError // what the peer's GOAWAY said, nil if no error
	tending  tending
	trouble  budget // streams that it reset, or made us reset
	chatter  budget
	faultful budget
}

// Server is the server's end of a connection. in is where its bytes come from,
// the preface first: nc, or a reader of nc that has read some already. Each
// request is given to serve, in a goroutine of its own; when serve returns, a
// stream that is not ended is reset, and it must not be used any more. Run must
// be called.
func Server(nc net.Conn, in io.Reader, cfg Config, serve func(*Stream)) *Conn {
	c := newConn(nc, in, cfg, true)
	c.serve = serve
	return c
}

// Client is the client's end of a connection. Run must be called, in a goroutine
// of its own; Open may be called at once.
func Client(nc net.Conn, cfg Config) *Conn {
	return newConn(nc, nc, cfg, false)
}

func newConn(nc net.Conn, in io.Reader, cfg Config, server bool) *Conn {
	cfg.setDefaults(server)
	c := &Conn{
		nc: nc, cfg: cfg, server: server,
		done:     make(chan struct{}),
		in:       newInput(in),
		peer:     newPeerSettings(),
		streams:  map[uint32]*Stream{},
		send:     firstWindow,
		recv:     newWindow(cfg.ConnWindow),
		trouble:  newBudget(cfg.Resets),
		chatter:  newBudget(cfg.Chatter),
		faultful: newBudget(cfg.Faults),
	}
	c.resets.size = int(cfg.MaxStreams)
	c.block = fieldblock.NewReader(cfg.MaxHead, cfg.MaxFields)
	c.out.init(&c.mu)
	c.announce()
	c.startTending()
	return c
}

// Run reads until the connection has ended, closes it, and waits until nobody
// serves a stream of it any more. The error says why it ended; it is a *ConnError.
func (c *Conn) Run() error {
	c.mu.Lock()
	c.kick()
	c.mu.Unlock()
	err := c.readAll()
	c.readFailed(err)
	c.finish()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cause
}

// readFailed ends the connection for what the read loop met.
func (c *Conn) readFailed(err error) {
	var fault *ConnError
	c.mu.Lock()
	unsent, farewell := c.out.failed, c.farewell
	c.mu.Unlock()
	switch {
	case farewell != nil:
		c.end(farewell, false)
	case unsent != nil:
		c.end(unsent, false)
	case errors.As(err, &fault):
		if fault.Code != NoError {
			c.cfg.Fault(reasonOf(fault.Code), "HTTP/2: "+fault.Detail)
		}
		c.end(fault, true)
	case errors.Is(err, io.EOF):
		c.end(lost("peer closed the connection", io.EOF), false)
	default:
		c.end(lost("read", err), false)
	}
}

func lost(what string, err error) *ConnError {
	return &ConnError{Detail: what, Err: err}
}

// reasonOf is how a fault that ends a connection is counted.
func reasonOf(code Code) crossingv1.Reason {
	if code == EnhanceYourCalm {
		return crossingv1.Reason_TOO_LARGE
	}
	return crossingv1.Reason_MALFORMED
}

// tell tells of a fault that ends a stream, if there have not been too many.
func (c *Conn) tell(reason crossingv1.Reason, detail string) {
	c.mu.Lock()
	ok := c.faultful.spend()
	c.mu.Unlock()
	if ok {
		c.cfg.Fault(reason, "HTTP/2: "+detail)
	}
}

// Done is closed when the connection has ended: its streams have failed, and
// none can be opened.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Streams is the number of streams that are open.
func (c *Conn) Streams() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.streams)
}

// Room is the number of streams that Open would open now.
func (c *Conn) Room() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.going || c.cause != nil {
		return 0
	}
	return max(0, int(c.peer.streams)-len(c.streams))
}

// Open opens a stream of a client with its request's head. With end set neither
// data nor trailers follow, and it is sent at once; else it is held for the first
// Write, Hold, End or Flush, and a Response or Read that waits. ErrStreamLimit and
// ErrGoingAway say that nothing was sent. It waits only while more is to be
// written than the peer takes. The scheme that is sent is the connection's own;
// fields of another connection are left out, but for "te: trailers".
func (c *Conn) Open(h *l7.RequestHead, end bool) (*Stream, error) {
	if err := h.Check(); err != nil {
		return nil, fmt.Errorf("open stream: %w", err)
	}
	length, known, _ := h.Fields.ContentLength() // Check has seen it
	if end && length > 0 {
		return nil, fmt.Errorf("open stream: %w", ErrTooShort)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waitForRoom()
	switch {
	case c.cause != nil:
		return nil, fmt.Errorf("open stream: %w: %w", ErrGoingAway, c.cause)
	case c.going || c.last > maxStream-2:
		return nil, fmt.Errorf("open stream: %w", ErrGoingAway)
	case len(c.streams) >= int(c.peer.streams):
		return nil, fmt.Errorf("open stream: %w", ErrStreamLimit)
	}
	s := newStream(c)
	s.begun, s.counted, s.left = true, known, length
	s.asksHead, s.connect = h.Method == "HEAD", h.Method == "CONNECT"
	c.last = nextStream(c.last)
	c.add(s, c.last)
	start := c.openHead(s)
	c.out.fields.Request(h, c.scheme())
	c.closeHead(start, s.id, end)
	if end {
		s.ended()
		c.flush()
	}
	return s, nil
}

func nextStream(last uint32) uint32 {
	if last == 0 {
		return 1
	}
	return last + 2
}

// add makes s an open stream. The caller holds mu.
func (c *Conn) add(s *Stream, id uint32) {
	s.id, s.send = id, c.peer.window
	if !c.acked {
		s.recv.credit += unannounced(c.cfg.StreamWindow)
	}
	c.streams[id] = s
}

// remove takes out a stream that was reset, or whose directions have both ended.
// The caller holds mu.
func (c *Conn) remove(s *Stream) {
	s.closed = true
	delete(c.streams, s.id)
	if len(c.streams) == 0 {
		c.tending.idleSince = time.Now()
		c.drained()
	}
}

// drain is how far the graceful end has come.
type drain struct {
	begun  bool
	by     time.Time // when the PING counts as answered
	opaque uint64    // of the PING
	said   bool      // GOAWAY with the last stream
	last   uint32    // that one
}

// Drain lets the streams that are open go on, takes no others, and then closes
// the connection. A server's peer is told, and streams that it had opened before
// it knew are taken still (RFC 9113 6.8). It does not wait.
func (c *Conn) Drain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.startDrain()
}

// startDrain is Drain. The caller holds mu.
func (c *Conn) startDrain() {
	if c.drain.begun || c.cause != nil {
		return
	}
	c.drain.begun, c.going = true, true
	if !c.server {
		c.drain.said = true
		c.drained()
		return
	}
	c.drain.by = time.Now().Add(closeTimeout)
	c.drain.opaque = drainPing
	c.out.pending = appendGoAway(c.out.pending, maxStream, NoError)
	c.out.pending = appendPing(c.out.pending, 0, drainPing)
	c.kick()
	c.tendBy(closeTimeout)
}

// sayLast says which stream was the last. The caller holds mu.
func (c *Conn) sayLast() {
	if c.drain.said || !c.drain.begun {
		return
	}
	c.drain.said, c.drain.last = true, c.last
	c.out.pending = appendGoAway(c.out.pending, c.last, NoError)
	c.kick()
	c.drained()
}

var errDrained = &ConnError{Detail: "it was drained"}

// drained ends the connection once no stream is left. The caller holds mu.
func (c *Conn) drained() {
	if c.drain.said && len(c.streams) == 0 && c.cause == nil {
		c.endLocked(errDrained, !c.server)
	}
}

// Close ends the connection and all its streams. It does not wait: Run returns
// soon.
func (c *Conn) Close() {
	c.end(&ConnError{Detail: "it was closed here"}, true)
}

// end ends the connection. With say set the peer is told by GOAWAY.
func (c *Conn) end(cause *ConnError, say bool) {
	c.mu.Lock()
	gone := c.endLocked(cause, say)
	c.mu.Unlock()
	for _, f := range gone {
		f()
	}
}

// endLocked is end for who holds mu. What it gives must be called without it;
// it is nil where no stream is open.
func (c *Conn) endLocked(cause *ConnError, say bool) (gone []func()) {
	if c.cause != nil {
		return nil
	}
	c.cause, c.going = cause, true
	if say && !c.out.broken {
		c.out.pending = appendGoAway(c.out.pending, c.lastTaken(), cause.Code)
	}
	for _, s := range c.streams {
		if f := s.fail(cause, false); f != nil {
			gone = append(gone, f)
		}
		s.closed = true
	}
	clear(c.streams)
	c.tending.stop()
	c.setWriteDeadline(time.Now().Add(closeTimeout))
	close(c.done)
	c.out.tell()
	if c.out.writing {
		return gone // who writes goes on, and settles
	}
	c.kick()
	c.settle()
	return gone
}

// lastTaken is the last stream of the peer that this end has taken. The caller
// holds mu.
func (c *Conn) lastTaken() uint32 {
	switch {
	case !c.server:
		return 0
	case c.drain.said:
		return c.drain.last
	}
	return c.last
}

// settle wakes the read loop once the last frame has left. The caller holds mu.
func (c *Conn) settle() {
	if c.cause == nil || c.out.writing || len(c.out.pending) > 0 && !c.out.broken {
		return
	}
	c.nc.SetReadDeadline(time.Unix(1, 0)) //nolint:errcheck // reading says what is wrong
	c.out.room.Broadcast()
}

// finish waits until what was left to say has been said, closes, and waits for
// those who serve.
func (c *Conn) finish() {
	c.mu.Lock()
	for c.out.writing || len(c.out.pending) > 0 && !c.out.broken {
		c.out.room.Wait()
	}
	broken, lost := c.out.broken, c.cause.Err != nil
	c.mu.Unlock()
	if !broken && !lost {
		c.lingerOn()
	}
	c.in.release()
	closeConn(c.nc, broken)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.serving -= len(c.begun) // they never will be
	for c.serving > 0 {
		c.out.room.Wait()
	}
}

// lingerOn closes this direction and reads the other for a moment.
func (c *Conn) lingerOn() {
	half, ok := c.nc.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	if c.nc.SetReadDeadline(time.Now().Add(linger)) == nil {
		io.CopyN(io.Discard, c.in.src, lingerBytes) //nolint:errcheck // until it ends, whatever ends it
	}
}

// closeConn closes the connection; a TLS connection that takes no bytes any
// more is closed without its goodbye, which would wait.
func closeConn(nc net.Conn, broken bool) {
	if under, ok := nc.(interface{ NetConn() net.Conn }); ok && broken {
		nc = under.NetConn()
	}
	nc.Close() // there is nobody left to tell
}
