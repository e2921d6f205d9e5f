package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/http2"
)

// maxAsked is how often a request is asked at one endpoint that has not
// processed it.
const maxAsked = 4

// h2Call is one exchange in HTTP/2.
type h2Call struct {
	pool *h2Pool
	conn *h2Conn
	h2Content
	stream *http2.Stream
	resp   Response
	done   bool // the answer was read to its right end
}

func newH2Call() any { return new(h2Call) }

var _ Answer = (*h2Call)(nil)

// ask implements transport. What the destination certainly did not process is
// asked again, as long as all that was sent is at hand.
func (p *h2Pool) ask(ctx context.Context, addr string, share time.Duration, r *Request) (*Response, error) {
	t := r.h2
	if t == nil {
		t = p.u.h2Calls.Get().(*h2Call)
		t.pool, t.r, r.h2 = p, r, t
		t.limit = p.u.firstByte(r.Head)
		if r.Head.IsGRPC() && !r.Head.Fields.Has("te") {
			r.Head.Fields.Set("te", "trailers") // gRPC over HTTP/2, Call-Definition
		}
	}
	for asked := 1; ; asked++ {
		c, s, err := p.take(ctx, addr, share, r)
		if err != nil {
			return nil, err
		}
		if err = t.ask(c, s); err == nil {
			return &t.resp, nil
		}
		if asked == maxAsked || !t.mayRepeat(err) {
			return nil, fmt.Errorf("ask %s: %w", addr, err)
		}
		r.tries++
	}
}

// firstByte bounds the wait for an answer's head. A call with a deadline of its
// own may wait for it.
func (u *Upstream) firstByte(h *l7.RequestHead) time.Duration {
	if h.Fields.Has("grpc-timeout") {
		return 0
	}
	return u.limits.FirstByte
}

// resetting is a stream as what Cancel cuts.
type resetting struct{ *http2.Stream }

func (s resetting) cut() { s.Reset(http2.Cancel) }

// ask sends the request in s and awaits the head of its answer.
func (t *h2Call) ask(c *h2Conn, s *http2.Stream) error {
	t.conn, t.stream = c, s
	err := t.r.goOn(resetting{s})
	if err == nil {
		err = t.sendIn(s)
	}
	if err == nil {
		err = t.await()
	}
	if err != nil {
		t.drop()
	}
	return err
}

// await reads the head of the answer. The wait for it is bounded once the request
// has gone.
func (t *h2Call) await() error {
	head, ended, err := t.stream.Response()
	t.awaited(err == nil)
	if err != nil {
		return t.explain("await the answer", err)
	}
	head.Fields.Del("trailer")
	t.done = ended
	t.resp = Response{Head: *head, Body: t, Ended: ended, Peer: t.conn.peer, Credential: t.conn.socket.credential()}
	return nil
}

// drop ends a stream that has failed, and lets others into its room.
func (t *h2Call) drop() {
	t.r.goOn(nil) //nolint:errcheck // it does not fail for nothing
	t.stream.Reset(http2.Cancel)
	t.pool.roomier(t.conn.site, 1)
}

// mayRepeat says that the request may be asked again after the error.
func (t *h2Call) mayRepeat(err error) bool {
	if http2.Unprocessed(err) {
		return t.isKept()
	}
	_, reset := errors.AsType[*http2.ResetError](err)
	return !reset && errors.Is(err, net.ErrClosed) && t.r.Retry && t.r.Body == nil && safe(t.r.Head.Method)
}

// explain says why reading has failed.
func (t *h2Call) explain(what string, err error) error {
	if t.late.Load() {
		err = os.ErrDeadlineExceeded
	}
	return fmt.Errorf("%s: %w", what, err)
}

// Read implements Answer.
func (t *h2Call) Read(p []byte) (int, error) {
	idle := t.pool.u.limits.Idle
	if idle > 0 {
		t.start(t.r, idle)
	}
	n, err := t.stream.Read(p)
	if idle > 0 {
		t.stop()
	}
	switch {
	case errors.Is(err, io.EOF):
		t.done = true
	case err != nil:
		err = t.explain("read the answer", err)
	}
	return n, err
}

// Ready implements Answer.
func (t *h2Call) Ready() bool { return t.stream.Ready() }

// Trailers implements Answer.
func (t *h2Call) Trailers() l7.Fields { return t.stream.Trailers() }

// Close implements Answer. What is left of the exchange is not wanted any more.
func (t *h2Call) Close() error {
	t.r.goOn(nil) //nolint:errcheck // it does not fail for nothing
	if whole := t.over(); !whole || !t.done {
		t.stream.Reset(http2.Cancel)
	}
	t.pool.roomier(t.conn.site, 1)
	t.free()
	return nil
}

// free ends what still sends, and keeps the memory for another call unless
// somebody may still use it.
func (t *h2Call) free() {
	t.over()
	t.r.h2 = nil
	if t.busy() {
		t.r.lent = true
		return
	}
	kept := t.kept[:0]
	if cap(kept) > 2*atOnce {
		kept = nil
	}
	pool := &t.pool.u.h2Calls
	*t = h2Call{h2Content: h2Content{clock: clock{timer: t.timer}, kept: kept}}
	pool.Put(t)
}
