package xdsclient

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/sallyport-mesh/sallyport/certs/federation"
	configv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/config/v1"
)

// fakeBundles takes what it is not told to refuse.
type fakeBundles struct {
	refuse map[string]error // by trust domain

	mu   sync.Mutex // guards took
	took []string
}

func (f *fakeBundles) Accept(signed *configv1.SignedBundle) error {
	if err := f.refuse[signed.GetTrustDomain()]; err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.took = append(f.took, signed.GetTrustDomain())
	return nil
}

func bundles(tds ...string) *discovery.DeltaDiscoveryResponse {
	resp := &discovery.DeltaDiscoveryResponse{TypeUrl: typeBundle}
	for _, td := range tds {
		resp.Resources = append(resp.Resources, resource(td, &configv1.SignedBundle{TrustDomain: td}))
	}
	return resp
}

// TestBundlesAreHandedOver: each good one in a response counts, and the answer
// names those that do not. A bundle of a stranger is no fault of anybody's.
func TestBundlesAreHandedOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cp := newControlPlane(t)
		fake := &fakeBundles{refuse: map[string]error{
			"old.test":      fmt.Errorf("%w: 1 and 2", federation.ErrRollback),
			"stranger.test": fmt.Errorf("%w: stranger.test", federation.ErrUnknown),
		}}
		cp.bundles = fake
		cp.client(t.TempDir())
		s := <-cp.streams
		if req := s.first[typeBundle]; len(req.GetResourceNamesSubscribe()) != 1 || req.GetResourceNamesSubscribe()[0] != "*" {
			t.Errorf("it asks for %v", req)
		}
		s.accepted(bundles("azure.test", "stranger.test"))
		err := s.answer(s.send(bundles("old.test", "gcp.test")))
		if err == nil || !strings.Contains(err.Error(), "old.test") || strings.Contains(err.Error(), "gcp.test") {
			t.Errorf("answer: %v, want a NACK of old.test alone", err)
		}
		wrong := bundles("x.test")
		wrong.Resources[0].Resource.Value = []byte{0xff}
		if err := s.answer(s.send(wrong)); err == nil {
			t.Error("what cannot be read was taken")
		}
		s.accepted(&discovery.DeltaDiscoveryResponse{TypeUrl: typeBundle, RemovedResources: []string{"azure.test"}})
		if got := strings.Join(fake.took, " "); got != "azure.test gcp.test" {
			t.Errorf("took %q", got)
		}
	})
}
