// Package certstest gives tests sources of SVIDs without sockets, files or
// goroutines, so that they work in a synctest bubble: trust domains in memory,
// federated with one another. It is no fake of verification: everything that is
// checked in production is checked with it too. Make a Mesh inside the bubble
// that uses it, because its certificates begin at the clock's now.
package certstest

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"sync"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/certs/authority/ca"
	"github.com/sallyport-mesh/sallyport/certs/internal/issuer"
)

// Domain is a trust domain in memory with its issuer and the bundles that its
// sources check others with.
type Domain struct {
	// NotBefore shifts the clock of the issuer: what it makes from then on is
	// dated as if made so much later (or earlier, below 0).
	NotBefore time.Duration
	// TTL is how long X509-SVIDs and JWT-SVIDs last. Default one hour.
	TTL time.Duration

	t      testing.TB
	td     spiffeid.TrustDomain
	issuer *issuer.Issuer
	root   crypto.Signer // nil if nobody has it
	x509   *x509bundle.Set
	jwt    *jwtbundle.Set

	mu      sync.Mutex // guards sources
	sources map[*certs.Source][]string
}

// Mesh makes trust domains that are federated with one another, by name.
func Mesh(t testing.TB, tds ...string) map[string]*Domain {
	t.Helper()
	mesh := make(map[string]*Domain, len(tds))
	for _, name := range tds {
		mesh[name] = newDomain(t, name)
	}
	for _, d := range mesh {
		for _, other := range mesh {
			d.Trust(other.Bundle())
		}
	}
	return mesh
}

// Stolen is the trust domain of an authority whose keys are in the directory, as
// certs/authority keeps them: what a test makes with it, others take for the
// authority's own. Its sources know no bundles but its own until they Trust some.
func Stolen(t testing.TB, name, dir string) *Domain {
	t.Helper()
	td := trustDomain(t, name)
	i, err := ca.Stolen(dir, td)
	if err != nil {
		t.Fatalf("keys of %q: %v", name, err)
	}
	d := domainOf(t, td, i)
	if d.root, err = ca.StolenRoot(dir, td); err != nil {
		t.Fatalf("root key of %q: %v", name, err)
	}
	d.Trust(d.Bundle())
	return d
}

func newDomain(t testing.TB, name string) *Domain {
	t.Helper()
	td := trustDomain(t, name)
	i, err := issuer.Ephemeral(td, time.Now())
	if err != nil {
		t.Fatalf("issuer of %q: %v", name, err)
	}
	return domainOf(t, td, i)
}

func trustDomain(t testing.TB, name string) spiffeid.TrustDomain {
	t.Helper()
	td, err := spiffeid.TrustDomainFromString(name)
	if err != nil {
		t.Fatalf("trust domain %q: %v", name, err)
	}
	return td
}

func domainOf(t testing.TB, td spiffeid.TrustDomain, i *issuer.Issuer) *Domain {
	return &Domain{
		TTL: time.Hour, t: t, td: td, issuer: i,
		x509: x509bundle.NewSet(), jwt: jwtbundle.NewSet(),
		sources: map[*certs.Source][]string{},
	}
}

// ID is the SPIFFE ID with a path, such as "/payments/agent", in this domain.
func (d *Domain) ID(path string) spiffeid.ID {
	d.t.Helper()
	id, err := spiffeid.FromPath(d.td, path)
	if err != nil {
		d.t.Fatalf("SPIFFE ID with path %q: %v", path, err)
	}
	return id
}

// TrustDomain is the domain's name.
func (d *Domain) TrustDomain() spiffeid.TrustDomain { return d.td }

// Bundle is what others verify this domain's SVIDs with.
func (d *Domain) Bundle() *spiffebundle.Bundle { return d.issuer.Bundle() }

// Roots is Bundle as a pool, for clients that know nothing of SPIFFE.
func (d *Domain) Roots() *x509.CertPool {
	pool := x509.NewCertPool()
	for _, root := range d.Bundle().X509Authorities() {
		pool.AddCert(root)
	}
	return pool
}

// Source is a new source whose SVID has the ID of the path and the DNS names.
// It shares this domain's bundles.
func (d *Domain) Source(path string, dns ...string) *certs.Source {
	d.t.Helper()
	id := d.ID(path)
	s := certs.NewStaticSource(d.svid(id, dns, d.TTL), d.x509, d.jwt,
		func(_ context.Context, audience string) (string, time.Time, error) {
			now := d.now()
			svid, err := d.issuer.JWTSVID(id, []string{audience}, now, d.TTL)
			if err != nil {
				return "", time.Time{}, err
			}
			return svid.Token, svid.Expiry, nil
		})
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sources[s] = dns
	return s
}

// SetExpired gives a source of this domain an SVID that expired a second ago.
func (d *Domain) SetExpired(s *certs.Source) { d.refresh(s, -time.Second) }

// Rotate gives a source of this domain a new SVID of the same ID.
func (d *Domain) Rotate(s *certs.Source) { d.refresh(s, d.TTL) }

// Distrust takes a trust domain's bundle away from all sources of this one and
// signals them.
func (d *Domain) Distrust(td string) {
	d.t.Helper()
	name := trustDomain(d.t, td)
	d.x509.Remove(name)
	d.jwt.Remove(name)
	d.signal()
}

// Trust gives a bundle to all sources of this domain and signals them.
func (d *Domain) Trust(b *spiffebundle.Bundle) {
	d.x509.Add(b.X509Bundle())
	d.jwt.Add(b.JWTBundle())
	d.signal()
}

// JWT is a JWT-SVID of the ID with the path, for one audience.
func (d *Domain) JWT(path, audience string) string {
	d.t.Helper()
	svid, err := d.issuer.JWTSVID(d.ID(path), []string{audience}, d.now(), d.TTL)
	if err != nil {
		d.t.Fatalf("JWT-SVID: %v", err)
	}
	return svid.Token
}

// Certificate is an SVID for a TLS client or server that checks nothing of its
// own, such as a hostile peer or a client that knows nothing of SPIFFE. The ID
// may be of any trust domain: a look-alike is signed by this domain all the same.
func (d *Domain) Certificate(id spiffeid.ID, dns ...string) tls.Certificate {
	d.t.Helper()
	svid := d.svid(id, dns, d.TTL)
	c := tls.Certificate{PrivateKey: svid.PrivateKey, Leaf: svid.Certificates[0]}
	for _, cert := range svid.Certificates {
		c.Certificate = append(c.Certificate, cert.Raw)
	}
	return c
}

func (d *Domain) now() time.Time { return time.Now().Add(d.NotBefore) }

func (d *Domain) svid(id spiffeid.ID, dns []string, ttl time.Duration) *x509svid.SVID {
	d.t.Helper()
	svid, err := d.issuer.X509SVID(id, dns, d.now(), ttl)
	if err != nil {
		d.t.Fatalf("X509-SVID: %v", err)
	}
	return svid
}

func (d *Domain) refresh(s *certs.Source, ttl time.Duration) {
	d.t.Helper()
	d.mu.Lock()
	dns, ok := d.sources[s]
	d.mu.Unlock()
	if !ok {
		d.t.Fatalf("source of %s is not of trust domain %s", s.ID(), d.td)
	}
	if err := s.Refresh(d.svid(s.ID(), dns, ttl)); err != nil {
		d.t.Fatalf("refresh %s: %v", s.ID(), err)
	}
}

func (d *Domain) signal() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for s := range d.sources {
		if err := s.Refresh(nil); err != nil {
			d.t.Errorf("refresh %s: %v", s.ID(), err)
		}
	}
}
