// Package upstream reaches destinations: the last leg of a crossing, from the
// ingress gateway to the workload. The invariant: a workload is reached over
// TLS with the very SPIFFE ID that the policy gives it, unless the policy
// accepts plaintext for it, and only at addresses it is bound to.
//
// A gRPC call is asked in HTTP/2, whose connections carry many at a time, all else
// in HTTP/1.1, whose connections carry one. The goroutine that asks writes the
// request and reads the answer. A second one writes what is still coming of a
// request's content.
package upstream

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/gateway/policy"
)

// ErrNoEndpoint says that no binding tells where the service is.
var ErrNoEndpoint = errors.New("no binding says where the service is")

const (
	// dialTimeout bounds the time until a destination is connected, whatever the
	// number of endpoints.
	dialTimeout = 10 * time.Second
	idleTimeout = 90 * time.Second
	maxIdle     = 256 // for each endpoint: what HTTP/2 callers have open, of as many HTTP/1.1 connections as that takes
	// firstByteTimeout is long because of models that think, or wait in a queue,
	// before they say anything.
	firstByteTimeout = 10 * time.Minute
)

// Destination is a service of a workload.
type Destination struct {
	Workload *policy.Workload
	Service  *policy.Service
}

// Limits bound the wait for an answer.
type Limits struct {
	// FirstByte from the request's end until the answer's head has come, for a call
	// without a deadline of its own (grpc-timeout). Default 10 min.
	FirstByte time.Duration
	// Idle between two pieces of an answer. Default none: the wait for the next
	// event of a stream, or for what a long poll waits for, has no bound, and the
	// caller ends it.
	Idle time.Duration
}

// endpoints tells where a service of a workload is, as HOST:PORT. What it gives
// is not changed by either side.
type endpoints interface {
	Endpoints(workload, service string) []string
}

// Upstream pools connections to the workloads of one environment.
type Upstream struct {
	source      *certs.Source
	endpoints   endpoints
	limits      Limits
	dialTimeout time.Duration
	calls       sync.Pool         // *call
	h2Calls     sync.Pool         // *h2Call
	updates     atomic.Uint64     // of the source, as Run has heard
	shown       *x509.Certificate // the SVID of the source in New
	distrusted  func()            // nil if nobody is told

	mu         sync.Mutex // guards what follows
	transports map[transportKey]transport
	sockets    map[*socket]struct{} // whose peers are verified again
	turns      map[turnKey]uint64   // rotate over a service's endpoints
	dead       map[string]time.Time // endpoints to try last, and until when
}

// transportKey is what a connection was verified for: another identity, or
// another acceptance of plaintext, never uses it again.
type transportKey struct {
	id        spiffeid.ID
	plaintext bool
	http2     bool
}

type turnKey struct{ workload, service string }

// New makes an upstream that shows source's SVID and finds workloads by e. Run
// keeps it up to date with the source.
func New(source *certs.Source, e endpoints, limits Limits) *Upstream {
	if limits.FirstByte == 0 {
		limits.FirstByte = firstByteTimeout
	}
	u := &Upstream{
		source: source, endpoints: e, limits: limits, dialTimeout: dialTimeout,
		transports: map[transportKey]transport{}, sockets: map[*socket]struct{}{},
		turns: map[turnKey]uint64{}, dead: map[string]time.Time{},
	}
	u.calls.New, u.h2Calls.New, u.shown = newCall, newH2Call, u.leaf()
	return u
}

// OnDistrust has f called when the SVIDs of workloads turn out not to be good any
// more, before their connections are broken. It is to be called before Run.
func (u *Upstream) OnDistrust(f func()) { u.distrusted = f }

// CloseIdle closes connections that carry nothing.
func (u *Upstream) CloseIdle() { u.closeIdle(false) }

func (u *Upstream) closeIdle(old bool) {
	u.mu.Lock()
	all := make([]transport, 0, len(u.transports))
	for _, t := range u.transports {
		all = append(all, t)
	}
	u.mu.Unlock()
	for _, t := range all {
		t.closeIdle(old)
	}
}

// RoundTrip asks the destination. Connect is for byte streams. After an error
// Wait says when Body is not used any more.
func (u *Upstream) RoundTrip(ctx context.Context, d Destination, r *Request) (*Response, error) {
	r.transport = u.transport(transportKey{d.Workload.ID, d.Workload.Plaintext, r.Head.IsGRPC()})
	err := u.try(ctx, d, r)
	if err != nil {
		r.free()
		return nil, fmt.Errorf("ask %s: %w", d.Workload.ID, err)
	}
	r.resp.Tries = r.tries
	return r.resp, nil
}

func (u *Upstream) transport(key transportKey) transport {
	u.mu.Lock()
	defer u.mu.Unlock()
	t := u.transports[key]
	if t == nil {
		if key.http2 {
			t = newH2Pool(u, key)
		} else {
			t = newPool(u, key)
		}
		u.transports[key] = t
	}
	return t
}

// safe says that a method asks for nothing to be done (RFC 9110 9.2.1).
func safe(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}
