// Package policytest makes policies for tests of what uses one. It is for tests
// only; everything in it is made up.
package policytest

import (
	"fmt"
	"testing"

	"github.com/sallyport-mesh/sallyport/gateway/policy"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// Estate is a policy of two environments, near and far, with a gateway each. An
// agent in near may chat with the llm in far: POST below /v1, but for /v1/admin.
// Change, if not nil, changes it before it is compiled.
func Estate(t testing.TB, serial uint64, change func(*policyv1.Policy)) *policy.Policy {
	t.Helper()
	p := &policyv1.Policy{
		Version: 1, Policy: "test", DataClasses: []string{"internal", "restricted"},
		Teams: map[string]*policyv1.Team{"team": {Contact: "x"}},
		Sinks: map[string]*policyv1.Sink{"records": {Store: "view"}},
		Environments: map[string]*policyv1.Environment{
			"near": {TrustDomain: "near.test", Owner: "team", Networks: []string{"10.1.0.0/16"}, Gateways: map[string]*policyv1.Gateway{"near-1": {Tunnel: "10.1.0.1:1"}}},
			"far":  {TrustDomain: "far.test", Owner: "team", Networks: []string{"10.2.0.0/16"}, Gateways: map[string]*policyv1.Gateway{"far-1": {Tunnel: "10.2.0.1:1"}}},
		},
		Workloads: map[string]*policyv1.Workload{
			"agent": {Id: "spiffe://near.test/ai/agent", Owner: "team", Data: &policyv1.DataRule{Class: "internal"}},
			"llm": {
				Id: "spiffe://far.test/ai/llm", Owner: "team", Data: &policyv1.DataRule{Class: "internal"},
				Serves: map[string]string{"chat": "openai://:8000", "health": "grpc://:9000"},
			},
			"tool": {Id: "spiffe://near.test/ai/tool", Owner: "team", Serves: map[string]string{"mcp": "mcp://:8080"}},
		},
		Transitions: []*policyv1.Transition{{From: "near", To: "far", Owner: "ml-team", Sink: "records", ReviewBy: "2099-01-01"}},
		Intents: []*policyv1.Intent{
			{Name: "chat", Allow: &policyv1.Match{From: "agent", To: "llm", Service: "chat", Methods: []string{"POST"}, Paths: []string{"/v1/*"}}},
			{Name: "no-admin", Deny: &policyv1.Match{To: "llm", Paths: []string{"/v1/admin"}}},
		},
	}
	p.Teams["ml-team"] = &policyv1.Team{Contact: "y"}
	if change != nil {
		change(p)
	}
	compiled, err := policy.Compile(p, policy.Ref{Serial: serial, Revision: Revision(serial)})
	if err != nil {
		t.Fatal(err)
	}
	return compiled
}

// Revision is the made-up revision of the Estate of a serial.
func Revision(serial uint64) string { return fmt.Sprintf("sha256:%064x", serial) }
