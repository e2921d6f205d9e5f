package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	mrand "math/rand/v2"
	"net/url"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// signed is a certificate and its key.
type signed struct {
	*x509.Certificate
	key *ecdsa.PrivateKey
}

// world is certificates of two trust domains, good and bad ones, and the bundles of
// now.
type world struct {
	t       *testing.T
	rand    *mrand.Rand
	tds     [2]spiffeid.TrustDomain
	roots   []signed
	cas     []signed
	chains  [][]*x509.Certificate
	bundles *x509bundle.Set
	serial  int64
}

// sign makes a certificate that a parent signs; its own if that is nil.
func (w *world) sign(template *x509.Certificate, parent *signed) signed {
	w.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.certify(template, parent, key)
}

func (w *world) certify(template *x509.Certificate, parent *signed, key *ecdsa.PrivateKey) signed {
	w.t.Helper()
	w.serial++
	template.SerialNumber = big.NewInt(w.serial)
	by := parent
	if by == nil {
		by = &signed{template, key}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by.Certificate, key.Public(), by.key)
	if err != nil {
		w.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		w.t.Fatal(err)
	}
	return signed{cert, key}
}

// one is true once in n times.
func (w *world) one(n int) bool { return w.rand.IntN(n) == 0 }

// dates last for up to a day; some are over, some are to come.
func (w *world) dates(c *x509.Certificate) {
	c.NotBefore = time.Now().Add(-time.Hour)
	c.NotAfter = time.Now().Add(time.Duration(1+w.rand.IntN(24)) * time.Hour)
	if w.one(20) {
		c.NotBefore = time.Now().Add(time.Duration(w.rand.IntN(4)) * time.Hour)
	}
}

// ca is a template of what signs, in most cases a good one.
func (w *world) ca(td spiffeid.TrustDomain) *x509.Certificate {
	c := &x509.Certificate{
		Subject:  pkix.Name{CommonName: fmt.Sprint("ca ", w.rand.IntN(6))}, // some share a name
		KeyUsage: x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: true,
		URIs: []*url.URL{td.ID().URL()}, MaxPathLen: -1,
	}
	w.dates(c)
	switch w.rand.IntN(20) {
	case 0:
		c.MaxPathLen, c.MaxPathLenZero = 0, true
	case 1:
		c.MaxPathLen = 1
	case 2, 10, 11:
		c.PermittedURIDomains = []string{w.tds[w.rand.IntN(2)].Name()}
	case 3, 12:
		c.ExcludedURIDomains = []string{w.tds[w.rand.IntN(2)].Name()}
	case 4:
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}
	case 5:
		c.IsCA = false
	case 6:
		c.KeyUsage = x509.KeyUsageDigitalSignature
	case 7:
		c.ExtraExtensions = []pkix.Extension{w.strange()}
	case 8, 9:
		c.ExtraExtensions, c.Policies = []pkix.Extension{explicit}, []x509.OID{mustOID(w.t)}
	}
	return c
}

// explicit says that all below must have policies (RFC 5280, section 4.2.1.11).
var explicit = pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 36}, Critical: true, Value: []byte{0x30, 0x03, 0x80, 0x01, 0x00}}

// strange is an extension that nobody knows.
func (w *world) strange() pkix.Extension {
	return pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Critical: w.one(2), Value: []byte{5, 0}}
}

func (w *world) leaf(by *signed) signed {
	id := spiffeid.RequireFromPath(w.tds[w.rand.IntN(2)], "/workload")
	c := &x509.Certificate{
		Subject:  pkix.Name{CommonName: fmt.Sprint("leaf ", w.rand.IntN(3))},
		KeyUsage: x509.KeyUsageDigitalSignature, BasicConstraintsValid: true, URIs: []*url.URL{id.URL()},
	}
	w.dates(c)
	switch w.rand.IntN(16) {
	case 0:
		c.Subject = w.roots[w.rand.IntN(len(w.roots))].Subject
	case 1:
		c.IsCA = true
	case 2:
		c.DNSNames = []string{"a.example"}
	case 3:
		c.ExtraExtensions = []pkix.Extension{w.strange()}
	case 4, 5, 6:
		c.Policies = []x509.OID{mustOID(w.t)}
	case 7:
		c.Policies, c.ExtraExtensions = []x509.OID{mustOID(w.t)}, []pkix.Extension{explicit}
	}
	return w.sign(c, by)
}

func mustOID(t *testing.T) x509.OID {
	oid, err := x509.OIDFromInts([]uint64{1, 2, 3, 5})
	if err != nil {
		t.Fatal(err)
	}
	return oid
}

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{
		t: t, rand: mrand.New(mrand.NewPCG(seed, 0)), bundles: x509bundle.NewSet(),
		tds: [2]spiffeid.TrustDomain{spiffeid.RequireTrustDomainFromString("one.test"), spiffeid.RequireTrustDomainFromString("two.test")},
	}
	pick := func(of []signed) *signed { return &of[w.rand.IntN(len(of))] }
	for i := range 4 {
		w.roots = append(w.roots, w.sign(w.ca(w.tds[i%2]), nil))
	}
	for i := range 8 {
		by := pick(w.roots)
		if i > 5 {
			by = pick(w.cas) // one more between
		}
		w.cas = append(w.cas, w.sign(w.ca(w.tds[w.rand.IntN(2)]), by))
	}
	for range 24 {
		by := pick(w.cas)
		chain := []*x509.Certificate{w.leaf(by).Certificate, by.Certificate}
		switch w.rand.IntN(8) {
		case 0:
			chain[1] = pick(w.cas).Certificate // another's
		case 1:
			chain = append(chain, pick(w.cas).Certificate)
		case 2:
			root := pick(w.roots)
			chain = []*x509.Certificate{w.leaf(root).Certificate, root.Certificate}
		}
		w.chains = append(w.chains, chain)
	}
	return w
}

// step changes what may change: time and bundles.
func (w *world) step() {
	switch w.rand.IntN(6) {
	case 0:
		<-time.After(time.Duration(w.rand.IntN(120)) * time.Minute)
	case 1, 2:
		b := x509bundle.New(w.tds[w.rand.IntN(2)])
		for _, root := range w.roots {
			if !w.one(4) {
				b.AddX509Authority(root.Certificate)
			}
		}
		w.bundles.Add(b)
	case 3:
		if w.one(4) {
			w.bundles.Remove(w.tds[w.rand.IntN(2)])
		}
	}
}

// TestKnownIntermediatesChangeNothing holds what is remembered against
// x509svid.Verify, which remembers nothing, over all that may be wrong with a chain
// and all that may change between two handshakes.
func TestKnownIntermediatesChangeNothing(t *testing.T) {
	good, short := 0, 0
	for seed := range uint64(120) {
		synctest.Test(t, func(t *testing.T) {
			w, known := newWorld(t, seed), new(intermediates)
			for range 400 {
				w.step()
				chain := w.chains[w.rand.IntN(len(w.chains))]
				id, notSVID := leafID(chain)
				fromMemory := notSVID == nil && known.verify(w.bundles, id.TrustDomain(), chain, time.Now()) != nil
				_, verified, err := verifyChain(w.bundles, chain, known, time.Now())
				_, want, wantErr := x509svid.Verify(chain, w.bundles, x509svid.WithTime(time.Now()))
				if (err == nil) != (wantErr == nil) || fromMemory && wantErr != nil {
					t.Fatalf("seed %d: verifyChain = %v, x509svid.Verify = %v, from memory %t", seed, err, wantErr, fromMemory)
				}
				if err == nil && !slices.ContainsFunc(want, func(c []*x509.Certificate) bool { return slices.EqualFunc(c, verified, (*x509.Certificate).Equal) }) {
					t.Fatalf("seed %d: the chain is none of those that x509svid.Verify gives", seed)
				}
				if err == nil {
					good++
				}
				if fromMemory {
					short++
				}
			}
		})
	}
	t.Logf("%d were good, %d of them from memory", good, short)
	if good < 500 || short < 100 {
		t.Errorf("%d were good and %d from memory: too few to say something", good, short)
	}
}

// TestKnownIntermediatesMakeNoLoops: a root is none for an SVID of the same name and
// key, as crypto/x509 has it.
func TestKnownIntermediatesMakeNoLoops(t *testing.T) {
	w, known := newWorld(t, 0), new(intermediates)
	template := func(name string, ca bool, path string) *x509.Certificate {
		return &x509.Certificate{
			Subject: pkix.Name{CommonName: name}, URIs: []*url.URL{spiffeid.RequireFromPath(w.tds[0], path).URL()},
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
			BasicConstraintsValid: true, IsCA: ca, MaxPathLen: -1,
		}
	}
	root := w.sign(template("same", true, "/workload"), nil)
	by := w.sign(template("intermediate", true, "/ca"), &root)
	w.bundles.Add(x509bundle.FromX509Authorities(w.tds[0], []*x509.Certificate{root.Certificate}))
	for _, c := range []struct {
		leaf signed
		good bool
	}{{w.sign(template("same", false, "/workload"), &by), true}, {w.certify(template("same", false, "/workload"), &by, root.key), false}} {
		chain := []*x509.Certificate{c.leaf.Certificate, by.Certificate}
		for range 2 {
			_, _, err := verifyChain(w.bundles, chain, known, time.Now())
			if _, _, want := x509svid.Verify(chain, w.bundles); (err == nil) != c.good || (want == nil) != c.good {
				t.Errorf("good %t: verifyChain = %v, x509svid.Verify = %v", c.good, err, want)
			}
		}
	}
}

// TestKnownIntermediatesAreBounded: they are forgotten when there are too many.
func TestKnownIntermediatesAreBounded(t *testing.T) {
	w, known := newWorld(t, 1), new(intermediates)
	for i := range maxIntermediates + 10 {
		known.keep([]*x509.Certificate{{}, {Raw: fmt.Append(nil, i)}, w.roots[0].Certificate})
	}
	if n := len(known.known); n > maxIntermediates {
		t.Errorf("%d are remembered, want at most %d", n, maxIntermediates)
	}
}
