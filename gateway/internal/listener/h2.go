package listener

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/http2"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/http2/fieldblock"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

const (
	preface           = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	prefaceUnlikeHTTP = "PRI " // no method of HTTP/1.1 begins so
)

// serveCleartext speaks HTTP/1.1 or, where the caller begins with its preface,
// HTTP/2 with prior knowledge (RFC 9113 3.3).
func (c *conn) serveCleartext(ctx context.Context) {
	h := newH1(c)
	defer h.release()
	if !h.next() {
		return
	}
	h.in.within = c.l.cfg.HeadTimeout
	if c.captured != nil && h.speaksTLS() {
		c.refuseTLS()
		return
	}
	if start, _ := h.br.Peek(len(prefaceUnlikeHTTP)); string(start) != prefaceUnlikeHTTP {
		if h.exchange(ctx) {
			h.served++
			h.serve(ctx)
		}
		return
	}
	if start, _ := h.br.Peek(len(preface)); string(start) != preface {
		c.refuse(nil, crossingv1.Reason_MALFORMED, "neither HTTP/1.1 nor the preface of HTTP/2")
		return
	}
	h.in.within = 0
	h.in.unbound()
	c.serveH2(ctx, h.br)
}

// serveH2 serves HTTP/2, whose bytes come from in, until the connection ends.
func (c *conn) serveH2(ctx context.Context, in io.Reader) {
	var h *http2.Conn
	h = http2.Server(c.nc, in, http2.Config{
		Secure:      c.secure,
		Go:          func(t http2.Task) { c.l.crew.Do(ctx, t) },
		Fault:       func(reason crossingv1.Reason, detail string) { c.refuse(nil, reason, "HTTP/2: "+detail) },
		Refuse:      c.refuseStream,
		HeadTimeout: c.l.cfg.HeadTimeout,
		IdleTimeout: c.l.cfg.IdleTimeout,
	}, func(s *http2.Stream) { c.serveStream(ctx, h, s) })
	c.setGoaway(h.Drain)
	defer c.setGoaway(nil)
	stop := c.retireInTime()
	defer stop()
	if err := h.Run(); err != nil {
		c.log.Debug("connection ended", zap.Error(err))
	}
}

// serveStream serves one request of HTTP/2.
func (c *conn) serveStream(ctx context.Context, h *http2.Conn, s *http2.Stream) {
	head := s.Request()
	resp := h2Response{s}
	who := c.identify(head, false, time.Now())
	if who.reason != 0 {
		c.l.cfg.Refuser.Refuse(who.reason, c.addr, Name, who.detail)
		answer, body := l7.Problem("", who.reason, "", head)
		_ = writeAnswer(resp, answer, body)
		if who.final {
			h.Drain()
		}
		return
	}
	if detail := c.misdirected(head); detail != "" {
		e := misdirectedError(detail)
		answer, body := c.refuseStream(head, fieldblock.Refusal{Status: e.Status, Reason: e.Reason, Detail: e.Detail})
		_ = writeAnswer(resp, answer, body)
		return
	}
	l7.StripIncoming(&head.Fields)
	x := h2Exchanges.Get().(*h2Exchange)
	body := &x.body
	body.Stream = s
	x.req = Request{Caller: who.caller, Head: *head, Body: body, Trailers: &body.trailers, caller: body}
	if s.Ended() {
		x.req.Body = http.NoBody
	}
	if c.handle(ctx, &x.req, resp) { // else somebody may still use it
		*x = h2Exchange{}
		h2Exchanges.Put(x)
	}
}

// h2Exchange is what a Handler gets of a stream, for one after another.
type h2Exchange struct {
	req  Request
	body h2Body
}

var h2Exchanges = sync.Pool{New: func() any { return new(h2Exchange) }}

// refuseStream records a request that is not well formed, and gives its answer.
func (c *conn) refuseStream(head *l7.RequestHead, r fieldblock.Refusal) (*l7.ResponseHead, []byte) {
	id, owner := c.refuse(head, r.Reason, r.Detail)
	return l7.ProblemStatus(r.Status, r.Detail, id, r.Reason, owner, head)
}

// h2Body is the content of a request as a Request has it.
type h2Body struct {
	*http2.Stream
	trailers l7.Fields
}

// Read completes the trailers at the content's end.
func (b *h2Body) Read(p []byte) (int, error) {
	n, err := b.Stream.Read(p)
	if errors.Is(err, io.EOF) {
		b.trailers = b.Trailers()
	}
	return n, err
}

// Close makes reading fail.
func (b *h2Body) Close() error {
	b.StopReading()
	return nil
}

// cut implements goer.
func (b *h2Body) cut() { b.Reset(http2.Cancel) }

// onGone implements goer.
func (b *h2Body) onGone(f func()) (before bool) { return b.Gone(f) }

// h2Response is the answer to a stream's request.
type h2Response struct{ *http2.Stream }

// Abort resets the stream, unless it has ended.
func (r h2Response) Abort() { r.Reset(http2.InternalError) }
