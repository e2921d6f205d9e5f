package tcptunnel

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	"github.com/sallyport-mesh/sallyport/gateway/mux"
)

const (
	// outLimit is how much may wait to be written before streams wait instead:
	// what stands before an interactive stream's next frame.
	outLimit = 256 << 10
	// bulkLimit is how much of it bulk streams may take: while a connection
	// carries both, an interactive frame waits for no more bulk than this.
	bulkLimit = 64 << 10
	// outHard is when a peer that makes us answer faster than it reads is cut off.
	outHard = outLimit + 256<<10
	// chunk is the longest frame that is copied, so that streams take turns often.
	chunk = 32 << 10
	// direct is from where on a frame is written from where it lies: below, the
	// copy costs less than a TLS record of its own.
	direct = 8 << 10
	// combined is how many writes a stream's goroutine does for others before it
	// hands over to the writer.
	combined = 4
	// writeTimeout is how long one write may take before the peer counts as gone.
	// It is 8 KiB/s at the worst.
	writeTimeout = 30 * time.Second
	// renewal is how old the deadline of writes may be: setting it for each one
	// costs more than it tells.
	renewal = 5 * time.Second
)

// output is what is on its way out. Frames are joined in pending while another
// write is under way, and leave together: one system call and few TLS records
// for many frames. Whoever finds no write under way writes himself, for all
// (flat combining), so that a lone request wakes no other goroutine. The conn's
// mu guards it.
type output struct {
	wake    sync.Cond // the writer's
	pending []byte
	spare   []byte    // the other buffer
	writing bool      // somebody writes, without the lock
	broken  bool      // a write failed: nothing can be written any more
	failed  error     // why, while what the peer has said is still read
	renewed time.Time // when the deadline of writes was set
	ready   queue     // streams with data and credit that wait for room
	bulk    queue     // bulk ones; they come after all others
	room    *room     // where streams wait to be opened; nil if none does
}

// room is what may be waited for once.
type room struct {
	there chan struct{} // closed when there may be some
	never bool          // or when it is not to be waited for
}

// tell tells those who wait for room. The caller holds the conn's mu.
func (o *output) tell(never bool) {
	if o.room != nil {
		o.room.never = never
		close(o.room.there)
		o.room = nil
	}
}

// queue is a list of streams, each at most once.
type queue struct{ first, last *stream }

func (q *queue) push(s *stream) {
	if s.queued {
		return
	}
	s.queued, s.after = true, nil
	if q.first == nil {
		q.first = s
	} else {
		q.last.after = s
	}
	q.last = s
}

func (q *queue) pop() *stream {
	s := q.first
	q.first = s.after
	s.queued, s.after = false, nil
	return s
}

// queue is where the stream waits for its turn.
func (o *output) queue(s *stream) *queue {
	if s.bulk {
		return &o.bulk
	}
	return &o.ready
}

// first says that a stream which comes now need not wait for another one.
func (o *output) first(s *stream) bool {
	return o.ready.first == nil && (!s.bulk || o.bulk.first == nil)
}

// roomy says that one more frame of the stream fits in.
func (o *output) roomy(s *stream) bool {
	if s.bulk {
		return len(o.pending)+chunk <= bulkLimit
	}
	return len(o.pending)+chunk <= outLimit
}

// next is the stream whose turn it is, if there is room for its frame.
func (o *output) next() *stream {
	for _, q := range [...]*queue{&o.ready, &o.bulk} {
		if s := q.first; s != nil {
			if !o.roomy(s) {
				return nil
			}
			return q.pop()
		}
	}
	return nil
}

// pack moves one frame of the stream's data into pending, as far as room and
// credit go, and says whether it moved any.
func (c *conn) pack(s *stream) bool {
	n := min(len(s.data), chunk, c.mux.Credit(s.state))
	if n <= 0 || !c.out.roomy(s) {
		return false
	}
	last := s.last && n == len(s.data)
	c.out.pending = mux.AppendData(c.out.pending, s.state.ID(), s.data[:n], last)
	s.data = s.data[n:]
	c.sent(s, n)
	if last {
		c.said(s)
	}
	return true
}

// sent takes what is on its way from the credit.
func (c *conn) sent(s *stream, n int) {
	c.mux.Sent(s.state, n)
	c.carried(s, n)
}

// fill gives each stream that waits its turn, a frame at a time. One without
// credit leaves the queue until the peer grants it some.
func (c *conn) fill() {
	for c.mux.TunnelCredit() > 0 {
		s := c.out.next()
		if s == nil {
			return
		}
		c.pack(s)
		if len(s.data) == 0 {
			s.wrote.wake()
		} else if !c.mux.Starved(s.state) {
			c.out.queue(s).push(s)
		}
	}
}

// flush writes what is pending, unless somebody does already, and what comes
// meanwhile for a bounded number of rounds. Goroutines that are ready to run go
// first, for what they have to say often fits into the same write. The caller
// holds mu, which is free meanwhile.
func (c *conn) flush(rounds int) {
	if c.out.writing || c.out.broken {
		return
	}
	c.out.writing = true
	if len(c.out.pending) < direct {
		c.mu.Unlock()
		runtime.Gosched()
		c.mu.Lock()
	}
	c.flushOn(rounds)
}

// flushOn is flush of the one who has set writing.
func (c *conn) flushOn(rounds int) {
	for ; rounds > 0 && len(c.out.pending) > 0 && !c.out.broken; rounds-- {
		batch := c.out.pending
		c.out.pending, c.out.spare = c.out.spare[:0], nil
		c.write(batch)
		c.out.spare = batch[:0]
		c.fill()
	}
	c.out.writing = false
	if len(c.out.pending) > 0 || c.cause != nil {
		c.out.wake.Signal()
	}
	c.checkIdle()
}

// write writes b. The caller holds mu, which is free meanwhile, and has set
// writing.
func (c *conn) write(b []byte) {
	if c.cause == nil {
		if now := time.Now(); now.Sub(c.out.renewed) >= renewal {
			c.out.renewed = now
			c.nc.SetWriteDeadline(now.Add(writeTimeout)) //nolint:errcheck // Write says what is wrong
		}
	}
	c.mu.Unlock()
	_, err := c.nc.Write(b)
	c.mu.Lock()
	c.out.tell(false)
	if err != nil {
		c.out.broken = true
		c.writeFailed(fmt.Errorf("write: %w", err))
	}
}

// writeFailed ends the tunnel: at once if the peer does not read, and otherwise
// once what it has said is read, for a peer that is gone may have left whole
// answers. The caller holds mu.
func (c *conn) writeFailed(err error) {
	switch {
	case c.cause != nil:
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.endLocked(err, 0)
	default:
		c.out.failed = err
		c.mux.Rest()
		c.nc.SetReadDeadline(time.Now().Add(closeTimeout)) //nolint:errcheck // reading says what is wrong
	}
}

// kick makes the writer write what is pending, unless whoever writes will. The
// caller holds mu.
func (c *conn) kick() {
	if !c.out.writing {
		c.out.wake.Signal()
	}
}

// writeLoop writes what others leave to it, and closes the connection in the
// end.
func (c *conn) writeLoop() {
	c.mu.Lock()
	for {
		for c.out.writing || (c.out.broken || len(c.out.pending) == 0) && c.cause == nil {
			c.out.wake.Wait()
		}
		if c.cause != nil && (c.out.broken || len(c.out.pending) == 0) {
			break
		}
		c.out.writing = true
		c.flushOn(1)
	}
	broken := c.out.broken
	c.mu.Unlock()
	closeConn(c.nc, broken)
}

// closeConn closes the connection; a TLS connection that takes no bytes any
// more is closed without its goodbye, which would wait.
func closeConn(nc net.Conn, broken bool) {
	if under, ok := nc.(interface{ NetConn() net.Conn }); ok && broken {
		nc = under.NetConn()
	}
	nc.Close() // there is nobody left to tell
}

// waitForRoom waits until something may be added to pending. The caller holds
// mu, which is free while it waits.
func (c *conn) waitForRoom(ctx context.Context) error {
	for {
		if c.cause != nil {
			return fmt.Errorf("%w: %w", tunnel.ErrDraining, c.cause)
		}
		if len(c.out.pending) < outLimit {
			return ctx.Err()
		}
		if c.out.room == nil {
			c.out.room = &room{there: make(chan struct{})}
		}
		r := c.out.room
		c.mu.Unlock()
		select {
		case <-r.there:
		case <-c.done:
		case <-ctx.Done():
		}
		c.mu.Lock()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case r.never:
			return tunnel.ErrInterrupted
		}
	}
}

// Interrupt makes each Open that waits for room fail with tunnel.ErrInterrupted.
func (c *conn) Interrupt() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out.tell(true)
}

// grant tells the peer of credit, if there is any to grant. The caller holds mu.
func (c *conn) grant(stream, credit uint32) {
	if credit == 0 || c.cause != nil {
		return
	}
	c.out.pending = mux.AppendWindow(c.out.pending, stream, credit)
	c.kick()
}
