package federation

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"go.uber.org/zap"

	"github.com/sallyport-mesh/sallyport/certs"
)

// TestWorkloadAuthority: another's issuer goes over to a new root at once, and so
// does the SVID of who speaks for it. His word is still good for who knows the old
// root alone.
func TestWorkloadAuthority(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(t, aws)
		source := certs.NewStaticSource(svidOf(t, a.newest(), testName), x509bundle.NewSet(a.Bundle().X509Bundle()), nil, nil)
		k, err := Join(source, Config{})
		if err != nil {
			t.Fatal(err)
		}
		at := endpointOf(t, k, a, newestRoot(a))
		w := &WorkloadAuthority{source: source, endpoint: at.Endpoints[0], follower: *at, log: zap.NewNop(), changed: make(chan struct{})}
		w.follower.Own = source
		if err := w.look(t.Context()); err != nil {
			t.Fatal(err)
		}
		p, err := NewPublisher(w, nil)
		if err != nil {
			t.Fatal(err)
		}
		background(t, w.Run)
		background(t, p.Run)
		other := keeper(t, "", a)
		synctest.Wait()
		a.add(a.newRoot())
		next := certs.NewStaticSource(svidOf(t, a.newest(), testName), x509bundle.NewSet(a.Bundle().X509Bundle()), nil, nil)
		svid, err := next.GetX509SVID()
		if err != nil {
			t.Fatal(err)
		}
		x509Bundles(t, source, a)
		if err := source.Refresh(svid); err != nil {
			t.Fatal(err)
		}
		<-time.After(2 * time.Second)
		signed, _ := p.Latest()
		if err := other.Accept(signed); err != nil || other.sequenceOf(aws) != 2 {
			t.Errorf("Accept() = %v, sequence %d, %d signatures", err, other.sequenceOf(aws), len(signed.GetSignatures()))
		}
	})
}

// x509Bundles has a source's set of bundles hold what the trust domain says now.
func x509Bundles(t *testing.T, source *certs.Source, a *fakeAuthority) {
	t.Helper()
	b, err := source.GetX509BundleForTrustDomain(a.td)
	if err != nil {
		t.Fatal(err)
	}
	for _, root := range a.Bundle().X509Authorities() {
		b.AddX509Authority(root)
	}
}

func TestWhoSpeaksForAnIssuer(t *testing.T) {
	a := newAuthority(t, aws)
	gateway := a.newest().Source("/sallyport/gateway/aws-1")
	k, err := Join(gateway, Config{})
	if err != nil {
		t.Fatal(err)
	}
	at := endpointOf(t, k, a, newestRoot(a)).Endpoints[0]
	if _, err := NewWorkloadAuthority(t.Context(), gateway, k, at, nil); err == nil {
		t.Error("a gateway speaks for its issuer")
	}
	if _, err := NewWorkloadAuthority(t.Context(), newAuthority(t, self).newest().Source(testName), k, at, nil); err == nil {
		t.Error("an authority speaks for another trust domain")
	}
}
