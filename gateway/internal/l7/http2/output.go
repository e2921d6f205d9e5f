package http2

import (
	"errors"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/http2/fieldblock"
)

const (
	// outLimit is how much may wait to be written before streams wait instead: what
	// stands before the next frame of another stream.
	outLimit = 128 << 10
	// outHard is when a peer that makes us answer faster than it reads is cut off:
	// beyond what streams may have added, one long head among it.
	outHard = outLimit + largeFrame + 128<<10
	// gather is up to where others are let run first before a write.
	gather = 8 << 10
	// combined is how many writes a stream's goroutine does for others before it
	// hands over to a writer.
	combined = 4
	// renewals is into how many parts the time for a write is divided: setting the
	// deadline for each write costs more than it tells.
	renewals = 4
)

// output is what is on its way out. Frames are joined in pending while another
// write is under way, and leave together. Whoever finds nobody writing writes
// himself, for all, so that a lone exchange wakes no other goroutine. The Conn's
// mu guards it.
type output struct {
	pending []byte
	spare   []byte     // the other buffer
	batch   uint32     // counts the pendings
	writing bool       // somebody writes, without the lock, or is about to
	broken  bool       // a write failed: nothing can be written any more
	failed  *ConnError // why, while what the peer has said is still read
	renewed time.Time  // when the deadline of writes was set
	ready   queue      // streams with data and credit that wait for room
	room    sync.Cond  // for room in pending, and for the end
	fields  *fieldblock.Writer
}

func (o *output) init(mu *sync.Mutex) {
	o.room.L = mu
	o.batch = 1
	o.fields = fieldblock.NewWriter(blockWriter{o})
}

// blockWriter makes blocks be written where the frame will leave from.
type blockWriter struct{ o *output }

func (w blockWriter) Write(p []byte) (int, error) {
	w.o.pending = append(w.o.pending, p...)
	return len(p), nil
}

// tell wakes those who wait for room.
func (o *output) tell() { o.room.Broadcast() }

// queue is a list of streams, each at most once.
type queue struct{ first, last *Stream }

func (q *queue) push(s *Stream) {
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

func (q *queue) pop() *Stream {
	s := q.first
	q.first = s.after
	s.queued, s.after = false, nil
	return s
}

// waitForRoom waits until a head may be added. The caller holds mu, which is free
// while it waits.
func (c *Conn) waitForRoom() {
	for len(c.out.pending) >= outLimit && c.cause == nil && !c.out.broken {
		if c.out.writing {
			c.out.room.Wait()
		} else {
			c.flush() // all of it is held
		}
	}
}

// pack moves one frame of the stream's data into pending, as far as room and
// credit go, and says whether it moved any. The caller holds mu.
func (c *Conn) pack(s *Stream) bool {
	n := int(min(int64(len(s.data)), int64(c.peer.frame), s.send, c.send))
	if n <= 0 || s.err != nil || len(c.out.pending) > 0 && len(c.out.pending)+n > outLimit {
		return false
	}
	s.mark(c)
	c.out.pending = appendData(c.out.pending, s.id, s.data[:n], false)
	s.data = s.data[n:]
	s.send -= int64(n)
	c.send -= int64(n)
	s.moved = true
	c.chatter.earn(earned)
	return true
}

// fill gives each stream that waits its turn, a frame at a time. One without
// credit leaves the queue until the peer grants it some. The caller holds mu.
func (c *Conn) fill() {
	for c.send > 0 && c.out.ready.first != nil && len(c.out.pending)+c.peer.frame <= outLimit {
		s := c.out.ready.pop()
		c.pack(s)
		if len(s.data) == 0 {
			s.wrote.Signal()
		} else if s.send > 0 && s.err == nil {
			c.out.ready.push(s)
		}
	}
}

// flush writes what is pending, unless somebody does already, and what comes
// meanwhile for a bounded number of rounds. Goroutines that are ready to run go
// first, for what they have to say often fits into the same write. The caller
// holds mu, which is free meanwhile.
func (c *Conn) flush() {
	if c.out.writing || c.out.broken || len(c.out.pending) == 0 {
		return
	}
	c.out.writing = true
	if len(c.out.pending) < gather && len(c.streams) > 1 {
		c.mu.Unlock()
		runtime.Gosched()
		c.mu.Lock()
	}
	if c.writeRounds(combined) {
		c.kick()
	}
}

// kick makes a writer write what is pending, unless whoever writes will. The
// caller holds mu, and waits for nothing.
func (c *Conn) kick() {
	if c.out.writing || c.out.broken || len(c.out.pending) == 0 {
		return
	}
	c.out.writing = true
	c.cfg.Go((*writing)(c))
}

// writing is writeOn as a Task.
type writing Conn

// Do implements Task.
func (c *writing) Do() { (*Conn)(c).writeOn() }

// writeOn writes until nothing is pending.
func (c *Conn) writeOn() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.writeRounds(combined) {
		c.out.writing = true
	}
}

// writeRounds writes what is pending, for a number of rounds, for the one who has
// set writing, and says whether more is left.
func (c *Conn) writeRounds(rounds int) (left bool) {
	for ; rounds > 0 && len(c.out.pending) > 0 && !c.out.broken; rounds-- {
		batch := c.out.pending
		c.out.pending, c.out.spare = c.out.spare[:0], nil
		c.out.batch++
		c.write(batch)
		if cap(batch) <= 2*outLimit {
			c.out.spare = batch[:0]
		}
		c.fill()
	}
	c.out.writing = false
	if len(c.out.pending) > 0 && !c.out.broken {
		return true
	}
	c.settle()
	return false
}

// write writes b. The caller holds mu, which is free meanwhile, and has set
// writing.
func (c *Conn) write(b []byte) {
	if c.cause == nil {
		if now := time.Now(); now.Sub(c.out.renewed) >= c.cfg.WriteTimeout/renewals {
			c.out.renewed = now
			c.setWriteDeadline(now.Add(c.cfg.WriteTimeout))
		}
	}
	c.mu.Unlock()
	_, err := c.nc.Write(b)
	c.mu.Lock()
	c.out.tell()
	if err != nil {
		c.writeFailed(err)
	}
}

func (c *Conn) setWriteDeadline(t time.Time) {
	c.nc.SetWriteDeadline(t) //nolint:errcheck // writing says what is wrong
}

// writeFailed ends the connection: at once if the peer does not read, and
// otherwise once what it has said is read, for a peer that is gone may have left
// whole answers. The caller holds mu.
func (c *Conn) writeFailed(err error) {
	c.out.broken = true
	c.out.pending = nil
	c.out.batch++
	if c.cause != nil {
		return
	}
	c.out.failed = lost("write", err)
	c.going = true
	for _, s := range c.streams {
		s.wrote.Broadcast()
	}
	by := time.Now().Add(closeTimeout)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		by = time.Unix(1, 0)
	}
	c.nc.SetReadDeadline(by) //nolint:errcheck // reading says what is wrong
}
