package listener

import (
	"errors"
	"io"
	"sync"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/http1"
)

// errBodyStopped is what Read returns once the exchange is over.
var errBodyStopped = errors.New("read request body: the exchange is over")

// quick is how long an answer may take before anybody watches for its caller's
// leaving: a watch costs a goroutine and a read, and most callers stay that long.
const quick = 20 * time.Millisecond

// h1Body is the body of the request that is being served, of one after another. Its
// reader may be another goroutine than the Handler's, which it must not outlive: stop
// makes it come back.
type h1Body struct {
	reading sync.Mutex // held while the connection is read; guards what follows
	resp    *http1.Response
	connect bool
	expect  bool       // 100 Continue is owed before the first read
	content http1.Body // unless it is a CONNECT

	mu       sync.Mutex // guards the deadline and what follows; taken inside reading
	c        *h1
	stopped  bool
	ended    bool        // nothing of this request is left to read
	timer    *time.Timer // calls late; nil before the first use
	waits    bool        // and it is to be listened to
	watching chan error  // what late gives its result to; nil if it does not watch
	left     bool        // the caller has left
	gone     func()      // called when it does
}

// begin is for another request, whose head was just read.
func (b *h1Body) begin(c *h1, r *http1.Request, resp *http1.Response, trailers *l7.Fields) {
	b.reading.Lock()
	defer b.reading.Unlock()
	b.resp, b.connect, b.expect = resp, r.Head.Method == "CONNECT", r.Continue
	b.content.Reset(c.br, r.Length, trailers)
	b.mu.Lock()
	b.c, b.stopped, b.ended, b.left, b.gone = c, false, false, false, nil
	b.mu.Unlock()
	if b.done() {
		b.end()
	}
}

// done says that nothing is left to read. A CONNECT never ends.
func (b *h1Body) done() bool { return !b.connect && b.content.Done() }

// Read reads content. The caller must send each piece within the idle time; a
// CONNECT may be silent for as long as it likes.
func (b *h1Body) Read(p []byte) (int, error) {
	b.reading.Lock()
	defer b.reading.Unlock()
	if err := b.arm(); err != nil {
		return 0, err
	}
	n, err := b.read(p)
	if b.done() {
		b.end()
	} else if err != nil && b.isStopped() {
		err = errBodyStopped
	}
	return n, err
}

func (b *h1Body) read(p []byte) (int, error) {
	if b.connect {
		return b.c.br.Read(p)
	}
	return b.content.Read(p)
}

// Ready says that all the rest has come, so that no Read waits for the caller.
func (b *h1Body) Ready() bool {
	b.reading.Lock()
	defer b.reading.Unlock()
	return !b.connect && !b.expect && b.content.Ready()
}

// Buffered is no less than what is left of a body that is Ready, in bytes.
func (b *h1Body) Buffered() int {
	b.reading.Lock()
	defer b.reading.Unlock()
	return b.c.br.Buffered()
}

// arm sends the 100 Continue that a read needs, and sets its deadline.
func (b *h1Body) arm() error {
	if b.isStopped() && !b.done() {
		return errBodyStopped
	}
	if b.expect {
		b.expect = false
		if err := b.resp.Continue(); err != nil {
			return err
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.stopped && !b.ended:
		return errBodyStopped
	case b.ended:
	case b.connect:
		b.c.in.unbound()
	default:
		idle := b.c.l.cfg.IdleTimeout
		b.c.in.bound(time.Now().Add(idle), idle/renewals)
	}
	return nil
}

// end has the caller's going away watched for soon, once its body was read. What is
// pipelined behind the body says that it is there.
func (b *h1Body) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ended {
		return
	}
	b.ended = true
	if b.c.br.Buffered() > 0 || b.stopped {
		return
	}
	b.waits = true
	if b.timer == nil {
		b.timer = time.AfterFunc(quick, b.late)
	} else {
		b.timer.Reset(quick)
	}
}

// late watches for the caller's leaving, in the timer's goroutine. A timer that could
// not be stopped may make it do so early for the request that follows.
func (b *h1Body) late() {
	b.mu.Lock()
	if !b.waits {
		b.mu.Unlock()
		return
	}
	b.waits = false
	c, result := b.c, make(chan error, 1)
	c.in.unbound()
	b.watching, c.watching = result, result
	b.mu.Unlock()
	err := c.in.await()
	if err != nil {
		b.leave(result)
	}
	result <- err
}

// leave takes note that the caller has left, if the exchange is still the one that
// was watched.
func (b *h1Body) leave(watched chan error) {
	b.mu.Lock()
	var gone func()
	if b.watching == watched {
		b.left = true
		gone, b.gone = b.gone, nil
	}
	b.mu.Unlock()
	if gone != nil {
		gone()
	}
}

// cut implements goer.
func (b *h1Body) cut() {
	if b.connect {
		b.c.reset()
		return
	}
	b.c.kill()
}

// onGone implements goer.
func (b *h1Body) onGone(f func()) (before bool) {
	b.mu.Lock()
	before = b.gone != nil
	now := b.left && f != nil
	if b.gone = f; now {
		b.gone = nil
	}
	b.mu.Unlock()
	if now {
		f()
	}
	return before
}

func (b *h1Body) isStopped() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.stopped
}

// Close makes reading fail, now and further on, and waits until nobody reads.
func (b *h1Body) Close() error {
	b.stop()
	b.reading.Lock()
	defer b.reading.Unlock()
	return nil
}

// stop makes a pending Read and all further ones fail.
func (b *h1Body) stop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.waits {
		b.waits = false
		b.timer.Stop()
	}
	b.stopped, b.watching = true, nil
	if !b.ended {
		b.c.in.bound(time.Unix(1, 0), 0)
	}
}

// finish reads away what nobody read, after stop. It is false if that is too
// much, or if it may never come.
func (b *h1Body) finish() bool {
	b.reading.Lock()
	defer b.reading.Unlock()
	switch {
	case b.done():
		return true
	case b.connect || b.expect:
		return false
	}
	b.c.in.bound(time.Now().Add(b.c.l.cfg.HeadTimeout), 0)
	_, _ = io.CopyN(io.Discard, &b.content, maxDiscard)
	return b.done()
}
