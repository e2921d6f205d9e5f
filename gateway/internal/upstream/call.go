package upstream

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/http1"
)

const (
	bufferSize = 16 << 10
	// atOnce is about how much of a request is sent before anybody looks for an
	// answer: less than sockets hold, so that a destination which answers without
	// reading does not leave the writer waiting.
	atOnce = 48 << 10
)

// call is one exchange in HTTP/1.1, and what a connection needs only while it
// carries one.
type call struct {
	r    *Request
	pool *pool
	addr string
	c    *conn

	br       *bufio.Reader
	writer   http1.RequestWriter
	answer   http1.Answer
	body     http1.Body
	trailers l7.Fields
	resp     Response

	begun  bool    // the head was given to writer
	fault  error   // why it could not be, or no more than a part
	rest   bool    // more of the content comes than was sent at once
	sender *sender // of the rest, nil if there is none
	spare  *sender // one that has returned
	heard  bool    // a byte of the answer has come
}

func newCall() any { return &call{br: bufio.NewReaderSize(nil, bufferSize)} }

var _ Answer = (*call)(nil)

// free keeps the memory for another call.
func (t *call) free() {
	t.r.call = nil
	u := t.pool.u
	t.br.Reset(nil)
	t.answer.Reset()
	t.writer.Reset(nil)
	clear(t.trailers[:cap(t.trailers)])
	*t = call{br: t.br, writer: t.writer, answer: t.answer, trailers: t.trailers[:0], spare: t.spare}
	u.calls.Put(t)
}

// ask sends the request in c and awaits the head of its answer. After an error,
// again says that it may be asked in another connection: this one was closed
// while it was idle.
func (t *call) ask(c *conn) (resp *Response, again bool, err error) {
	t.c = c
	if err := t.r.goOn(c); err != nil {
		c.cut()
		return nil, false, err
	}
	wrote := c.socket.wrote
	err = t.send()
	switch {
	case t.fault != nil:
		t.drop()
		return nil, false, fmt.Errorf("write the request: %w", t.fault)
	case err != nil && c.socket.wrote == wrote:
		t.drop()
		return nil, c.used, fmt.Errorf("write to %s: %w", t.addr, err)
	case err == nil && t.rest:
		_ = c.SetReadDeadline(time.Time{}) // of the exchange before
		t.startSender()
	}
	// A destination may answer, and close, before it has read all.
	if err := t.await(); err != nil {
		t.drop()
		return nil, c.used && t.mayRepeat(), fmt.Errorf("read from %s: %w", t.addr, err)
	}
	return t.respond(), false, nil
}

// drop breaks the connection of a call that has failed.
func (t *call) drop() {
	t.c.cut()
	t.isSent()
	t.r.goOn(nil) //nolint:errcheck // it does not fail for nothing
}

// mayRepeat says that what was sent may be sent again, and makes it so.
func (t *call) mayRepeat() bool {
	if t.heard || !t.r.Retry || t.r.Body != nil || !safe(t.r.Head.Method) {
		return false
	}
	t.begun = false
	return true
}

// send writes as much of the request as is at hand, in one piece. Where it wrote
// nothing, it may be called again for another connection.
func (t *call) send() error {
	if t.begun {
		t.writer.Redirect(t.c)
	} else {
		t.begun = true
		t.writer.Reset(t.c)
		if t.fault = t.writer.WriteHead(t.r.Head, t.r.Body == nil); t.fault == nil && t.r.Body != nil {
			t.fault = t.compose()
		}
	}
	if t.fault != nil {
		return t.fault
	}
	return t.writer.Flush()
}

// compose gives the content to the writer that can be had without waiting.
func (t *call) compose() error {
	b := t.r.Body
	if !b.Ready() {
		t.rest = true
		return nil
	}
	buf := copyBuffers.Get().(*[]byte)
	defer copyBuffers.Put(buf)
	for t.writer.Held() < atOnce && b.Ready() {
		n, err := b.Read(*buf)
		if n > 0 {
			if _, err := t.writer.Write((*buf)[:n]); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return t.writer.End(b.Trailers())
		}
		if err != nil {
			return err
		}
	}
	t.rest = true
	return nil
}

// await reads the head of the answer. The wait for it is bounded once the
// request has gone.
func (t *call) await() error {
	limits := &t.pool.u.limits
	if t.sender == nil {
		_ = t.c.SetReadDeadline(time.Now().Add(limits.FirstByte))
	}
	t.br.Reset(t.c)
	if _, err := t.br.Peek(1); err != nil {
		return err
	}
	t.heard = true
	if err := http1.ReadResponse(t.br, t.r.Head.Method, &t.answer); err != nil {
		return err
	}
	t.body.Reset(t.br, t.answer.Length, &t.trailers)
	if t.sender != nil {
		t.sender.answered()
	}
	if limits.Idle == 0 && !t.body.Ready() {
		_ = t.c.SetReadDeadline(time.Time{})
	}
	return nil
}

// respond is the answer without what ends at this gateway.
func (t *call) respond() *Response {
	head := t.answer.Head
	l7.StripConnection(&head.Fields)
	head.Fields.Del("trailer")
	t.resp = Response{Head: head, Body: t, Ended: t.answer.Length == 0, Peer: t.c.peer, Credential: t.c.socket.credential()}
	return &t.resp
}

// Read implements Answer.
func (t *call) Read(p []byte) (int, error) {
	if idle := t.pool.u.limits.Idle; idle > 0 {
		_ = t.c.SetReadDeadline(time.Now().Add(idle))
	}
	return t.body.Read(p)
}

// Ready implements Answer.
func (t *call) Ready() bool { return t.body.Ready() }

// Trailers implements Answer.
func (t *call) Trailers() l7.Fields { return t.trailers }

// Close implements Answer. The connection is used again if nothing of the
// exchange is left in it: what the destination says beyond its answer would
// otherwise be the answer to somebody else.
func (t *call) Close() error {
	c, whole := t.c, t.body.Done() && t.isSent()
	t.r.goOn(nil) //nolint:errcheck // it does not fail for nothing
	switch {
	case !whole:
		c.cut()
	case t.answer.Close || t.br.Buffered() > 0 || !c.socket.holdsNothing(c.Conn):
		c.Close()
	default:
		t.pool.put(t.addr, c)
	}
	t.free()
	return nil
}

// isSent says that all of the request was sent, and ends what still sends it.
func (t *call) isSent() bool {
	if t.sender == nil {
		return t.writer.Whole()
	}
	whole, done := t.sender.finish()
	if t.spare = nil; done {
		t.spare = t.sender
	}
	return whole
}
