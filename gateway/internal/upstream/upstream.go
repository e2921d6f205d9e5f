// Package upstream reaches destinations: the last leg of a crossing, from the
// ingress gateway to the workload. The invariant: a workload is reached over
// TLS with the very SPIFFE ID that the policy gives it, unless the policy
// accepts plaintext for it, and only at addresses it is bound to.
package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/policy"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// ErrNoEndpoint says that no binding tells where the service is.
var ErrNoEndpoint = errors.New("no binding says where the service is")

const (
	dialTimeout = 10 * time.Second
	idleTimeout = 90 * time.Second
	maxIdle     = 64
	maxHead     = 64 << 10
)

// Destination is a service of a workload.
type Destination struct {
	Workload *policy.Workload
	Service  *policy.Service
}

// Request is what is asked of a destination. Body is always closed, if need be
// after RoundTrip has returned; nothing reads it from then on.
type Request struct {
	Head     *l7.RequestHead
	Body     io.ReadCloser    // http.NoBody if the request ended with its head
	Trailers func() l7.Fields // complete once Body gave io.EOF
}

// Response is a destination's answer. Body must be closed. Trailers is
// complete once Body gave io.EOF. Ended says that the head was all of it.
type Response struct {
	Head     l7.ResponseHead
	Body     io.ReadCloser
	Trailers func() l7.Fields
	Ended    bool
	Peer     *crossingv1.Peer
}

// endpoints tells where a service of a workload is, as HOST:PORT.
type endpoints interface {
	Endpoints(workload, service string) []string
}

// Upstream pools connections to the workloads of one environment.
type Upstream struct {
	source    *certs.Source
	endpoints endpoints

	mu    sync.Mutex // guards what follows
	pools map[poolKey]*pool
	turns map[turnKey]uint64 // rotate over a service's endpoints
}

// poolKey is what a connection was verified for: another identity, or another
// acceptance of plaintext, never reuses it.
type poolKey struct {
	id        spiffeid.ID
	plaintext bool
}

type turnKey struct{ workload, service string }

type pool struct {
	http1, http2 *http.Transport
}

// New makes an upstream that shows source's SVID and finds workloads by e.
func New(source *certs.Source, e endpoints) *Upstream {
	return &Upstream{source: source, endpoints: e, pools: map[poolKey]*pool{}, turns: map[turnKey]uint64{}}
}

// CloseIdle closes connections that carry nothing.
func (u *Upstream) CloseIdle() {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, p := range u.pools {
		p.http1.CloseIdleConnections()
		p.http2.CloseIdleConnections()
	}
}

// RoundTrip asks the destination; byte streams are Connect's.
func (u *Upstream) RoundTrip(ctx context.Context, d Destination, r *Request) (*Response, error) {
	addr, err := u.pick(d)
	if err != nil {
		r.Body.Close()
		return nil, err
	}
	p := u.pool(d.Workload)
	req, err := outgoing(ctx, addr, d.Workload.Plaintext, r)
	if err != nil {
		r.Body.Close()
		return nil, err
	}
	t := p.http1
	if r.Head.IsGRPC() {
		t = p.http2
	}
	resp, err := t.RoundTrip(req) //nolint:bodyclose // the caller's to close, as Response.Body
	if err != nil {
		return nil, fmt.Errorf("ask %s at %s: %w", d.Workload.ID, addr, err)
	}
	return incoming(resp, addr), nil
}

func (u *Upstream) pick(d Destination) (string, error) {
	at := u.endpoints.Endpoints(d.Workload.Name, d.Service.Name)
	if len(at) == 0 {
		return "", fmt.Errorf("reach %s of %s: %w", d.Service.Name, d.Workload.Name, ErrNoEndpoint)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	key := turnKey{d.Workload.Name, d.Service.Name}
	u.turns[key]++
	return at[u.turns[key]%uint64(len(at))], nil
}

func (u *Upstream) pool(w *policy.Workload) *pool {
	key := poolKey{w.ID, w.Plaintext}
	u.mu.Lock()
	defer u.mu.Unlock()
	p := u.pools[key]
	if p == nil {
		p = u.newPool(key)
		u.pools[key] = p
	}
	return p
}

// newPool makes one transport for each version: a gRPC call needs HTTP/2, and
// HTTP/1.1 is what every other server speaks.
func (u *Upstream) newPool(key poolKey) *pool {
	one, two := new(http.Protocols), new(http.Protocols)
	one.SetHTTP1(true)
	two.SetHTTP2(true)
	two.SetUnencryptedHTTP2(key.plaintext) // prior knowledge, where the policy accepts it
	return &pool{
		http1: u.newTransport(key.id, one, "http/1.1"),
		http2: u.newTransport(key.id, two, "h2"),
	}
}

func (u *Upstream) newTransport(id spiffeid.ID, versions *http.Protocols, alpn string) *http.Transport {
	dialer := &net.Dialer{Timeout: dialTimeout}
	return &http.Transport{
		Protocols:              versions,
		DialContext:            dialer.DialContext,
		DialTLSContext:         u.dialTLS(dialer, id, alpn),
		DisableCompression:     true, // a body is relayed as it is
		MaxIdleConnsPerHost:    maxIdle,
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: maxHead,
	}
}

type dial func(ctx context.Context, network, addr string) (net.Conn, error)

// dialTLS dials and completes the handshake, so that a workload that is not
// who it should be is never sent a byte.
func (u *Upstream) dialTLS(d *net.Dialer, id spiffeid.ID, proto string) dial {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		raw, err := d.DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return handshake(ctx, raw, certs.ClientTLS(u.source, certs.AuthorizeID(id), proto))
	}
}
