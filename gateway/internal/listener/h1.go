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
	br   *bufio.Reader
	head http1.Request
	resp http1.Response
}

func newDesk() any { return &desk{br: bufio.NewReaderSize(nil, bufferSize)} }

// clear lets go of what was on it.
func (d *desk) clear() {
	d.br.Reset(nil)
	d.head.Reset()
	d.resp.Reset(nil, &d.head, false)
}

// h1 is a connection that speaks HTTP/1.1. One goroutine owns it; while the
// Handler runs, its Body and Response use it too.
type h1 struct {
	*conn
	in       input
	desk     *desk         // nil while idle
	br       *bufio.Reader // the desk's
	watching chan error    // a byte is awaited; nil if not
	served   int
}

func newH1(c *conn) *h1 {
	return &h1{conn: c, in: input{nc: c.nc}}
}

// input is the connection as a reader, with a byte that the watch took.
type input struct {
	nc    net.Conn
	first [1]byte
	have  bool
}

func (in *input) Read(p []byte) (int, error) {
	if in.have && len(p) > 0 {
		in.have = false
		p[0] = in.first[0]
		return 1, nil
	}
	return in.nc.Read(p)
}

// await awaits the next byte without a buffer.
func (in *input) await() error {
	n, err := in.nc.Read(in.first[:])
	if in.have = n == 1; in.have {
		return nil
	}
	return err
}

// watch is await while something else goes on. Nobody else may read until the
// channel gave its result. If the caller goes away instead, gone is called.
func (in *input) watch(gone func()) chan error {
	result := make(chan error, 1)
	go func() {
		err := in.await()
		if err != nil {
			gone()
		}
		result <- err
	}()
	return result
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

func (c *h1) leaveDesk() {
	if c.desk != nil {
		c.desk.clear()
		c.l.desks.Put(c.desk)
		c.desk, c.br = nil, nil
	}
}

// next waits for the first byte of a request.
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
	_ = c.nc.SetReadDeadline(c.untilExpiry(time.Now().Add(wait)))
	if c.awaitByte() != nil || !c.setIdle(false) {
		return false
	}
	c.desk = c.l.desks.Get().(*desk)
	c.br = c.desk.br
	c.br.Reset(&c.in)
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
	_ = c.nc.SetReadDeadline(time.Now().Add(c.l.cfg.HeadTimeout))
	r, resp := &c.desk.head, &c.desk.resp
	if err := http1.ReadHead(c.br, r); err != nil {
		c.refuseHead(r, err)
		return false
	}
	resp.Reset(output{c.conn}, r, r.Close || c.leaves(time.Now()))
	who := c.identify(&r.Head, r.Proxy, time.Now())
	if who.reason != 0 {
		c.l.cfg.Refuser.Refuse(who.reason, c.addr, Name, who.detail)
		return c.answer(r, resp, who.reason, who.final)
	}
	l7.StripIncoming(&r.Head.Fields)
	return c.exchangeWith(ctx, who.caller, r, resp)
}

// exchangeWith lets the Handler answer, and says whether the connection can
// take another request.
func (c *h1) exchangeWith(ctx context.Context, caller Caller, r *http1.Request, resp *http1.Response) bool {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	trailers := &l7.Fields{}
	b := newH1Body(c, r, resp, trailers, cancel)
	req := &Request{Caller: caller, Head: r.Head, Body: b, Trailers: trailers, Upgrade: upgrade(r)}
	if r.Length == 0 && !b.connect {
		req.Body = http.NoBody
	}
	answer := &h1Response{resp, b}
	c.handle(ctx, req, answer)
	if c.detached != nil {
		return false
	}
	b.stop()
	if !resp.Whole() {
		answer.Abort()
		return false
	}
	again := b.finish() && !resp.Closing()
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
	b := newH1Body(c, r, resp, &l7.Fields{}, func() {})
	b.stop()
	again := b.finish() && !resp.Closing() && !final
	if !again {
		c.linger()
	}
	return again
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
	_ = c.nc.SetReadDeadline(time.Now().Add(linger))
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
	_ = o.nc.SetWriteDeadline(time.Now().Add(o.l.cfg.IdleTimeout))
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
	r.body.detach()
	c.leaveDesk()
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
