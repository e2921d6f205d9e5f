package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// http2 asks in HTTP/2, by the standard library.
type http2 struct{ *http.Transport }

var _ transport = http2{}

// shareKey carries an attempt's share of dialTimeout in a context: a transport
// has no other way to pass it on to who dials.
type shareKey struct{}

func newHTTP2(u *Upstream, key transportKey) http2 {
	protos := new(http.Protocols)
	protos.SetHTTP2(true)
	protos.SetUnencryptedHTTP2(key.plaintext) // prior knowledge, where the policy accepts it
	dial := func(ctx context.Context, _, addr string) (net.Conn, error) {
		share, ok := ctx.Value(shareKey{}).(time.Duration)
		if !ok {
			share = u.dialTimeout
		}
		ctx, cancel := context.WithTimeout(ctx, share)
		defer cancel()
		nc, _, err := u.dial(ctx, addr, key, "h2")
		if err != nil {
			return nil, &unreached{addr, err}
		}
		return nc, nil
	}
	return http2{&http.Transport{
		Protocols:              protos,
		DialContext:            dial,
		DialTLSContext:         dial,
		DisableCompression:     true, // a body is relayed as it is
		MaxIdleConnsPerHost:    maxIdle,
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: maxHead,
	}}
}

// closeIdle leaves connections to their streams: the library opens further ones
// in them, whatever has changed, and Run breaks those that do not verify.
func (h http2) closeIdle(bool) { h.CloseIdleConnections() }

func (h http2) ask(ctx context.Context, addr string, share time.Duration, r *Request) (*Response, error) {
	ctx, cancel := context.WithCancel(context.WithValue(ctx, shareKey{}, share))
	if err := r.goOn(cancelFunc(cancel)); err != nil {
		cancel()
		return nil, err
	}
	req, err := outgoing(ctx, addr, h.Protocols.UnencryptedHTTP2(), r)
	if err == nil {
		var resp *http.Response
		if resp, err = h.RoundTrip(req); err == nil { //nolint:bodyclose // the caller's to close, as Response.Body
			return incoming(resp, addr, r, cancel), nil
		}
	}
	cancel()
	r.goOn(nil) //nolint:errcheck // it does not fail for nothing
	return nil, fmt.Errorf("ask at %s: %w", addr, err)
}

// outgoing is the request as the standard library sends it. What the caller
// did not send is not added.
func outgoing(ctx context.Context, addr string, plaintext bool, r *Request) (*http.Request, error) {
	// Opaque is sent as it is: the path that was decided on, byte for byte.
	target := &url.URL{Scheme: "https", Host: addr, Opaque: r.Head.Path}
	if plaintext {
		target.Scheme = "http"
	}
	header := make(http.Header, len(r.Head.Fields)+1)
	for _, f := range r.Head.Fields {
		header.Add(f.Name, f.Value)
	}
	if _, there := header["User-Agent"]; !there {
		header["User-Agent"] = []string{""}
	}
	if r.Head.IsGRPC() {
		header.Set("Te", "trailers")
	}
	req := &http.Request{Method: r.Head.Method, URL: target, Host: r.Head.Authority, Header: header, Body: http.NoBody}
	if r.Body != nil {
		if err := carryBody(req, r); err != nil {
			return nil, err
		}
	}
	return req.WithContext(ctx), nil
}

func carryBody(req *http.Request, r *Request) error {
	req.ContentLength = -1
	if text := r.Head.Fields.Get("content-length"); text != "" {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return fmt.Errorf("forward content-length %q: %w", text, err)
		}
		req.ContentLength = n
	}
	req.Header.Del("Content-Length")
	r.sending.Add(1)
	body := &lent{r: r}
	req.Body = body
	if req.ContentLength < 0 {
		// net/http sends a trailer only if its map was there before the body.
		req.Trailer = http.Header{}
		body.trailer = req.Trailer
		for _, names := range req.Header.Values("Trailer") {
			for name := range strings.SplitSeq(names, ",") {
				announce(req.Trailer, strings.ToLower(strings.TrimSpace(name)))
			}
		}
	}
	req.Header.Del("Trailer")
	return nil
}

// announce drops what net/http would refuse the whole request for, and what a
// workload may not say.
func announce(trailer http.Header, name string) {
	fields := l7.Fields{{Name: name}}
	l7.StripIncoming(&fields)
	if len(fields) == 1 && l7.ValidName(name) && name != "content-length" && name != "trailer" {
		trailer[http.CanonicalHeaderKey(name)] = nil
	}
}

// errReturned is what a transport gets that reads on after it closed.
var errReturned = errors.New("read request body: it was closed")

// lent is a request's content as long as a transport has it, which closes it when
// it lets go; where it could not connect, it may be lent again. The library may
// close while it is in Read: sending waits for that Read, because two readers
// would tear the content apart.
type lent struct {
	r       *Request
	trailer http.Header // filled where it was announced; nil if nowhere

	mu      sync.Mutex // guards what follows
	reading bool
	over    bool
}

func (b *lent) Read(p []byte) (int, error) {
	b.mu.Lock()
	if b.over {
		b.mu.Unlock()
		return 0, errReturned
	}
	b.reading = true
	b.mu.Unlock()
	n, err := b.r.Body.Read(p)
	if errors.Is(err, io.EOF) {
		for _, f := range b.r.Body.Trailers() {
			name := http.CanonicalHeaderKey(f.Name)
			if _, announced := b.trailer[name]; announced {
				b.trailer.Add(name, f.Value)
			}
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.reading = false; b.over {
		b.r.sending.Done()
	}
	return n, err
}

func (b *lent) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.over {
		return nil
	}
	if b.over = true; !b.reading {
		b.r.sending.Done()
	}
	return nil
}

// answered is an answer that the library reads.
type answered struct {
	*http.Response
	r      *Request
	cancel context.CancelFunc
}

var _ Answer = answered{}

func incoming(resp *http.Response, addr string, r *Request, cancel context.CancelFunc) *Response {
	head := l7.ResponseHead{Status: resp.StatusCode, Fields: fields(resp.Header)}
	l7.StripConnection(&head.Fields)
	head.Fields.Del("trailer")
	p := &crossingv1.Peer{Attach: crossingv1.Attach_PLAINTEXT, Address: addr}
	if resp.TLS != nil && len(resp.TLS.PeerCertificates) > 0 {
		describe(p, *resp.TLS)
	}
	return &Response{
		Head: head,
		Body: answered{resp, r, cancel},
		// A gRPC answer without messages carries its status in the head, and
		// must still do so when it reaches the caller (gRPC over HTTP/2,
		// Trailers-Only).
		Ended: head.Fields.Has("grpc-status") && resp.ContentLength == 0,
		Peer:  p,
	}
}

func (a answered) Read(p []byte) (int, error) { return a.Body.Read(p) }

// Ready does not know: the library does not tell.
func (a answered) Ready() bool { return false }

func (a answered) Trailers() l7.Fields { return fields(a.Trailer) }

func (a answered) Close() error {
	a.r.goOn(nil) //nolint:errcheck // it does not fail for nothing
	a.cancel()
	return a.Body.Close()
}

// fields are in a fixed order so that two relays of one answer are alike.
func fields(h http.Header) l7.Fields {
	names := make([]string, 0, len(h))
	for name := range h {
		names = append(names, name)
	}
	slices.Sort(names)
	out := make(l7.Fields, 0, len(names))
	for _, name := range names {
		for _, value := range h[name] {
			out = append(out, l7.Field{Name: strings.ToLower(name), Value: value})
		}
	}
	return out
}
