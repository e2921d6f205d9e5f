package xds

import (
	"slices"
	"testing"
	"testing/synctest"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	configv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/config/v1"
)

func bundleOf(td, document string) *configv1.SignedBundle {
	return &configv1.SignedBundle{TrustDomain: td, Document: []byte(document)}
}

// TestBundles: each gateway gets all of them, then what changes, and is told what
// is there no more. What it answers is known.
func TestBundles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t)
		set := func(all ...*configv1.SignedBundle) {
			t.Helper()
			if err := m.server.SetBundles(all); err != nil {
				t.Fatal(err)
			}
		}
		set(bundleOf("aws.test", "1"), bundleOf("azure.test", "1"))
		g := m.gateway("aws")
		g.held[TypeBundle] = map[string]string{}
		g.send(&discovery.DeltaDiscoveryRequest{TypeUrl: TypeBundle, ResourceNamesSubscribe: []string{"*"}})
		first := g.next(TypeBundle)
		if got := slices.Sorted(slices.Values(names(first))); !slices.Equal(got, []string{"aws.test", "azure.test"}) { // in any order
			t.Errorf("got %v", got)
		}
		g.ack(first)
		set(bundleOf("aws.test", "2"), bundleOf("azure.test", "1"))
		changed := g.next(TypeBundle)
		got := new(configv1.SignedBundle)
		if err := changed.GetResources()[0].GetResource().UnmarshalTo(got); err != nil || len(changed.GetResources()) != 1 || string(got.GetDocument()) != "2" {
			t.Errorf("got %v, %v", changed, err)
		}
		g.nack(changed, "no")
		set(bundleOf("aws.test", "2"))
		gone := g.next(TypeBundle)
		if len(gone.GetResources()) != 0 || !slices.Equal(gone.GetRemovedResources(), []string{"azure.test"}) {
			t.Errorf("got %v", gone)
		}
		set(bundleOf("aws.test", "2")) // nothing new
		synctest.Wait()
		i := slices.IndexFunc(m.server.Gateways(), func(s Status) bool { return s.ID == g.id })
		acks := m.server.Gateways()[i].Acks
		if j := slices.IndexFunc(acks, func(a Ack) bool { return a.TypeURL == TypeBundle }); j < 0 || acks[j].Nack != "no" {
			t.Errorf("answers: %+v", acks)
		}
	})
}
