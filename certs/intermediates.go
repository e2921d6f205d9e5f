package certs

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// maxIntermediates bounds what is remembered of intermediates.
const maxIntermediates = 1024

// intermediates remembers those whose signature was verified, by their digest: all
// SVIDs of a trust domain come with the same one. What it says goes for chains of an
// SVID, an intermediate and a root whose extensions are but the few that are told in
// plainExtensions. Of such a chain, all that can be another the next time is looked
// at again: the SVID, everybody's dates, and whether the root is in the bundle. A nil
// one knows nothing.
type intermediates struct {
	mu    sync.RWMutex // guards known
	known map[[sha256.Size]byte]intermediate
}

type intermediate struct {
	alone *x509.CertPool    // it, and nothing else
	root  *x509.Certificate // that has signed it
}

// verify gives the chain to the root of a chain that verifies; nil where the long way
// must be gone to know that.
func (v *intermediates) verify(bundles x509bundle.Source, td spiffeid.TrustDomain, chain []*x509.Certificate, now time.Time) []*x509.Certificate {
	if v == nil || len(chain) != 2 || !plain(chain[0]) {
		return nil
	}
	v.mu.RLock()
	k, ok := v.known[sha256.Sum256(chain[1].Raw)]
	v.mu.RUnlock()
	if !ok || checkDates(k.root, now) != nil || bytes.Equal(chain[0].RawSubject, k.root.RawSubject) { // crypto/x509 makes no loops
		return nil
	}
	bundle, err := bundles.GetX509BundleForTrustDomain(td)
	if err != nil || !bundle.HasX509Authority(k.root) {
		return nil
	}
	chains, err := chain[0].Verify(x509.VerifyOptions{
		Roots: k.alone, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}, CurrentTime: now,
	})
	if err != nil {
		return nil
	}
	return append(chains[0], k.root)
}

// keep remembers the intermediate of a chain that was verified to its root.
func (v *intermediates) keep(verified []*x509.Certificate) {
	if v == nil || len(verified) != 3 || !plain(verified[1]) || !plain(verified[2]) {
		return
	}
	alone := x509.NewCertPool()
	alone.AddCert(verified[1])
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.known) >= maxIntermediates || v.known == nil {
		v.known = map[[sha256.Size]byte]intermediate{} // those in use come back by themselves
	}
	v.known[sha256.Sum256(verified[1].Raw)] = intermediate{alone, verified[2]}
}

// plainExtensions are those of RFC 5280, section 4.2.1, that say nothing of what
// stands at another place of a chain but by how many: key identifiers, key usage,
// alternative names, basic constraints. Extended key usage is not asked for in SVIDs.
var plainExtensions = [...]int{14, 15, 17, 19, 35, 37}

// plain says that a certificate has no others: neither constraints of names nor
// policies, which a chain's every certificate must be held against.
func plain(cert *x509.Certificate) bool {
	for _, e := range cert.Extensions {
		if !isPlain(e.Id) {
			return false
		}
	}
	return true
}

func isPlain(id asn1.ObjectIdentifier) bool {
	if len(id) != 4 || id[0] != 2 || id[1] != 5 || id[2] != 29 {
		return false
	}
	for _, plain := range plainExtensions {
		if id[3] == plain {
			return true
		}
	}
	return false
}
