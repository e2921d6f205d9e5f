package certs

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// The Workload API is on this host: a restart of it is over in a moment, and
// gRPC's own bound of two minutes would outlast short SVIDs.
const (
	firstRetry = 100 * time.Millisecond
	lastRetry  = 5 * time.Second
)

// NewSource opens a Workload API and waits until ctx ends for the first SVID and
// JWT bundles; the caller sets the deadline, because a Workload API that knows no
// such workload makes its clients wait for ever. Afterwards the source follows
// the Workload API until Close, whatever becomes of ctx, and keeps what it has
// while the Workload API is away.
func NewSource(ctx context.Context, o Options) (*Source, error) {
	log := o.Log
	if log == nil {
		log = zap.NewNop()
	}
	addr := o.WorkloadAPI
	if addr == "" {
		addr, _ = workloadapi.GetDefaultAddress()
	}
	if addr == "" {
		return nil, errors.New("open Workload API: no address: set SPIFFE_ENDPOINT_SOCKET or configure one")
	}
	client, err := workloadapi.New(ctx, clientOptions(addr)...)
	if err != nil {
		return nil, fmt.Errorf("open Workload API %q: %w", addr, err)
	}
	w := newWatch(newSource(o.Bundles), client, log.Named("certs"))
	w.want = o.ID
	if err := w.start(ctx); err != nil {
		_ = w.close() // a connection that gave nothing
		return nil, fmt.Errorf("fetch SVID from Workload API %q: %w", addr, err)
	}
	return w.source, nil
}

func clientOptions(addr string) []workloadapi.ClientOption {
	params := grpc.ConnectParams{
		Backoff:           backoff.Config{BaseDelay: firstRetry, Multiplier: 2, Jitter: 0.2, MaxDelay: lastRetry},
		MinConnectTimeout: lastRetry,
	}
	return []workloadapi.ClientOption{
		workloadapi.WithAddr(addr),
		workloadapi.WithBackoffStrategy(retries{}),
		workloadapi.WithDialOptions(grpc.WithConnectParams(params)),
	}
}

// retries waits exponentially longer, with jitter, from firstRetry to lastRetry.
type retries struct{}

// NewBackoff implements workloadapi.BackoffStrategy.
func (retries) NewBackoff() workloadapi.Backoff { return &retry{next: firstRetry} }

type retry struct{ next time.Duration }

// Next implements workloadapi.Backoff.
func (r *retry) Next() time.Duration {
	d := r.next
	r.next = min(2*d, lastRetry)
	return d/2 + rand.N(d/2)
}

// Reset implements workloadapi.Backoff.
func (r *retry) Reset() { r.next = firstRetry }

// watch feeds a source from a Workload API: two streams, one goroutine each.
type watch struct {
	source *Source
	client *workloadapi.Client
	log    *zap.Logger
	cancel context.CancelFunc
	ended  sync.WaitGroup
	want   spiffeid.ID // whose SVID is taken of several; the stream's own goroutine changes it

	haveX509, haveJWT func() // say once that the first answer came
	x509, jwt         <-chan struct{}

	mu   sync.Mutex // guards last
	last error      // why the Workload API gave nothing the last time
}

var (
	_ workloadapi.X509ContextWatcher = (*watch)(nil)
	_ workloadapi.JWTBundleWatcher   = (*watch)(nil)
)

func newWatch(s *Source, client *workloadapi.Client, log *zap.Logger) *watch {
	w := &watch{source: s, client: client, log: log}
	w.haveX509, w.x509 = once()
	w.haveJWT, w.jwt = once()
	s.stop = w.close
	s.mintJWT = w.mintJWT
	return w
}

func once() (func(), <-chan struct{}) {
	ch := make(chan struct{})
	return sync.OnceFunc(func() { close(ch) }), ch
}

// start begins to follow the Workload API and returns with its first answers.
func (w *watch) start(ctx context.Context) error {
	watching, cancel := context.WithCancel(context.WithoutCancel(ctx))
	w.cancel = cancel
	w.ended.Go(func() { _ = w.client.WatchX509Context(watching, w) }) // its errors come to OnX509ContextWatchError
	w.ended.Go(func() { _ = w.client.WatchJWTBundles(watching, w) })
	for _, first := range []<-chan struct{}{w.x509, w.jwt} {
		select {
		case <-first:
		case <-ctx.Done():
			if last := w.lastError(); last != nil {
				return fmt.Errorf("%w: it last said: %w", ctx.Err(), last)
			}
			return ctx.Err()
		}
	}
	// Nobody has seen the source yet: its first content is no change.
	select {
	case <-w.source.updated:
	default:
	}
	return nil
}

func (w *watch) close() error {
	w.cancel()
	w.ended.Wait()
	return w.client.Close()
}

// OnX509ContextUpdate implements workloadapi.X509ContextWatcher.
func (w *watch) OnX509ContextUpdate(c *workloadapi.X509Context) {
	svid := w.choose(c.SVIDs)
	if err := w.source.set(svid, c.Bundles, nil); err != nil {
		w.fault("svid refused", err)
		return
	}
	w.want = svid.ID
	w.log.Info("svid received", zap.Stringer("id", svid.ID),
		zap.Time("not_after", svid.Certificates[0].NotAfter), zap.Int("bundles", c.Bundles.Len()))
	w.haveX509()
}

// choose is the SVID that the source is of. Which one comes first may change: SPIRE
// orders them by the IDs of their entries, which are random, so that an entry that is
// made for the same workload later may come before the one that it has had.
func (w *watch) choose(svids []*x509svid.SVID) *x509svid.SVID {
	for _, svid := range svids {
		if svid.ID == w.want {
			return svid
		}
	}
	return svids[0] // there is one: X509-SVIDs without any are an error of the client's
}

// OnJWTBundlesUpdate implements workloadapi.JWTBundleWatcher.
func (w *watch) OnJWTBundlesUpdate(b *jwtbundle.Set) {
	if err := w.source.set(nil, nil, b); err != nil {
		w.fault("jwt bundles refused", err)
		return
	}
	w.haveJWT()
}

// OnX509ContextWatchError implements workloadapi.X509ContextWatcher.
func (w *watch) OnX509ContextWatchError(err error) { w.fault("workload api gave no svid", err) }

// OnJWTBundlesWatchError implements workloadapi.JWTBundleWatcher. A Workload API
// may have no JWT-SVIDs at all; then no JWT-SVID validates, and that is all.
func (w *watch) OnJWTBundlesWatchError(err error) {
	if status.Code(err) == codes.Unimplemented {
		w.haveJWT()
	}
	w.fault("workload api gave no jwt bundles", err)
}

func (w *watch) fault(what string, err error) {
	if status.Code(err) == codes.Canceled {
		return // Close
	}
	w.log.Warn(what, zap.Error(err))
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last = err
}

func (w *watch) lastError() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last
}

func (w *watch) mintJWT(ctx context.Context, audience string) (string, time.Time, error) {
	svid, err := w.client.FetchJWTSVID(ctx, jwtsvid.Params{Audience: audience, Subject: w.source.id})
	if err != nil {
		return "", time.Time{}, err
	}
	if svid.ID != w.source.id {
		return "", time.Time{}, fmt.Errorf("the Workload API gave one of %s", svid.ID)
	}
	return svid.Marshal(), svid.Expiry, nil
}
