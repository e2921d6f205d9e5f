package capture

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/sallyport-mesh/sallyport/gateway/policy/policytest"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

func TestAt(t *testing.T) {
	first := policytest.Estate(t, 1, func(p *policyv1.Policy) {
		llm := p.Workloads["llm"]
		llm.Addresses = []string{"10.2.0.7", "10.2.0.8"}
		llm.Serves["own-host"] = "tcp://10.2.0.9:5432"
		llm.Serves["named"] = "tls://db.example:5433"
		p.Workloads["twin"] = &policyv1.Workload{
			Id: "spiffe://far.test/ai/twin", Owner: "team", Addresses: []string{"10.2.0.8"},
			Serves: map[string]string{"chat": "openai://:8000"},
		}
	})
	var places Places
	for at, want := range map[string][]string{
		"10.2.0.7:8000":        {"llm/chat"},
		"[::ffff:a02:7]:8000":  {"llm/chat"},
		"10.2.0.7:9000":        {"llm/health"},
		"10.2.0.9:5432":        {"llm/own-host"},
		"10.2.0.8:8000":        {"llm/chat", "twin/chat"},
		"10.2.0.7:5432":        nil, // that service is elsewhere
		"10.2.0.7:5433":        nil,
		"10.2.0.7:1":           nil,
		"10.9.0.7:8000":        nil,
		"10.1.0.1:8080":        nil, // of a workload that registers where it is
		"[fd00::ffff:a02:7]:1": nil,
	} {
		var got []string
		for _, place := range places.At(first, netip.MustParseAddrPort(at)) {
			got = append(got, place.Workload.Name+"/"+place.Service.Name)
		}
		if !slices.Equal(got, want) {
			t.Errorf("At(%s) = %v, want %v", at, got, want)
		}
	}
	llm := netip.MustParseAddrPort("10.2.0.7:8000")
	if got := places.At(nil, llm); got != nil {
		t.Errorf("no policy has %v", got)
	}
	if got := places.At(policytest.Estate(t, 2, nil), llm); got != nil {
		t.Errorf("the next policy still has %v", got)
	}
	if got := places.At(first, llm); len(got) != 1 {
		t.Errorf("the policy before has %v", got)
	}
}
