package federation

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"go.uber.org/zap"

	"github.com/sallyport-mesh/sallyport/certs"
)

// WorkloadAuthority speaks for the issuer of a trust domain whose keys are
// somebody else's, such as a SPIRE server's: its SVID, of an authority's SPIFFE ID,
// comes from the Workload API, and the bundle from the issuer's own endpoint, which
// alone knows its sequence number.
type WorkloadAuthority struct {
	source   *certs.Source
	endpoint Endpoint
	follower Follower // that fetches
	log      *zap.Logger

	mu      sync.Mutex // guards what follows
	bundle  *spiffebundle.Bundle
	changed chan struct{}
}

var _ Authority = (*WorkloadAuthority)(nil)

// NewWorkloadAuthority makes one for the source's own trust domain, with the bundle
// as it is at the endpoint now. The keeper is joined to the source. log may be nil.
func NewWorkloadAuthority(ctx context.Context, source *certs.Source, k *Keeper, at Endpoint, log *zap.Logger) (*WorkloadAuthority, error) {
	if err := AuthorizeAuthority(source.TrustDomain(), source.ID()); err != nil {
		return nil, fmt.Errorf("publish the bundle of %s: %w", source.TrustDomain(), err)
	}
	if at.td != source.TrustDomain() {
		return nil, fmt.Errorf("publish the bundle of %s: the endpoint is that of %s", source.TrustDomain(), at.td)
	}
	if log == nil {
		log = zap.NewNop()
	}
	w := &WorkloadAuthority{
		source: source, endpoint: at, follower: Follower{Keeper: k, Own: source}, log: log.Named("federation"), changed: make(chan struct{}),
	}
	return w, w.look(ctx)
}

// look fetches the bundle.
func (w *WorkloadAuthority) look(ctx context.Context) error {
	document, err := w.follower.get(ctx, w.endpoint)
	if err != nil {
		return err
	}
	b, err := parse(w.endpoint.td, document, time.Now())
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !b.Equal(w.bundle) {
		w.bundle = b
		w.signal()
	}
	return nil
}

// signal tells of a change. The caller holds mu.
func (w *WorkloadAuthority) signal() {
	close(w.changed)
	w.changed = make(chan struct{})
}

// Run follows the endpoint and the Workload API until ctx ends.
func (w *WorkloadAuthority) Run(ctx context.Context) error {
	updated, stop := w.source.Subscribe()
	defer stop()
	for {
		if err := w.look(ctx); err != nil && ctx.Err() == nil {
			w.log.Warn("own bundle not fetched", zap.Error(err))
		}
		wait := hint(w.Bundle())
		select {
		case <-ctx.Done():
			return nil
		case <-updated: // a new SVID often means a new root
		case <-time.After(wait - rand.N(wait/5)):
		}
	}
}

// Bundle is the one that the endpoint had last.
func (w *WorkloadAuthority) Bundle() *spiffebundle.Bundle {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.bundle
}

// Changed is closed when the endpoint has another one.
func (w *WorkloadAuthority) Changed() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.changed
}

// OwnSVIDs is the SVID of now; the publisher keeps those before it while they last.
func (w *WorkloadAuthority) OwnSVIDs() ([]*x509svid.SVID, error) {
	svid, err := w.source.GetX509SVID()
	if err != nil {
		return nil, err
	}
	return []*x509svid.SVID{svid}, nil
}
