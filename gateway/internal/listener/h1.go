package listener

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"time"

	"go.uber.org/zap"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/http1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

const (
	bufferSize = 16 << 10
	// maxDiscard of a body that nobody read is read away to keep a connection.
	maxDiscard = 256 << 10
	// linger after the last answer for the caller to read it: data that arrives
	// on a closed socket would destroy it on its way (RFC 9112 9.6).
	linger = 500 * time.Millisecond
)

// desk is what a connection needs only while it serves a request.
type desk struct {
	br       *bufio.Reader
	head     http1.Request
	resp     http1.Response
	body     h1Body
	trailers l7.Fields // of the body
	req      Request
	answer   h1Response
}

func newDesk() any { return &desk{br: bufio.NewReaderSize(nil, bufferSize)} }

// clear lets go of what was on it.
func (d *desk) clear() {
	d.br.Reset(nil)
	d.head.Reset()
	d.resp.Reset(nil, &d.head, false)
	clear(d.trailers[:cap(d.trailers)])
	d.trailers, d.req, d.answer = d.trailers[:0], Request{}, h1Response{}
}

// h1 is a connection that speaks HTTP/1.1. One goroutine owns it; while the
// Handler runs, its Body and Response use it too.
type h1 struct {
	*conn
	in       input
	look     func(fd uintptr) bool // tryRead, made once
	fault    error                 // what it met
	desk     *desk                 // nil while idle
	br       *bufio.Reader         // the desk's
	watching chan error            // a byte is awaited; nil if not
	served   int
}

func newH1(c *conn) *h1 {
	h := &h1{conn: c, in: input{nc: c.nc, raw: rawOf(c.nc)}}
	h.look = h.tryRead
	return h
}

func (c *h1) serve(ctx context.Context) {
	defer c.release()
	for c.next() && c.exchange(ctx) {
		c.served++
	}
}

// release waits for the watch, which ends because the connection is closed.
func (c *h1) release() {
	if c.detached != nil {
		return
	}
	_ = c.nc.Close()
	if c.watching != nil {
		if err := <-c.watching; err != nil {
			c.log.Debug("connection ended", zap.Error(err))
		}
		c.watching = nil
	}
	c.leaveDesk()
}

func (c *h1) takeDesk() {
	c.desk = c.l.desks.Get().(*desk)
	c.br = c.desk.br
	c.br.Reset(&c.in)
}

func (c *h1) leaveDesk() {
	if c.desk != nil {
		c.desk.clear()
		c.l.desks.Put(c.desk)
		c.desk, c.br = nil, nil
	}
}

// next waits for the first bytes of a request.
func (c *h1) next() bool {
	if c.br != nil && c.br.Buffered() > 0 {
		return c.setIdle(false) // pipelined
	}
	c.leaveDesk()
	if !c.setIdle(true) {
		return false
	}
	wait := c.l.cfg.IdleTimeout
	if c.served == 0 && c.id.IsZero() {
		wait = c.l.cfg.HeadTimeout
	}
	now := time.Now()
	c.in.bound(c.untilAged(now, now.Add(wait)), wait/renewals)
	err := c.await()
	if errors.Is(err, os.ErrDeadlineExceeded) && pending(c.raw) { // it came as the time ran out
		c.in.bound(time.Now().Add(c.l.cfg.HeadTimeout), 0)
		err = c.await()
	}
	return err == nil && c.setIdle(false)
}

// await awaits something to read without a desk, and then takes one.
func (c *h1) await() error {
	if c.in.raw != nil && c.watching == nil {
		c.fault = nil
		if err := c.in.raw.Read(c.look); err != nil {
			return err
		}
		return c.fault
	}
	if err := c.awaitByte(); err != nil {
		return err
	}
	c.takeDesk()
	return nil
}

// tryRead reads what has come onto a desk, and says false if that is nothing: so
// that one system call reads a request, and none is made to learn that it is there.
func (c *h1) tryRead(fd uintptr) bool {
	c.takeDesk()
	err := c.in.now(fd, c.br)
	if errors.Is(err, syscall.EAGAIN) {
		c.leaveDesk()
		return false
	}
	c.fault = err
	return true
}

// awaitByte awaits the next byte, where the watch of the exchange before has not
// begun to.
func (c *h1) awaitByte() error {
	if c.watching == nil {
		return c.in.await()
	}
	err := <-c.watching
	c.watching = nil
	return err
}

// exchange serves one request; false ends the connection.
func (c *h1) exchange(ctx context.Context) bool {
	r, resp := &c.desk.head, &c.desk.resp
	c.in.within = c.l.cfg.HeadTimeout
	err := http1.ReadHead(c.br, r)
	c.in.within = 0
	if err != nil {
		c.refuseHead(r, err)
		return false
	}
	resp.Reset(output{c.conn}, r, r.Close || c.leaves(time.Now()))
	who := c.identify(&r.Head, r.Proxy, time.Now())
	if who.reason != 0 {
		c.l.cfg.Refuser.Refuse(who.reason, c.addr, Name, who.detail)
		return c.answer(r, resp, who.reason, who.final)
	}
	if detail := c.misdirected(&r.Head); detail != "" {
		c.refuseHead(r, misdirectedError(detail))
		return false
	}
	l7.StripIncoming(&r.Head.Fields)
	return c.exchangeWith(ctx, who.caller, r, resp)
}

// exchangeWith lets the Handler answer, and says whether the connection can
// take another request.
func (c *h1) exchangeWith(ctx context.Context, caller Caller, r *http1.Request, resp *http1.Response) bool {
	d := c.desk
	b := &d.body
	b.begin(c, r, resp, &d.trailers)
	d.req = Request{Caller: caller, Head: r.Head, Body: b, Trailers: &d.trailers, Upgrade: upgrade(r), caller: b}
	if r.Length == 0 && !b.connect {
		d.req.Body = http.NoBody
	}
	d.answer = h1Response{resp, b}
	returned := c.handle(ctx, &d.req, &d.answer)
	if !returned {
		c.desk, c.br = nil, nil // somebody may still use it
	}
	if c.detached != nil {
		c.leaveDesk()
		return false
	}
	b.stop()
	if !returned || !resp.Whole() {
		d.answer.Abort()
		return false
	}
	return c.again(b, resp, false)
}

// again says whether the connection can take another request.
func (c *h1) again(b *h1Body, resp *http1.Response, final bool) bool {
	again := b.finish() && !resp.Closing() && !final
	if !again {
		c.linger()
	}
	return again
}

// answer answers with a problem in the Handler's place.
func (c *h1) answer(r *http1.Request, resp *http1.Response, reason crossingv1.Reason, final bool) bool {
	head, body := l7.Problem("", reason, "", &r.Head)
	if err := writeAnswer(resp, head, body); err != nil {
		return false
	}
	b := &c.desk.body
	b.begin(c, r, resp, &c.desk.trailers)
	b.stop()
	return c.again(b, resp, final)
}

func writeAnswer(resp Response, head *l7.ResponseHead, body []byte) error {
	if err := resp.WriteHead(head, len(body) == 0); err != nil || len(body) == 0 {
		return err
	}
	if _, err := resp.Write(body); err != nil {
		return err
	}
	return resp.End(nil)
}

// upgrade is the protocol that a request wants to leave HTTP for. h2c is asked
// for by clients that do as well without, and may be ignored (RFC 9110 7.8).
func upgrade(r *http1.Request) string {
	for p := range strings.SplitSeq(r.Upgrade, ",") {
		if p = strings.Trim(p, " \t"); p != "" && p != "h2c" {
			return p
		}
	}
	return ""
}

// refuseHead answers a request that could not be read, and records it with as
// much of it as could.
func (c *h1) refuseHead(r *http1.Request, err error) {
	var refused *http1.Error
	switch {
	case errors.As(err, &refused):
	case errors.Is(err, os.ErrDeadlineExceeded):
		refused = &http1.Error{
			Status: 408, Reason: crossingv1.Reason_MALFORMED,
			Detail: fmt.Sprintf("the head did not come within %v", c.l.cfg.HeadTimeout),
		}
	default: // the caller went away in mid-head: nobody reads an answer
		c.refuse(nil, crossingv1.Reason_MALFORMED, "head cut off")
		return
	}
	id, owner := c.refuse(&r.Head, refused.Reason, refused.Detail)
	resp := http1.NewResponse(output{c.conn}, &http1.Request{}, true)
	head, body := l7.ProblemStatus(refused.Status, refused.Detail, id, refused.Reason, owner, nil)
	if writeAnswer(resp, head, body) == nil {
		c.linger()
	}
}

// linger closes this direction and reads the other for a moment.
func (c *h1) linger() {
	if (output{c.conn}).CloseWrite() != nil {
		return
	}
	c.in.bound(time.Now().Add(linger), 0)
	if c.watching != nil {
		err := <-c.watching
		if c.watching = nil; err != nil {
			return
		}
	}
	_, _ = io.CopyN(io.Discard, c.nc, maxDiscard)
}

// output is the connection as a writer: each piece must go within the idle time.
type output struct{ *conn }

func (o output) Write(p []byte) (int, error) {
	idle := o.l.cfg.IdleTimeout
	if by := time.Now().Add(idle); by.Sub(o.writeBy) > idle/renewals {
		o.writeBy = by
		_ = o.nc.SetWriteDeadline(by)
	}
	return o.nc.Write(p)
}

func (o output) CloseWrite() error {
	if half, ok := o.nc.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return o.nc.Close()
}

var _ Detacher = (*h1Response)(nil)

// h1Response is a Response whose Abort breaks the connection at once.
type h1Response struct {
	*http1.Response
	body *h1Body
}

// Detach implements Detacher.
func (r *h1Response) Detach(d Detached) bool {
	c := r.body.c
	if _, ok := c.nc.(*net.TCPConn); !ok || !r.Raw() {
		return false
	}
	c.early = make([]byte, c.br.Buffered())
	_, _ = io.ReadFull(c.br, c.early) // they are there
	_ = r.body.Close()
	c.detach(d)
	return true
}

func (r *h1Response) Abort() {
	if r.Response.Whole() && !r.body.connect {
		return
	}
	r.Response.Abort()
	if r.body.connect {
		r.body.c.reset()
		return
	}
	r.body.c.kill()
}
