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

// h1Body is the body of the request that is being served. Its reader may be
// another goroutine than the Handler's, which it must not outlive: stop makes
// it come back.
type h1Body struct {
	c       *h1
	resp    *http1.Response
	gone    func() // called if the caller goes away after its body
	connect bool
	expect  bool // 100 Continue is owed before the first read

	reading sync.Mutex // held while the connection is read; guards what follows
	body    io.Reader
	content http1.Body // which body is, but for a CONNECT
	done    func() bool

	mu      sync.Mutex // guards the deadline and what follows; taken inside reading
	stopped bool
	ended   bool // nothing of this request is left to read
}

func newH1Body(c *h1, r *http1.Request, resp *http1.Response, trailers *l7.Fields, gone func()) *h1Body {
	b := &h1Body{c: c, resp: resp, gone: gone, expect: r.Continue, connect: r.Head.Method == "CONNECT"}
	if b.connect {
		b.body, b.done = c.br, func() bool { return false }
		return b
	}
	b.content.Reset(c.br, r.Length, trailers)
	b.body, b.done = &b.content, b.content.Done
	if b.done() {
		b.end()
	}
	return b
}

// Read reads content. The caller must send each piece within the idle time; a
// CONNECT may be silent for as long as it likes.
func (b *h1Body) Read(p []byte) (int, error) {
	b.reading.Lock()
	defer b.reading.Unlock()
	if err := b.arm(); err != nil {
		return 0, err
	}
	n, err := b.body.Read(p)
	if b.done() {
		b.end()
	} else if err != nil && b.isStopped() {
		err = errBodyStopped
	}
	return n, err
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
		_ = b.c.nc.SetReadDeadline(time.Time{})
	default:
		_ = b.c.nc.SetReadDeadline(time.Now().Add(b.c.l.cfg.IdleTimeout))
	}
	return nil
}

// end begins to watch for the caller's going away, once its body was read.
// What is pipelined behind the body says that it is there.
func (b *h1Body) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ended {
		return
	}
	b.ended = true
	if b.c.br.Buffered() == 0 && !b.stopped {
		_ = b.c.nc.SetReadDeadline(time.Time{})
		b.c.watching = b.c.in.watch(b.gone)
	}
}

// detach lets go of the connection.
func (b *h1Body) detach() {
	b.stop()
	b.reading.Lock()
	defer b.reading.Unlock()
	b.body = nil
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
	b.stopped = true
	if !b.ended {
		_ = b.c.nc.SetReadDeadline(time.Unix(1, 0))
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
	_ = b.c.nc.SetReadDeadline(time.Now().Add(b.c.l.cfg.HeadTimeout))
	_, _ = io.CopyN(io.Discard, b.body, maxDiscard)
	return b.done()
}
