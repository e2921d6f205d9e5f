package upstream

import (
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/http2"
)

// h2Content sends a request's content in HTTP/2: the goroutine that asks what is at
// hand, a second one what is still coming. What was sent is kept until the answer
// comes, as far as it is little, so that it can be sent in another stream.
type h2Content struct {
	r     *Request
	limit time.Duration // from the request's end until the answer's head, 0 for none

	mu       sync.Mutex    // guards what follows, but for late
	s        *http2.Stream // nil before, and when the exchange is over
	kept     []byte        // what was sent, while it is being kept
	lost     bool          // it is not kept
	ended    bool          // all of the content has been had
	trailers l7.Fields     // then
	running  bool          // the second goroutine
	heard    bool          // the answer's head has come
	clock
}

// sendIn sends in s what is at hand, or what was sent in another stream before.
// A stream that is lost is no error: what its answer says is.
func (t *h2Content) sendIn(s *http2.Stream) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	again := t.s != nil
	t.s = s
	var err error
	switch {
	case t.r.Body == nil:
		t.ended = true
	case again:
		err = t.repeat()
	default:
		err = t.compose()
	}
	if t.ended {
		t.start(t.r, t.limit)
	}
	return err
}

// compose sends the content that can be had without waiting. t.mu is held.
func (t *h2Content) compose() error {
	b := t.r.Body
	for len(t.kept) < atOnce && b.Ready() {
		if cap(t.kept)-len(t.kept) < 512 {
			t.kept = slices.Grow(t.kept, 4<<10)
		}
		old := len(t.kept)
		n, err := b.Read(t.kept[old:cap(t.kept)])
		t.kept = t.kept[:old+n]
		if n > 0 {
			if _, err := t.s.Hold(t.kept[old:]); wrong(err) {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			t.ended, t.trailers = true, b.Trailers()
			return fault(t.s.End(t.trailers))
		}
		if err != nil {
			return err
		}
	}
	t.running = true
	t.r.sending.Add(1)
	go sendRest(t.r, t)
	return nil
}

// repeat sends what is kept. t.mu is held.
func (t *h2Content) repeat() error {
	if t.lost {
		return errNotKept
	}
	_, err := t.s.Hold(t.kept)
	if !wrong(err) && t.ended {
		err = t.s.End(t.trailers)
	}
	return fault(err)
}

var errNotKept = errors.New("the content cannot be had again")

// wrong says that content was not sent for what it is. Else its stream was lost.
func wrong(err error) bool { return err != nil && !errors.Is(err, net.ErrClosed) }

func fault(err error) error {
	if wrong(err) {
		return err
	}
	return nil
}

// isKept says that all that was sent can be sent again.
func (t *h2Content) isKept() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return !t.lost
}

// awaited says that the wait for the answer's head is over, and whether it has
// come.
func (t *h2Content) awaited(heard bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.heard = heard
	t.stop()
}

// over ends sending, and says whether the whole request was sent.
func (t *h2Content) over() (whole bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.s = nil
	t.stop()
	return t.ended && !t.running
}

// busy says that somebody may still use the content's memory.
func (t *h2Content) busy() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.running || t.spoiled
}

var _ rest = (*h2Content)(nil)

func (t *h2Content) goesOn() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.s != nil
}

func (t *h2Content) write(p []byte) error {
	t.mu.Lock()
	s := t.s
	switch {
	case t.lost:
	case t.heard || len(t.kept)+len(p) > atOnce:
		t.lost, t.kept = true, t.kept[:0]
	default:
		t.kept = append(t.kept, p...)
	}
	t.mu.Unlock()
	if s == nil {
		return nil
	}
	send := s.Write
	if len(p) < bufferSize && t.r.Body.Ready() {
		send = s.Hold // it leaves with the end
	}
	_, err := send(p)
	return t.failed(s, err)
}

// failed is the error of writing to s, nil if it does not matter: because the
// stream may be followed by another one, or was already.
func (t *h2Content) failed(s *http2.Stream, err error) error {
	if err == nil || wrong(err) {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.s != s || !t.lost && !t.heard {
		return nil
	}
	return err
}

func (t *h2Content) end() {
	trailers := t.r.Body.Trailers()
	t.mu.Lock()
	s := t.s
	t.ended, t.trailers = true, trailers
	t.mu.Unlock()
	if s == nil {
		return
	}
	if err := t.failed(s, s.End(trailers)); err != nil {
		t.broken(err)
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.s == s && !t.heard {
		t.start(t.r, t.limit)
	}
}

// broken resets the stream, so that the destination does not take half a request
// for a whole one. Where it is the stream that was lost, an answer may still be
// in it.
func (t *h2Content) broken(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lost = true
	if t.s != nil && wrong(err) {
		t.s.Reset(http2.Cancel)
	}
}

func (t *h2Content) hasReturned() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.running = false
}

// clock bounds a wait: it cuts what goes on for a request.
type clock struct {
	timer   *time.Timer // calls expire; made once
	on      *Request
	spoiled bool        // the timer has called, and may go on doing so
	late    atomic.Bool // it has
}

// start begins the wait for d, which is not bounded if d is 0.
func (c *clock) start(r *Request, d time.Duration) {
	switch {
	case d == 0 || c.spoiled:
	case c.timer == nil:
		c.on = r
		c.timer = time.AfterFunc(d, c.expire)
	default:
		c.on = r
		c.timer.Reset(d)
	}
}

func (c *clock) stop() {
	if c.on != nil && !c.timer.Stop() {
		c.spoiled = true
	}
	if !c.spoiled {
		c.on = nil
	}
}

func (c *clock) expire() {
	c.late.Store(true)
	c.on.cutNow()
}
