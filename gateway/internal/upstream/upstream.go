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
	// dialTimeout bounds the time until a destination is connected, whatever the
	// number of endpoints.
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
	source      *certs.Source
	endpoints   endpoints
	dialTimeout time.Duration

	mu    sync.Mutex // guards what follows
	pools map[poolKey]*pool
	turns map[turnKey]uint64   // rotate over a service's endpoints
	dead  map[string]time.Time // endpoints to try last, and until when
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
	return &Upstream{
		source: source, endpoints: e, dialTimeout: dialTimeout,
		pools: map[poolKey]*pool{}, turns: map[turnKey]uint64{}, dead: map[string]time.Time{},
	}
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

// RoundTrip asks the destination. Connect is for byte streams.
func (u *Upstream) RoundTrip(ctx context.Context, d Destination, r *Request) (*Response, error) {
	var resp *Response
	err := u.try(ctx, d, func(ctx context.Context, addr string) (err error) {
		resp, err = u.ask(ctx, addr, d, r)
		return err
	})
	if notReached(err) || errors.Is(err, ErrNoEndpoint) {
		r.Body.Close()
	}
	return resp, err
}

// ask asks at one endpoint. If that cannot be reached, the body is left as it was.
func (u *Upstream) ask(ctx context.Context, addr string, d Destination, r *Request) (*Response, error) {
	p, attempt := u.pool(d.Workload), *r
	body, release := hold(r.Body)
	attempt.Body = body
	req, err := outgoing(ctx, addr, d.Workload.Plaintext, &attempt)
	if err != nil {
		r.Body.Close()
		return nil, err
	}
	t := p.http1
	if r.Head.IsGRPC() {
		t = p.http2
	}
	resp, err := t.RoundTrip(req) //nolint:bodyclose // the caller's to close, as Response.Body
	if !notReached(err) {
		release()
	}
	if err != nil {
		return nil, fmt.Errorf("ask %s at %s: %w", d.Workload.ID, addr, err)
	}
	return incoming(resp, addr), nil
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
	return &http.Transport{
		Protocols: versions,
		DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
			return u.connecting(ctx, addr, nil)
		},
		// The handshake is complete before a byte is sent, so that a workload that
		// is not who it should be never gets one.
		DialTLSContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
			return u.connecting(ctx, addr, func(ctx context.Context, raw net.Conn) (net.Conn, error) {
				return handshake(ctx, raw, certs.ClientTLS(u.source, certs.AuthorizeID(id), alpn))
			})
		},
		DisableCompression:     true, // a body is relayed as it is
		MaxIdleConnsPerHost:    maxIdle,
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: maxHead,
	}
}
