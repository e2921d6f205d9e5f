package gateway

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/sallyport-mesh/sallyport/gateway/internal/capture"
	"github.com/sallyport-mesh/sallyport/gateway/internal/listener"
	"github.com/sallyport-mesh/sallyport/gateway/policy/policytest"
	configv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/config/v1"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

func capturing(callers ...*configv1.LocalCaller) *configv1.Capture {
	return &configv1.Capture{Listen: []string{"127.0.0.1:15001", "[::1]:15001"}, Callers: callers}
}

func local(id string, selectors ...string) *configv1.LocalCaller {
	return &configv1.LocalCaller{Id: id, Selectors: selectors}
}

func TestCheckCapture(t *testing.T) {
	const agent, legacy = "spiffe://onprem.test/ai/agent", "spiffe://onprem.test/legacy"
	in := good()
	in.Capture = capturing(
		local(agent, "unix:uid:1000"), local(legacy, "unix:uid:1001", "cgroup:/a b", "unix:uid:1001"), local(agent, "unix:uid:1001"))
	b, err := checkBootstrap(in)
	if err != nil || len(b.callers) != 3 || b.callers[1].ID.String() != legacy || len(b.callers[1].Selectors) != 2 {
		t.Fatalf("callers %v, %v", b.callers, err)
	}
	for field, capture := range map[string]*configv1.Capture{
		"capture.listen":    {Callers: []*configv1.LocalCaller{local(agent, "unix:uid:1000")}},
		"capture.callers":   {Listen: []string{"127.0.0.1:15001"}},
		"capture.listen[0]": {Listen: []string{"0.0.0.0:15001"}, Callers: []*configv1.LocalCaller{local(agent, "unix:uid:1000")}},
		"capture.listen[1]": {
			Listen:  []string{"127.0.0.1:15001", "127.0.0.1:15001"},
			Callers: []*configv1.LocalCaller{local(agent, "unix:uid:1000")},
		},
		"capture.callers[0].id":           capturing(local("agent", "unix:uid:1000")),
		"capture.callers[0].selectors":    capturing(local(agent)),
		"capture.callers[0].selectors[1]": capturing(local(agent, "unix:uid:1000", "uid:1000")),
		"capture.callers[1].selectors": capturing(
			local(agent, "unix:uid:1000", "cgroup:/a"), local(legacy, "cgroup:/a", "unix:uid:1000", "cgroup:/a")),
		"capture.callers[1].id": capturing(local(agent, "unix:uid:1000"), local("spiffe://azure.test/llm", "unix:uid:1")),
		"capture.callers[2].id": capturing(local(agent, "unix:uid:1000"), local(legacy, "unix:uid:1"), local("spiffe://onprem.test", "unix:uid:2")),
		"capture.callers[3].id": capturing(local(agent, "unix:uid:1000"), local(legacy, "unix:uid:1"), local(legacy, "unix:uid:2"),
			local("spiffe://onprem.test/sallyport/gateway/onprem-1", "unix:uid:3")),
	} {
		in := good()
		in.Capture = capture
		if _, err := checkBootstrap(in); err == nil || !strings.Contains(err.Error(), "bootstrap: "+field+": ") || strings.Count(err.Error(), "bootstrap: ") != 1 {
			t.Errorf("%v, want a fault of %s", err, field)
		}
	}
}

func TestDestination(t *testing.T) {
	p := policytest.Estate(t, 1, func(p *policyv1.Policy) {
		llm := p.Workloads["llm"]
		llm.Addresses = []string{"10.2.0.7", "10.2.0.8"}
		llm.Serves["sql"], llm.Serves["sealed"] = "tcp://:5432", "tls://:5433"
		p.Workloads["twin"] = &policyv1.Workload{
			Id: "spiffe://far.test/ai/twin", Owner: "team", Addresses: []string{"10.2.0.8"}, Serves: map[string]string{"sql": "tcp://:5432"},
		}
	})
	var places capture.Places
	find := func(at string) (listener.Destination, error) {
		addr := netip.MustParseAddrPort(at)
		return destination(addr, places.At(p, addr))
	}
	for at, want := range map[string]listener.Destination{
		"10.2.0.7:8000":  {Authority: "llm.far.mesh:8000"},
		"10.2.0.7:9000":  {Authority: "llm.far.mesh:9000"},
		"10.2.0.7:5432":  {Authority: "llm.far.mesh:5432", Bytes: true},
		"10.2.0.7:5433":  {Authority: "llm.far.mesh:5433", Bytes: true},
		"10.2.0.7:1":     {Authority: "10.2.0.7:1", Bytes: true},
		"[fd00::1]:8000": {Authority: "[fd00::1]:8000", Bytes: true},
	} {
		if got, err := find(at); err != nil || got != want {
			t.Errorf("at %s is %+v, %v; want %+v", at, got, err, want)
		}
	}
	if got, err := find("10.2.0.8:5432"); err == nil || !strings.Contains(err.Error(), "twin.far.mesh") {
		t.Errorf("two workloads at one address: %+v, %v", got, err)
	}
}
