package listener

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

const (
	maxStreams = 250
	// maxH2Head is what the library reads before it refuses by itself, without a
	// record; between l7.MaxHeadBytes and this we refuse, with one.
	maxH2Head         = 128 << 10
	connectionWindow  = 1 << 20 // bytes; a workload is near its gateway
	streamWindow      = 256 << 10
	h2PingAfter       = 30 * time.Second
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
	_ = c.nc.SetReadDeadline(time.Now().Add(c.l.cfg.HeadTimeout))
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
	_ = c.nc.SetReadDeadline(time.Time{})
	br := h.br
	h.br = nil // the library's reader may look at it for a moment longer than it serves
	c.serveH2(ctx, buffered{c.nc, br})
}

// buffered is a connection whose first bytes were read already.
type buffered struct {
	net.Conn
	br *bufio.Reader
}

func (b buffered) Read(p []byte) (int, error) { return b.br.Read(p) }

// serveH2 gives each connection a server of its own, because a server is what
// the library can drain and whose errors it can tell us of.
func (c *conn) serveH2(ctx context.Context, nc net.Conn) {
	closed := make(chan struct{})
	var draining sync.WaitGroup
	var hs *http.Server
	// Not before the server speaks: it would end a connection that has just come
	// without a word.
	began := sync.OnceFunc(func() {
		c.setGoaway(func() { draining.Go(func() { _ = hs.Shutdown(ctx) }) })
	})
	hs = c.newH2Server(ctx, began, func() { close(closed) })
	stop := c.retireInTime()
	defer stop()
	one := &oneConn{Conn: nc}
	_ = hs.Serve(one) // it returns at once: there is no second connection
	if one.taken {
		<-closed
	}
	c.setGoaway(nil)
	draining.Wait()
}

func (c *conn) newH2Server(ctx context.Context, began, closed func()) *http.Server {
	protos := new(http.Protocols)
	protos.SetHTTP2(c.secure)
	protos.SetUnencryptedHTTP2(!c.secure)
	return &http.Server{
		Handler:        http.HandlerFunc(c.serveStream),
		Protocols:      protos,
		MaxHeaderBytes: maxH2Head,
		IdleTimeout:    c.l.cfg.IdleTimeout,
		ErrorLog:       zap.NewStdLog(c.log),
		BaseContext:    func(net.Listener) context.Context { return ctx },
		ConnState: func(_ net.Conn, s http.ConnState) {
			switch s { //nolint:exhaustive // the others say nothing new
			case http.StateActive:
				began()
			case http.StateClosed:
				closed()
			}
		},
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams:          maxStreams,
			MaxReceiveBufferPerConnection: connectionWindow,
			MaxReceiveBufferPerStream:     streamWindow,
			SendPingTimeout:               h2PingAfter,
			WriteByteTimeout:              c.l.cfg.IdleTimeout,
			CountError:                    c.countH2,
		},
	}
}

// oneConn is a listener that gives one connection.
type oneConn struct {
	net.Conn
	taken bool
}

func (o *oneConn) Accept() (net.Conn, error) {
	if o.taken {
		return nil, net.ErrClosed
	}
	o.taken = true
	return o.Conn, nil
}

// Close leaves the connection open, which the server owns by then.
func (o *oneConn) Close() error { return nil }

func (o *oneConn) Addr() net.Addr { return o.LocalAddr() }

// countH2 records what the library refused before it became a request. What
// two honest ends do to one another in passing is not among it.
func (c *conn) countH2(fault string) {
	for _, passing := range [...]string{"_closed", "_over_max_streams_race"} {
		if strings.HasSuffix(fault, passing) {
			return
		}
	}
	c.refuse(nil, crossingv1.Reason_MALFORMED, "HTTP/2: "+fault)
}

// serveStream serves one request of HTTP/2.
func (c *conn) serveStream(w http.ResponseWriter, r *http.Request) {
	resp := &h2Response{w: w, flush: http.NewResponseController(w), isHead: r.Method == http.MethodHead}
	defer func() {
		if !resp.over || resp.failed != nil {
			panic(http.ErrAbortHandler) // the library's way to reset a stream
		}
	}()
	head, err := c.headOf(r)
	if err != nil {
		c.refuseStream(resp, head, err)
		return
	}
	who := c.identify(head, false, time.Now())
	if who.reason != 0 {
		c.l.cfg.Refuser.Refuse(who.reason, c.addr, Name, who.detail)
		if who.final {
			w.Header().Set("Connection", "close")
		}
		answer, body := l7.Problem("", who.reason, "", head)
		_ = writeAnswer(resp, answer, body)
		return
	}
	l7.StripIncoming(&head.Fields)
	body := &h2Body{r: r, trailers: &l7.Fields{}}
	req := &Request{Caller: who.caller, Head: *head, Body: body, Trailers: body.trailers}
	if r.Method == http.MethodConnect {
		resp.ended = body.end
	} else if r.ContentLength == 0 {
		req.Body = http.NoBody
	}
	c.handle(r.Context(), req, resp)
}

func (c *conn) refuseStream(resp *h2Response, head *l7.RequestHead, err error) {
	reason := crossingv1.Reason_MALFORMED
	if errors.Is(err, l7.ErrTooLarge) {
		reason = crossingv1.Reason_TOO_LARGE
	}
	id, owner := c.refuse(head, reason, err.Error())
	answer, body := l7.Problem(id, reason, owner, head)
	_ = writeAnswer(resp, answer, body)
}

// headOf is the head of a request as HTTP/1.1 would have it: a scheme that is
// the connection's own says nothing, as in origin form.
func (c *conn) headOf(r *http.Request) (*l7.RequestHead, error) {
	head := &l7.RequestHead{Method: r.Method, Authority: r.Host, Path: r.RequestURI, Fields: fieldsOf(r.Header)}
	if r.Method == http.MethodConnect {
		head.Path = ""
		if _, port, err := l7.SplitAuthority(r.Host); err != nil || port == "" {
			return head, errors.New("the authority of a CONNECT is not HOST:PORT")
		}
	}
	// Host may stand beside :authority and must then say the same (RFC 9113 8.3.1).
	if hosts := r.Header.Values("Host"); len(hosts) == 1 && hosts[0] == r.Host {
		head.Fields.Del("host")
	}
	for name := range r.Trailer {
		head.Fields = append(head.Fields, l7.Field{Name: "trailer", Value: strings.ToLower(name)})
	}
	return head, head.Check()
}

// fieldsOf is a header by name: HTTP/2 libraries do not keep the order.
func fieldsOf(h http.Header) l7.Fields {
	fields := make(l7.Fields, 0, len(h))
	for name, values := range h {
		for _, v := range values {
			fields = append(fields, l7.Field{Name: strings.ToLower(name), Value: v})
		}
	}
	sort.SliceStable(fields, func(i, j int) bool { return fields[i].Name < fields[j].Name })
	return fields
}

// h2Body completes the trailers at the body's end.
type h2Body struct {
	r        *http.Request
	trailers *l7.Fields
	over     atomic.Bool // both directions of a CONNECT have ended
}

// end makes a pending Read and all further ones give io.EOF.
func (b *h2Body) end() {
	b.over.Store(true)
	_ = b.r.Body.Close()
}

func (b *h2Body) Close() error { return b.r.Body.Close() }

func (b *h2Body) Read(p []byte) (int, error) {
	n, err := b.r.Body.Read(p)
	if err != nil && b.over.Load() {
		return n, io.EOF
	}
	if err == io.EOF {
		fields := fieldsOf(b.r.Trailer)
		l7.StripIncoming(&fields)
		*b.trailers = fields
	}
	return n, err
}

// h2Response is a Response on a stream. The stream ends when the Handler
// returns, and with it an answer that was ended: the library has no other way.
type h2Response struct {
	w      http.ResponseWriter
	flush  *http.ResponseController
	isHead bool
	ended  func() // called at the end; nil for most

	begun   bool
	over    bool
	failed  error
	counted bool
	left    int64 // of a counted answer
}

var (
	errHeadTwice = errors.New("write answer: it has its head already")
	errNoHead    = errors.New("write answer: no head yet, or it is over")
	errLength    = errors.New("write answer: not as long as its content-length")
	errAborted   = errors.New("write answer: aborted")
)

// WriteHead with end set does not flush: a head alone must go in one frame
// that ends the stream, or gRPC clients do not take it for Trailers-Only.
func (r *h2Response) WriteHead(h *l7.ResponseHead, end bool) error {
	if r.begun {
		return errHeadTwice
	}
	if err := h.Check(); err != nil {
		return r.fail(err)
	}
	length, known, err := h.Fields.ContentLength()
	bodiless := r.isHead || h.Status == 204 || h.Status == 304
	switch {
	case err != nil:
		return r.fail(err)
	case end && known && length > 0 && !bodiless:
		return r.fail(errLength)
	}
	r.begun = true
	r.counted, r.left = known && !bodiless, length
	r.isHead = bodiless
	r.setHeader(h.Fields)
	r.w.WriteHeader(h.Status)
	if end {
		return r.finish()
	}
	return r.fail(r.flush.Flush())
}

// setHeader keeps the library from adding what the answer does not have.
func (r *h2Response) setHeader(f l7.Fields) {
	fields := append(l7.Fields(nil), f...)
	l7.StripConnection(&fields)
	header := r.w.Header()
	for _, name := range [...]string{"Content-Type", "Date", "Content-Length"} {
		header[name] = nil
	}
	for _, field := range fields {
		header.Add(field.Name, field.Value)
	}
}

func (r *h2Response) Write(p []byte) (int, error) {
	switch {
	case r.failed != nil:
		return 0, r.failed
	case !r.begun || r.over:
		return 0, errNoHead
	case r.isHead:
		return len(p), nil
	case r.counted && int64(len(p)) > r.left:
		return 0, r.fail(errLength)
	}
	r.left -= int64(len(p))
	n, err := r.w.Write(p)
	if err == nil {
		err = r.flush.Flush()
	}
	return n, r.fail(err)
}

func (r *h2Response) End(trailers l7.Fields) error {
	switch {
	case r.failed != nil:
		return r.failed
	case !r.begun || r.over:
		return errNoHead
	case r.counted && r.left > 0:
		return r.fail(errLength)
	}
	fields := append(l7.Fields(nil), trailers...)
	l7.StripConnection(&fields)
	if err := fields.Check(0); err != nil {
		return r.fail(err)
	}
	for _, field := range fields {
		r.w.Header().Add(http.TrailerPrefix+http.CanonicalHeaderKey(field.Name), field.Value)
	}
	return r.finish()
}

func (r *h2Response) finish() error {
	r.over = true
	if r.ended != nil {
		r.ended()
	}
	return nil
}

func (r *h2Response) Abort() {
	if !r.over {
		_ = r.fail(errAborted)
	}
}

func (r *h2Response) fail(err error) error {
	if r.failed == nil {
		r.failed = err
	}
	return err
}
