package upstream

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

func handshake(ctx context.Context, raw net.Conn, config *tls.Config) (net.Conn, error) {
	conn := tls.Client(raw, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, err
	}
	return conn, nil
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
	req := &http.Request{
		Method: r.Head.Method,
		URL:    target,
		Host:   r.Head.Authority,
		Header: header,
		Body:   http.NoBody,
	}
	if r.Body != http.NoBody {
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
	req.Body = &trailingBody{ReadCloser: r.Body, req: req, trailers: r.Trailers}
	if req.ContentLength < 0 {
		// net/http sends a trailer only if its map was there before the body.
		req.Trailer = http.Header{}
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
	if len(fields) == 1 && l7.ValidName(name) && name != "content-length" && !hopByHop(name) {
		trailer[http.CanonicalHeaderKey(name)] = nil
	}
}

// trailingBody fills the request's announced trailers when the body has ended.
type trailingBody struct {
	io.ReadCloser
	req      *http.Request
	trailers func() l7.Fields
}

func (b *trailingBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF && b.trailers != nil {
		for _, f := range b.trailers() {
			name := http.CanonicalHeaderKey(f.Name)
			if _, announced := b.req.Trailer[name]; announced {
				b.req.Trailer.Add(name, f.Value)
			}
		}
	}
	return n, err
}

// hopByHop fields end at this gateway (RFC 9110 section 7.6.1).
func hopByHop(name string) bool {
	switch name {
	case "connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade", "te", "trailer":
		return true
	}
	return false
}

func incoming(resp *http.Response, addr string) *Response {
	head := l7.ResponseHead{Status: resp.StatusCode, Fields: fields(resp.Header)}
	head.Fields.DelFunc(hopByHop)
	return &Response{
		Head:     head,
		Body:     resp.Body,
		Trailers: func() l7.Fields { return fields(resp.Trailer) },
		// A gRPC answer without messages carries its status in the head, and
		// must still do so when it reaches the caller (gRPC over HTTP/2,
		// Trailers-Only).
		Ended: head.Fields.Has("grpc-status") && resp.ContentLength == 0,
		Peer:  peer(resp, addr),
	}
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

func peer(resp *http.Response, addr string) *crossingv1.Peer {
	p := &crossingv1.Peer{Attach: crossingv1.Attach_PLAINTEXT, Address: addr}
	if resp.TLS != nil && len(resp.TLS.PeerCertificates) > 0 {
		p.Attach = crossingv1.Attach_MTLS
		p.Svid = certs.Fingerprint(resp.TLS.PeerCertificates[0])
		p.Tls = certs.DescribeTLS(*resp.TLS)
	}
	return p
}
