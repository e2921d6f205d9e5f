// Package authority is the issuer of one environment: a root of its own with an
// intermediate, and a Workload API for the workloads and gateways on its host. It
// is small on purpose, and no SPIRE: it attests processes of its own host, and
// entries are given at start. One invariant: an SVID goes to nobody but a process
// that the kernel says is what an entry asks for, of an ID that the policy
// registers where there is one, and not before it is in the issuing log.
package authority

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/sallyport-mesh/sallyport/certs/authority/admin"
	"github.com/sallyport-mesh/sallyport/certs/authority/attest"
	"github.com/sallyport-mesh/sallyport/certs/authority/ca"
	"github.com/sallyport-mesh/sallyport/certs/authority/issued"
	"github.com/sallyport-mesh/sallyport/certs/internal/unixsock"
)

// Registry says whom the policy registers. All methods may be called concurrently.
type Registry interface {
	// Check fails if no SVID of the ID may be issued now, and says why.
	Check(id spiffeid.ID) error
	// Changed is closed when Check may answer otherwise from now on.
	Changed() <-chan struct{}
}

// Authority issues the SVIDs of a trust domain.
type Authority struct {
	cfg      Config
	own      spiffeid.ID
	ca       *ca.CA
	issued   *issued.Log
	attestor *attest.Attestor
	log      *zap.Logger
	served   []*endpoint
	admin    net.Listener     // nil if there is none
	now      func() time.Time // another clock in tests

	mu        sync.Mutex // guards what follows
	federated map[spiffeid.TrustDomain]*spiffebundle.Bundle
	lacking   func(sequence uint64) ([]string, error)
	changed   chan struct{} // closed and replaced when workloads are to be told something
}

// New loads the keys in the directory, or makes them where there are none, and
// binds the sockets. All faults of a Config are told at once.
func New(c Config) (*Authority, error) {
	entries, err := c.complete()
	if err != nil {
		return nil, err
	}
	a := &Authority{
		cfg: c, log: c.Log, now: time.Now, attestor: attest.New(),
		own:       spiffeid.RequireFromSegments(c.TrustDomain, "sallyport", "authority", c.Name),
		federated: map[spiffeid.TrustDomain]*spiffebundle.Bundle{},
		lacking:   func(uint64) ([]string, error) { return nil, nil },
		changed:   make(chan struct{}),
	}
	if err := a.open(entries); err != nil {
		return nil, errors.Join(err, a.close())
	}
	return a, nil
}

// open opens all that must be closed.
func (a *Authority) open(entries []*entry) (err error) {
	a.ca, err = ca.Open(ca.Config{
		TrustDomain: a.cfg.TrustDomain, Dir: a.cfg.Dir, Keys: a.cfg.Keys,
		RootLife: a.cfg.RootLife, IntermediateLife: a.cfg.IntermediateLife, RefreshHint: a.cfg.RefreshHint,
	}, a.now())
	if err != nil {
		return err
	}
	if a.issued, err = issued.Open(a.cfg.Dir); err != nil {
		return err
	}
	if a.cfg.Admin {
		if a.admin, err = unixsock.Listen(filepath.Join(a.cfg.Dir, admin.Socket), 0o600); err != nil {
			return fmt.Errorf("bind admin socket: %w", err)
		}
	}
	a.served, err = bindAll(entries)
	return err
}

func (a *Authority) close() error {
	unbind(a.served)
	if a.admin != nil {
		_ = a.admin.Close() // closed by the server already where it ran
	}
	var err error
	if a.issued != nil {
		err = a.issued.Close()
	}
	if a.ca != nil {
		a.ca.Close()
	}
	return err
}

// Run serves the Workload API and renews intermediates until ctx ends; then all
// streams end and the sockets are removed. It is called once.
func (a *Authority) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, e := range a.served {
		group.Go(func() error { return a.serve(ctx, e) })
	}
	if a.admin != nil {
		group.Go(func() error { return admin.Serve(ctx, a.admin, a, a.log) })
	}
	group.Go(func() error { return a.renew(ctx) })
	if a.cfg.Registry != nil {
		group.Go(func() error { return a.followRegistry(ctx) })
	}
	<-ctx.Done()
	return errors.Join(group.Wait(), a.close())
}

func (a *Authority) serve(ctx context.Context, e *endpoint) error {
	server := newServer(a, e)
	defer context.AfterFunc(ctx, server.Stop)()
	a.log.Info("workload api up", zap.Stringers("ids", e.ids()), zap.String("socket", e.socket))
	if err := server.Serve(e.listener); err != nil && ctx.Err() == nil {
		return fmt.Errorf("serve Workload API at %q: %w", e.socket, err)
	}
	return nil
}

func (a *Authority) followRegistry(ctx context.Context) error {
	for {
		changed := a.cfg.Registry.Changed()
		a.signal() // of what has changed before that, too
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}

// Bundle is what others verify this trust domain's SVIDs with.
func (a *Authority) Bundle() *spiffebundle.Bundle { return a.ca.View().Bundle.Clone() }

// Changed is closed when anything changes that workloads are told: the bundle,
// what issues, who is registered, federated bundles. Ask for it before the state
// that it is about.
func (a *Authority) Changed() <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.changed
}

func (a *Authority) signal() {
	a.mu.Lock()
	defer a.mu.Unlock()
	close(a.changed)
	a.changed = make(chan struct{})
}

// SetFederated replaces the bundles of other trust domains that workloads get
// beside their own, on all open streams at once. A bundle of the authority's own
// trust domain is left out: nobody else says who is in it.
func (a *Authority) SetFederated(bundles ...*spiffebundle.Bundle) {
	federated := make(map[spiffeid.TrustDomain]*spiffebundle.Bundle, len(bundles))
	for _, b := range bundles {
		if b.TrustDomain() == a.cfg.TrustDomain {
			a.log.Warn("foreign bundle of own trust domain left out", zap.Stringer("trust_domain", b.TrustDomain()))
			continue
		}
		federated[b.TrustDomain()] = b.Clone()
	}
	a.mu.Lock()
	a.federated = federated
	a.mu.Unlock()
	a.signal()
}

// bundles are those of all trust domains, this one's among them.
func (a *Authority) bundles() *spiffebundle.Set {
	set := spiffebundle.NewSet(a.Bundle())
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, b := range a.federated {
		set.Add(b)
	}
	return set
}

// OwnSVIDs are X509-SVIDs of the authority itself, one under each root of its
// bundle, the newest root first: whoever holds any root of the bundle can verify
// one of them. They are in the issuing log like all others.
func (a *Authority) OwnSVIDs() ([]*x509svid.SVID, error) {
	now := a.now()
	var svids []*x509svid.SVID
	var entries []issued.Entry
	for _, g := range slices.SortedFunc(slices.Values(a.ca.View().Generations), newestFirst) {
		svid, err := g.Issuer.X509SVID(a.own, nil, now, a.cfg.X509TTL)
		if err != nil {
			return nil, err
		}
		svids, entries = append(svids, svid), append(entries, x509Entry(&g, svid, now))
	}
	if err := a.issued.Append(entries...); err != nil {
		return nil, err
	}
	return svids, nil
}

func newestFirst(x, y ca.Generation) int { return cmp.Compare(y.Number, x.Number) }
