// Package authority is the issuer of one environment: a root of its own and a
// Workload API for the workloads and gateways on its host. It is small on
// purpose, and no SPIRE: one root, no intermediates, and entries that are given
// at start. One invariant: an SVID goes to nobody but a process that the kernel
// says runs under a user of the entry whose socket it came through.
package authority

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/sallyport-mesh/sallyport/certs/authority/ca"
)

const (
	defaultX509TTL = time.Hour
	// maxJWTTTL is what the product's own verifiers accept. It is the default as
	// well: an SDK takes its API key at start and never again.
	maxJWTTTL = time.Hour
	// minX509TTL: certificates end on a whole second, up to one early, and must
	// outlast half of their life to be replaced in time.
	minX509TTL = 4 * time.Second
)

// Config is what an Authority is made of.
type Config struct {
	// TrustDomain is the one trust domain that it issues for.
	TrustDomain spiffeid.TrustDomain
	// Dir holds authority.pem (root and keys, mode 0600) and bundle.json (for
	// others). It is made if it is missing.
	Dir string
	// Entries are who gets an SVID.
	Entries []Entry
	// X509TTL is how long an X509-SVID lasts; it is replaced at half of it.
	// Default one hour, at least four seconds.
	X509TTL time.Duration
	// JWTTTL is how long a JWT-SVID lasts. Default and most one hour.
	JWTTTL time.Duration
	// Name tells the authorities of a trust domain apart: OwnSVIDs are of
	// spiffe://TRUSTDOMAIN/sallyport/authority/NAME. Default "main".
	Name string
	// RootLife is how long a root lasts. Default ten years.
	RootLife time.Duration
	// IntermediateLife is how long an intermediate lasts; at half of it, it is
	// replaced by itself. Default 30 days, at least four times X509TTL.
	IntermediateLife time.Duration
	// RefreshHint is how often others should look for the bundle (SPIFFE Trust
	// Domain and Bundle, section 4.1.2). Default one minute.
	RefreshHint time.Duration
	// Log may be nil.
	Log *zap.Logger
}

// Entry gives one SPIFFE ID to whoever connects to one socket under one of the
// users.
type Entry struct {
	// ID is of the authority's trust domain and has a path.
	ID spiffeid.ID
	// Socket is the absolute path of the Workload API's socket, at most 103
	// bytes. Each entry has its own.
	Socket string
	// DNSNames are put into the X509-SVID beside the ID; IP addresses among them
	// as such.
	DNSNames []string
	// UIDs are the users who may have the SVID. Empty: the one that this process
	// runs under. Root is not among them unless named.
	UIDs []uint32
}

// Authority issues the SVIDs of a trust domain.
type Authority struct {
	td      spiffeid.TrustDomain
	own     spiffeid.ID
	ca      *ca.CA
	x509TTL time.Duration
	jwtTTL  time.Duration
	log     *zap.Logger
	served  []endpoint
	now     func() time.Time // another clock in tests

	mu        sync.Mutex // guards what follows
	federated map[spiffeid.TrustDomain]*spiffebundle.Bundle
	changed   chan struct{} // closed and replaced when federated changes
}

// endpoint is one entry with its open socket.
type endpoint struct {
	entry    Entry
	listener net.Listener
}

// New loads the keys in the directory, or makes them where there are none, and
// binds the sockets. All faults of a Config are told at once.
func New(c Config) (*Authority, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	keep, err := ca.Open(ca.Config{
		TrustDomain: c.TrustDomain, Dir: c.Dir, RootLife: c.RootLife, IntermediateLife: c.IntermediateLife, RefreshHint: c.RefreshHint,
	}, time.Now())
	if err != nil {
		return nil, err
	}
	a := &Authority{
		td: c.TrustDomain, ca: keep, x509TTL: c.X509TTL, jwtTTL: c.JWTTTL, log: c.Log,
		own:       spiffeid.RequireFromSegments(c.TrustDomain, "sallyport", "authority", c.Name),
		now:       time.Now,
		federated: map[spiffeid.TrustDomain]*spiffebundle.Bundle{},
		changed:   make(chan struct{}),
	}
	for _, e := range c.Entries {
		l, err := bind(e)
		if err != nil {
			a.unbind()
			return nil, err
		}
		a.served = append(a.served, endpoint{entry: e, listener: l})
	}
	return a, nil
}

// validate fills in defaults and finds all faults.
func (c *Config) validate() error {
	if c.Log == nil {
		c.Log = zap.NewNop()
	}
	c.Log = c.Log.Named("authority")
	if c.X509TTL == 0 {
		c.X509TTL = defaultX509TTL
	}
	if c.JWTTTL == 0 {
		c.JWTTTL = maxJWTTTL
	}
	if c.Name == "" {
		c.Name = "main"
	}
	if c.RootLife == 0 {
		c.RootLife = 10 * 365 * 24 * time.Hour
	}
	if c.IntermediateLife == 0 {
		c.IntermediateLife = 30 * 24 * time.Hour
	}
	if c.RefreshHint == 0 {
		c.RefreshHint = time.Minute
	}
	var faults []error
	if c.TrustDomain.IsZero() {
		faults = append(faults, errors.New("trust domain is missing"))
	}
	if c.Dir == "" {
		faults = append(faults, errors.New("directory is missing"))
	}
	faults = append(faults, CheckX509TTL(c.X509TTL), CheckJWTTTL(c.JWTTTL))
	return errors.Join(append(faults, c.entryFaults()...)...)
}

// CheckX509TTL says whether X509-SVIDs may last so long.
func CheckX509TTL(ttl time.Duration) error {
	if ttl < minX509TTL {
		return fmt.Errorf("X509-SVIDs of %s: at least %s", ttl, minX509TTL)
	}
	return nil
}

// CheckJWTTTL says whether JWT-SVIDs may last so long.
func CheckJWTTTL(ttl time.Duration) error {
	if ttl < time.Second || ttl > maxJWTTTL {
		return fmt.Errorf("JWT-SVIDs of %s: from a second to %s", ttl, maxJWTTTL)
	}
	return nil
}

func (c *Config) entryFaults() []error {
	var faults []error
	sockets := map[string]spiffeid.ID{}
	for i, e := range c.Entries {
		if !e.ID.MemberOf(c.TrustDomain) || e.ID.Path() == "" {
			faults = append(faults, fmt.Errorf("entries[%d]: %q is no workload of trust domain %q", i, e.ID, c.TrustDomain.Name()))
		}
		if err := checkSocketPath(e.Socket); err != nil {
			faults = append(faults, fmt.Errorf("entries[%d]: %w", i, err))
		}
		if other, ok := sockets[e.Socket]; ok {
			faults = append(faults, fmt.Errorf("entries[%d]: socket %q is that of %s: each entry has its own", i, e.Socket, other))
		}
		sockets[e.Socket] = e.ID
	}
	return faults
}

// Bundle is what others verify this trust domain's SVIDs with.
func (a *Authority) Bundle() *spiffebundle.Bundle { return a.ca.View().Bundle.Clone() }

// Changed is closed when anything changes that workloads are told: the bundle,
// what issues, federated bundles. Ask for it before the state that it is about.
func (a *Authority) Changed() <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.changed
}

// OwnSVIDs are X509-SVIDs of the authority itself, one under each root of its
// bundle, the newest root first: whoever holds any root of the bundle can verify
// one of them.
func (a *Authority) OwnSVIDs() ([]*x509svid.SVID, error) {
	var svids []*x509svid.SVID
	for _, g := range slices.SortedFunc(slices.Values(a.ca.View().Generations), newestFirst) {
		svid, err := g.Issuer.X509SVID(a.own, nil, a.now(), a.x509TTL)
		if err != nil {
			return nil, err
		}
		svids = append(svids, svid)
	}
	return svids, nil
}

func newestFirst(x, y ca.Generation) int { return cmp.Compare(y.Number, x.Number) }

// SetFederated replaces the bundles of other trust domains that workloads get
// beside their own, on all open streams at once. A bundle of the authority's own
// trust domain is left out: nobody else says who is in it.
func (a *Authority) SetFederated(bundles ...*spiffebundle.Bundle) {
	federated := make(map[spiffeid.TrustDomain]*spiffebundle.Bundle, len(bundles))
	for _, b := range bundles {
		if b.TrustDomain() == a.td {
			a.log.Warn("foreign bundle of own trust domain left out", zap.Stringer("trust_domain", a.td))
			continue
		}
		federated[b.TrustDomain()] = b.Clone()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.federated = federated
	close(a.changed)
	a.changed = make(chan struct{})
}

// bundles are those of all trust domains, this one's among them, and a channel
// that is closed when they change.
func (a *Authority) bundles() (*spiffebundle.Set, <-chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	set := spiffebundle.NewSet(a.Bundle())
	for _, b := range a.federated {
		set.Add(b)
	}
	return set, a.changed
}

// Run serves the Workload API until ctx ends; then all streams end and the
// sockets are removed. It is called once.
func (a *Authority) Run(ctx context.Context) error {
	defer a.unbind()
	group, ctx := errgroup.WithContext(ctx)
	for _, e := range a.served {
		server := newServer(a, e.entry)
		stop := context.AfterFunc(ctx, server.Stop)
		defer stop()
		group.Go(func() error {
			a.log.Info("workload api up", zap.Stringer("id", e.entry.ID), zap.String("socket", e.entry.Socket))
			if err := server.Serve(e.listener); err != nil && ctx.Err() == nil {
				return fmt.Errorf("serve Workload API of %s at %q: %w", e.entry.ID, e.entry.Socket, err)
			}
			return nil
		})
	}
	<-ctx.Done()
	return group.Wait()
}

func (a *Authority) unbind() {
	for _, e := range a.served {
		_ = e.listener.Close() // closed by the server already where it ran
	}
}

func (a *Authority) issue(e Entry) (*x509svid.SVID, error) {
	return a.ca.View().Active().Issuer.X509SVID(e.ID, e.DNSNames, a.now(), a.x509TTL)
}
