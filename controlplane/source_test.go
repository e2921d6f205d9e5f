package controlplane

import (
	"testing"

	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/certs/certstest"
)

// sourceOf is an SVID of an authority's trust domain, with the bundles of it and of
// others as they are now.
func sourceOf(t *testing.T, d *domain, path string, others ...*domain) *certs.Source {
	t.Helper()
	td := d.config.Authority.TrustDomain
	svid, err := certstest.Stolen(t, td.Name(), d.config.Authority.Dir).Source(path).GetX509SVID()
	if err != nil {
		t.Fatal(err)
	}
	bundles := x509bundle.NewSet(d.Issuer().Bundle().X509Bundle())
	for _, other := range others {
		bundles.Add(other.Issuer().Bundle().X509Bundle())
	}
	return certs.NewStaticSource(svid, bundles, jwtbundle.NewSet(), nil)
}
