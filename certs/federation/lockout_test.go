package federation

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	configv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/config/v1"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
)

var mesh = spiffeid.RequireTrustDomainFromString("mesh.test")

// TestLockOut: a new root that is used one poll too early locks followers out for
// ever if its endpoint shows it, too, because that is where they would learn of it.
// The same statement over the control channel opens the door at once.
func TestLockOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(t, aws)
		a.hint = 5 * time.Minute
		k := keeper(t, "", a)
		background(t, endpointOf(t, k, a, newestRoot(a)).Run)
		synctest.Wait()
		if !trusts(k, peerOf(t, a)) || k.sequenceOf(aws) != 1 {
			t.Fatal("it did not begin well")
		}
		a.add(a.newRoot()) // and everything is issued under it from now on
		for range 24 {
			<-time.After(time.Hour)
			if trusts(k, peerOf(t, a)) || k.sequenceOf(aws) != 1 {
				t.Fatal("there is no lock-out to recover from")
			}
		}
		if s := k.States(time.Now())[0]; !s.GetStale() {
			t.Errorf("nobody is told: %v", s)
		}
		start := time.Now()
		if err := k.Accept(a.signed()); err != nil {
			t.Fatal(err)
		}
		if !trusts(k, peerOf(t, a)) || time.Since(start) > 0 {
			t.Error("still locked out")
		}
		<-time.After(6 * time.Minute) // the endpoint is one again
		if s := k.States(time.Now())[0]; s.GetStale() || s.GetOrigin() != FromEndpoint {
			t.Errorf("afterwards: %v", s)
		}
	})
}

// TestOwnEndpointLocksNobodyOut: ours shows the oldest root of the bundle.
func TestOwnEndpointLocksNobodyOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(t, aws)
		k := keeper(t, "", a)
		p, err := NewPublisher(a, nil)
		if err != nil {
			t.Fatal(err)
		}
		background(t, p.Run)
		background(t, endpointOf(t, k, a, p.Certificate).Run)
		for _, step := range []func(){func() { a.add(a.newRoot()) }, a.drop, func() { a.add(a.newRoot()) }, a.drop} {
			step()
			<-time.After(a.hint + time.Second)
			if !trusts(k, peerOf(t, a)) || k.sequenceOf(aws) != a.sequence {
				t.Errorf("sequence %d, not %d: %v", k.sequenceOf(aws), a.sequence, k.States(time.Now()))
			}
		}
	})
}

// TestRecoveryWithoutAPerson: the whole way, with a control plane that does not
// know the new root either when it is first used.
func TestRecoveryWithoutAPerson(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, onprem, cp := newAuthority(t, aws), newAuthority(t, self), newAuthority(t, mesh)
		a.hint = time.Hour
		source := cp.newest().Source("/sallyport/controlplane/cp-1")
		carrier := keeperOf(t, Config{Self: mesh, Anchor: anchors(a.Bundle(), onprem.Bundle()), OnChange: source.Notify})
		source.SetForeign(ownAnchor{carrier})
		p := newPlane(t, source)
		k := keeper(t, "", a, cp)
		background(t, endpointOf(t, k, a, newestRoot(a)).Run)
		p.join(t, onprem, k)
		p.join(t, a, keeperOf(t, Config{Self: aws, Anchor: anchors(cp.Bundle(), onprem.Bundle())}))
		<-time.After(time.Second)
		if !trusts(k, peerOf(t, a)) {
			t.Fatal("it did not begin well")
		}
		start := time.Now()
		a.add(a.newRoot())
		for !trusts(k, peerOf(t, a)) {
			<-time.After(100 * time.Millisecond)
			if time.Since(start) > 3*time.Second {
				t.Fatalf("locked out: %v", k.States(time.Now()))
			}
		}
		// The control plane has not heard of it by itself, and takes it when it is
		// asked to carry it. Then the old root goes.
		if err := carrier.Accept(p.of(aws.Name())); err != nil {
			t.Fatal(err)
		}
		old := svidOf(t, a.roots[0], "/sallyport/gateway/aws-1")
		a.drop()
		<-time.After(3 * time.Second)
		if trusts(k, old) || !trusts(k, peerOf(t, a)) {
			t.Errorf("the old root still counts, or the new one does not: %v", k.States(time.Now()))
		}
	})
}

// TestControlPlaneCannotForge: whatever it sends, only what the trust domain says
// comes into force.
func TestControlPlaneCannotForge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, onprem, cp := newAuthority(t, aws), newAuthority(t, self), newAuthority(t, mesh)
		source := cp.newest().Source("/sallyport/controlplane/cp-1")
		source.SetForeign(ownAnchor{keeperOf(t, Config{Self: mesh, Anchor: anchors(a.Bundle(), onprem.Bundle())})})
		p := newPlane(t, source)
		evil := newAuthority(t, aws)
		evil.add(evil.newRoot())
		p.change = func(s *configv1.SignedBundle) {
			if s.GetTrustDomain() == aws.Name() {
				forged := evil.signed()
				s.Document, s.Signatures = forged.GetDocument(), append(forged.GetSignatures(), s.GetSignatures()...)
			}
		}
		k := keeper(t, "", a, cp)
		p.join(t, a, keeperOf(t, Config{Self: aws, Anchor: anchors(cp.Bundle())}))
		p.join(t, onprem, k)
		<-time.After(10 * time.Second)
		if k.X509Bundle(aws) != nil || trusts(k, peerOf(t, evil)) || !trusts(k, peerOf(t, a)) {
			t.Errorf("forged: %v", k.States(time.Now()))
		}
		if s := k.States(time.Now())[0]; !strings.Contains(s.GetRefused(), ErrUnverified.Error()) {
			t.Errorf("nobody is told: %v", s)
		}
	})
}

// TestLacking asks who has not heard of a bundle, with the SVID that the control
// plane can verify, whichever that is.
func TestLacking(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, cp := newAuthority(t, aws), newAuthority(t, mesh)
		source := cp.newest().Source("/sallyport/controlplane/cp-1")
		set := x509bundle.NewSet(a.Bundle().X509Bundle(), cp.Bundle().X509Bundle())
		source.SetForeign(foreign{set})
		p := newPlane(t, source)
		a.add(a.newRoot())
		c := p.join(t, a, keeperOf(t, Config{Self: aws, Anchor: anchors(cp.Bundle())}))
		ask := func(want string, fails bool) {
			t.Helper()
			who, err := c.Lacking(t.Context(), 5)
			if got := strings.Join(who, " "); got != want || (err != nil) != fails {
				t.Errorf("Lacking(5) = %q, %v, want %q", got, err, want)
			}
		}
		ask("", true) // it does not say
		p.mu.Lock()
		p.holders = []*controlv1.BundleHolder{{Id: "gone", Sequence: 0}, {Id: "behind", Sequence: 4}, {Id: "there", Sequence: 5}, {Id: "ahead", Sequence: 6}}
		p.mu.Unlock()
		ask("gone behind", false)
		set.Add(a.Bundle().X509Bundle())
		a.drop()
		ask("gone behind", false)
		set.Remove(aws)
		ask("", true)
	})
}

// foreign is bundles of other trust domains, as they are.
type foreign struct{ set *x509bundle.Set }

func (f foreign) X509Bundle(td spiffeid.TrustDomain) *x509bundle.Bundle {
	b, _ := f.set.Get(td)
	return b
}

func (foreign) JWTBundle(spiffeid.TrustDomain) *jwtbundle.Bundle { return nil }
