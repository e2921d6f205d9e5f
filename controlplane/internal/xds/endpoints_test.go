package xds

import (
	"slices"
	"testing"
	"testing/synctest"

	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/google/go-cmp/cmp"
)

func at(workload, service string, addresses []string) Endpoint {
	return Endpoint{Workload: workload, Service: service, Addresses: addresses}
}

func endpointsOf(t *testing.T, resp *discovery.DeltaDiscoveryResponse) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	for _, r := range resp.GetResources() {
		a := &endpoint.ClusterLoadAssignment{}
		if err := r.GetResource().UnmarshalTo(a); err != nil {
			t.Fatalf("read endpoints: %v", err)
		}
		if err := a.ValidateAll(); err != nil {
			t.Errorf("%s is not valid: %v", r.GetName(), err)
		}
		for _, e := range a.GetEndpoints()[0].GetLbEndpoints() {
			all[r.GetName()] = append(all[r.GetName()], e.GetEndpoint().GetAddress().GetSocketAddress().GetAddress())
		}
	}
	return all
}

func (m *mesh) setEndpoints(env string, all ...Endpoint) {
	m.t.Helper()
	if err := m.server.SetEndpoints(env, all); err != nil {
		m.t.Fatalf("SetEndpoints(%s) error: %v", env, err)
	}
}

func TestEndpointsGoToTheirOwnEnvironmentAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t)
		early := m.gateway("azure") // on its stream before there is any policy
		m.publish(testPolicy("a", environments...), 1)
		m.setEndpoints("aws", at("retriever", "mcp", []string{"10.1.7.20:8080"}))
		m.setEndpoints("azure", at("llm", "chat", []string{"10.2.3.9:8000", "[fd00::9]:8000"}))
		m.setEndpoints("onprem", at("db", "sql", []string{"10.0.0.9:5432"}))
		want := map[string]map[string][]string{
			"aws":   {"mcp.retriever.aws.mesh": {"10.1.7.20"}},
			"azure": {"chat.llm.azure.mesh": {"10.2.3.9", "fd00::9"}},
		}
		for env, g := range map[string]*fakeGateway{"azure": early, "aws": m.gateway("aws")} {
			if diff := cmp.Diff(want[env], endpointsOf(t, g.next(TypeEndpoints))); diff != "" {
				t.Errorf("endpoints of %s (-want +got):\n%s", env, diff)
			}
		}
	})
}

func TestOnlyWhatChangedIsSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t)
		m.publish(testPolicy("a", environments...), 1)
		one, two := at("llm", "chat", []string{"10.2.3.9:8000"}), at("llm", "health", []string{"10.2.3.9:9000"})
		m.setEndpoints("azure", one, two)
		azure := m.gateway("azure")
		first := azure.next(TypeEndpoints)
		if len(first.GetResources()) != 2 {
			t.Fatalf("first response has %v", names(first))
		}
		azure.ack(first)
		two.Addresses = []string{"10.2.3.10:9000"}
		m.setEndpoints("azure", one, two)
		second := azure.next(TypeEndpoints)
		if diff := cmp.Diff(map[string][]string{"health.llm.azure.mesh": {"10.2.3.10"}}, endpointsOf(t, second)); diff != "" {
			t.Errorf("second response (-want +got):\n%s", diff)
		}
		azure.ack(second)
		m.setEndpoints("azure", two)
		third := azure.next(TypeEndpoints)
		if len(third.GetResources()) != 0 || !slices.Equal(third.GetRemovedResources(), []string{"chat.llm.azure.mesh"}) {
			t.Errorf("third response has %v, removes %v", names(third), third.GetRemovedResources())
		}
	})
}

func TestEndpointsOfAnEnvironmentThatIsGoneAreDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t)
		m.publish(testPolicy("a", environments...), 1)
		m.setEndpoints("azure", at("llm", "chat", []string{"10.2.3.9:8000"}))
		m.publish(testPolicy("b", "aws", "onprem"), 2)
		m.publish(testPolicy("c", environments...), 3)
		azure := m.gateway("azure")
		azure.acceptAll()
		m.await(func() bool { return m.statusOf("azure-1").Serial == 3 })
		m.server.mu.Lock()
		defer m.server.mu.Unlock()
		if held := m.server.records[azure.id].held[TypeEndpoints]; len(held) != 0 {
			t.Errorf("azure still gets %v", held)
		}
	})
}

func TestSetEndpointsRefuses(t *testing.T) {
	m := newMesh(t)
	if err := m.server.SetEndpoints("azure", nil); err == nil {
		t.Error("SetEndpoints before any policy: no error")
	}
	m.publish(testPolicy("a", environments...), 1)
	tests := []struct {
		name, env string
		at        []string
	}{
		{"environment unknown", "mars", []string{"10.2.3.9:80"}},
		{"no port", "azure", []string{"10.2.3.9"}},
		{"port 0", "azure", []string{"10.2.3.9:0"}},
		{"port too high", "azure", []string{"10.2.3.9:65536"}},
		{"no host", "azure", []string{":80"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := m.server.SetEndpoints(tt.env, []Endpoint{at("llm", "chat", tt.at)}); err == nil {
				t.Errorf("SetEndpoints(%q, %q): no error", tt.env, tt.at)
			}
		})
	}
}
