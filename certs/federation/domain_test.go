package federation

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/sallyport-mesh/sallyport/certs/certstest"
	configv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/config/v1"
)

const testName = "/sallyport/authority/main"

var (
	aws  = spiffeid.RequireTrustDomainFromString("aws.test")
	self = spiffeid.RequireTrustDomainFromString("onprem.test")
)

// fakeAuthority is a trust domain whose roots come and go: each is a trust domain
// of the same name with a root of its own.
type fakeAuthority struct {
	t  testing.TB
	td spiffeid.TrustDomain

	mu       sync.Mutex // guards what follows
	roots    []*certstest.Domain
	sequence uint64
	hint     time.Duration
	changed  chan struct{}
}

func newAuthority(t testing.TB, td spiffeid.TrustDomain) *fakeAuthority {
	t.Helper()
	a := &fakeAuthority{t: t, td: td, changed: make(chan struct{}), hint: time.Minute}
	a.add(a.newRoot())
	return a
}

func (a *fakeAuthority) newRoot() *certstest.Domain {
	a.t.Helper()
	return certstest.Mesh(a.t, a.td.Name())[a.td.Name()]
}

// add puts a root beside those there are.
func (a *fakeAuthority) add(root *certstest.Domain) {
	a.become(func() { a.roots = append(a.roots, root) })
}

// drop removes the oldest root.
func (a *fakeAuthority) drop() { a.become(func() { a.roots = a.roots[1:] }) }

func (a *fakeAuthority) become(what func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sequence++
	what()
	close(a.changed)
	a.changed = make(chan struct{})
}

func (a *fakeAuthority) newest() *certstest.Domain {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.roots[len(a.roots)-1]
}

func (a *fakeAuthority) Bundle() *spiffebundle.Bundle {
	a.mu.Lock()
	defer a.mu.Unlock()
	b := spiffebundle.New(a.td)
	for _, d := range a.roots {
		for _, root := range d.Bundle().X509Authorities() {
			b.AddX509Authority(root)
		}
		for id, key := range d.Bundle().JWTAuthorities() {
			if err := b.AddJWTAuthority(id, key); err != nil {
				a.t.Error(err)
			}
		}
	}
	b.SetSequenceNumber(a.sequence)
	b.SetRefreshHint(a.hint)
	return b
}

func (a *fakeAuthority) Changed() <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.changed
}

func (a *fakeAuthority) OwnSVIDs() ([]*x509svid.SVID, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var svids []*x509svid.SVID
	for _, d := range slices.Backward(a.roots) {
		svids = append(svids, svidOf(a.t, d, testName))
	}
	return svids, nil
}

func svidOf(t testing.TB, d *certstest.Domain, path string) *x509svid.SVID {
	t.Helper()
	svid, err := d.Source(path).GetX509SVID()
	if err != nil {
		t.Fatal(err)
	}
	return svid
}

func documentOf(t testing.TB, b *spiffebundle.Bundle) []byte {
	t.Helper()
	document, err := b.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return document
}

// signed is what an authority says now, under the roots that it has.
func (a *fakeAuthority) signed() *configv1.SignedBundle {
	a.t.Helper()
	svids, err := a.OwnSVIDs()
	if err != nil {
		a.t.Fatal(err)
	}
	s, err := sign(a.td, documentOf(a.t, a.Bundle()), svids, time.Now())
	if err != nil {
		a.t.Fatal(err)
	}
	return s
}

// anchors is a fixed set of anchors.
func anchors(all ...*spiffebundle.Bundle) func(spiffeid.TrustDomain) *x509bundle.Bundle {
	set := x509bundle.NewSet()
	for _, b := range all {
		set.Add(b.X509Bundle())
	}
	return func(td spiffeid.TrustDomain) *x509bundle.Bundle {
		b, _ := set.Get(td)
		return b
	}
}

// keeper opens one that knows the bundles of now.
func keeper(t testing.TB, dir string, known ...*fakeAuthority) *Keeper {
	t.Helper()
	var all []*spiffebundle.Bundle
	for _, a := range known {
		all = append(all, a.Bundle())
	}
	return keeperOf(t, Config{Self: self, Dir: dir, Anchor: anchors(all...)})
}

func keeperOf(t testing.TB, cfg Config) *Keeper {
	t.Helper()
	k, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func (k *Keeper) sequenceOf(td spiffeid.TrustDomain) uint64 {
	if h := k.get(td); h != nil {
		return h.sequence()
	}
	return 0
}
