package authz

import (
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/sallyport-mesh/sallyport/certs/certstest"
	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/xdsclient"
	"github.com/sallyport-mesh/sallyport/gateway/policy"
	"github.com/sallyport-mesh/sallyport/gateway/policy/policytest"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

const (
	noProof  = crossingv1.Reason_NO_PROOF
	badProof = crossingv1.Reason_BAD_PROOF
)

// demanding is the estate whose first intent requires a proof.
func demanding(t testing.TB, serial uint64) *policy.Policy {
	t.Helper()
	return policytest.Estate(t, serial, func(p *policyv1.Policy) {
		p.Intents[0].Require = &policyv1.Require{WorkloadProof: true}
	})
}

// proven is a call with a proof, as the egress gateway has it and as it comes to
// the ingress gateway.
func proven(proof string) (*l7.RequestHead, *crossingv1.Header) {
	head, h := post("llm.far.mesh:8000", "/v1/chat"), header(1)
	head.Proof, h.Proof = proof, proof
	return head, h
}

// TestProof: either gateway verifies by itself that the caller calls, where the
// intent asks for it, and takes no other token for it.
func TestProof(t *testing.T) {
	p, free := demanding(t, 1), policytest.Estate(t, 1, nil)
	mesh := certstest.Mesh(t, "near.test", "far.test", "third.test")
	audience := crossing.ProofAudience("llm.far.mesh")
	good := mesh["near.test"].JWT("/ai/agent", audience)
	now := time.Now()
	forged := certstest.Mesh(t, "near.test")["near.test"].JWT("/ai/agent", audience)
	other := mesh["near.test"].JWT("/ai/other", audience)
	for _, c := range []struct {
		name   string
		policy *policy.Policy
		proof  string
		want   crossingv1.Reason
		detail string
	}{
		{"good", p, good, 0, ""},
		{"good, and not asked for", free, good, 0, ""},
		{"none", p, "", noProof, "no proof came"},
		{"none, and not asked for", free, "", 0, ""},
		{"no token", p, "yes, really", badProof, ""},
		{"no token, and not asked for", free, "yes, really", 0, ""},
		{"twice", p, good + ", " + good, badProof, ""},
		{"of another workload", p, other, badProof, "it is of spiffe://near.test/ai/other, and spiffe://near.test/ai/agent calls"},
		{"of the gateway", p, mesh["near.test"].JWT("/sallyport/gateway/near-1", audience), badProof, "it is of spiffe://near.test/sallyport/gateway/near-1"},
		{"of the same name in another trust domain", p, mesh["far.test"].JWT("/ai/agent", audience), badProof, "it is of spiffe://far.test/ai/agent"},
		{"by another key", p, forged, badProof, "not trusted"},
		{"for the gateway", p, mesh["near.test"].JWT("/ai/agent", nearGW.String()), badProof, "not trusted"},
		{"for another destination", p, mesh["near.test"].JWT("/ai/agent", crossing.ProofAudience("tool.far.mesh")), badProof, "not trusted"},
		{"endless", p, good + strings.Repeat("A", crossing.MaxProof), badProof, "the limit is 8192"},
	} {
		t.Run(c.name, func(t *testing.T) {
			head, h := proven(c.proof)
			out := New(nearGW, "near", holding(c.policy)).TakeProofs(mesh["near.test"].Source("/sallyport/gateway/near-1")).Egress(agent, head, now)
			in := New(farGW, "far", holding(c.policy)).TakeProofs(mesh["far.test"].Source("/sallyport/gateway/far-1")).Ingress(nearGW, h, post("llm.far.mesh:8000", "/v1/chat"), now)
			for side, v := range map[string]Verdict{"egress": out, "ingress": in} {
				if v.Reason != c.want || v.Allow != (c.want == 0) || !strings.Contains(v.Detail, c.detail) || v.Owner() != "ml-team" {
					t.Errorf("%s: allow %t, reason %s, detail %q, want %s and %q", side, v.Allow, v.Reason, v.Detail, c.want, c.detail)
				}
				if (c.proof == good) != strings.HasPrefix(v.Proof, "sha256:") || c.proof != "" && strings.Contains(v.Detail, c.proof) && len(c.proof) > 20 {
					t.Errorf("%s: fingerprint %q, detail %q", side, v.Proof, v.Detail)
				}
			}
		})
	}
}

// TestProofWithoutVerifier: a gateway that can verify no proof takes none for good.
func TestProofWithoutVerifier(t *testing.T) {
	head, h := proven(certstest.Mesh(t, "near.test")["near.test"].JWT("/ai/agent", crossing.ProofAudience("llm.far.mesh")))
	out := New(nearGW, "near", holding(demanding(t, 1))).Egress(agent, head, now)
	in := New(farGW, "far", holding(demanding(t, 1))).Ingress(nearGW, h, post("llm.far.mesh:8000", "/v1/chat"), now)
	if out.Reason != badProof || in.Reason != badProof || out.Allow || in.Allow {
		t.Errorf("%s at egress, %s at ingress, want %s", out.Reason, in.Reason, badProof)
	}
}

// TestProofDoesNotMakeAllowed: it is an obligation, and no permission.
func TestProofDoesNotMakeAllowed(t *testing.T) {
	mesh := certstest.Mesh(t, "near.test", "far.test")
	head, _ := proven(mesh["near.test"].JWT("/ai/agent", crossing.ProofAudience("llm.far.mesh")))
	shut := policytest.Estate(t, 1, func(p *policyv1.Policy) { p.Intents = p.Intents[1:] })
	v := New(nearGW, "near", holding(shut)).TakeProofs(mesh["near.test"].Source("/sallyport/gateway/near-1")).Egress(agent, head, time.Now())
	if want := crossingv1.Reason_NO_INTENT; v.Allow || v.Reason != want {
		t.Errorf("allow %t, %s, want %s", v.Allow, v.Reason, want)
	}
}

// TestProofUnderTwoPolicies: it is enough that one of them asks for it.
func TestProofUnderTwoPolicies(t *testing.T) {
	mesh := certstest.Mesh(t, "near.test", "far.test")
	good := mesh["near.test"].JWT("/ai/agent", crossing.ProofAudience("llm.far.mesh"))
	free := func(serial uint64) *policy.Policy { return policytest.Estate(t, serial, nil) }
	for _, c := range []struct {
		name           string
		current, named *policy.Policy
		proof          string
		want           crossingv1.Reason
	}{
		{"only here", demanding(t, 2), free(1), "", noProof},
		{"only there", free(2), demanding(t, 1), "", noProof},
		{"only there, a bad one", free(2), demanding(t, 1), "x", badProof},
		{"only here, a good one", demanding(t, 2), free(1), good, 0},
		{"only there, a good one", free(2), demanding(t, 1), good, 0},
		{"nowhere", free(2), free(1), "", 0},
	} {
		_, h := proven(c.proof)
		a := New(farGW, "far", held{p: &xdsclient.Policies{Current: c.current, Prepared: c.named}}).TakeProofs(mesh["far.test"].Source("/sallyport/gateway/far-1"))
		v := a.Ingress(nearGW, h, post("llm.far.mesh:8000", "/v1/chat"), time.Now())
		if v.Reason != c.want || v.Allow != (c.want == 0) {
			t.Errorf("%s: allow %t, %s, want %s", c.name, v.Allow, v.Reason, c.want)
		}
	}
}

// TestStolenGatewaySpeaksForNobody: what a gateway has seen of one workload proves
// nothing of another, and nothing to another destination.
func TestStolenGatewaySpeaksForNobody(t *testing.T) {
	mesh := certstest.Mesh(t, "near.test", "far.test")
	seen := mesh["near.test"].JWT("/ai/agent", crossing.ProofAudience("llm.far.mesh"))
	open := policytest.Estate(t, 1, func(p *policyv1.Policy) {
		p.Intents = []*policyv1.Intent{{Name: "all", Allow: &policyv1.Match{}, Require: &policyv1.Require{WorkloadProof: true}}}
	})
	a := New(farGW, "far", holding(open)).TakeProofs(mesh["far.test"].Source("/sallyport/gateway/far-1"))
	for source, want := range map[string]crossingv1.Reason{
		"/ai/agent": 0, "/ai/other": badProof, "/ai": badProof, "/sallyport/gateway/near-1": badProof,
	} {
		_, h := proven(seen)
		h.Source = spiffeid.RequireFromPath(agent.TrustDomain(), source).String()
		v := a.Ingress(nearGW, h, post("llm.far.mesh:8000", "/v1/chat"), time.Now())
		if v.Allow != (want == 0) || v.Allow && v.Proof == "" {
			t.Errorf("%s: allow %t, %s, want %s", source, v.Allow, v.Reason, want)
		}
	}
}

// BenchmarkEgressProof: what does a proof that was seen before cost a decision?
func BenchmarkEgressProof(b *testing.B) {
	mesh := certstest.Mesh(b, "near.test", "far.test")
	head, _ := proven(mesh["near.test"].JWT("/ai/agent", crossing.ProofAudience("llm.far.mesh")))
	for name, run := range map[string]struct {
		policy *policy.Policy
		proof  string
	}{
		"none": {policytest.Estate(b, 1, nil), ""}, "demanded": {demanding(b, 1), head.Proof},
	} {
		b.Run(name, func(b *testing.B) {
			a := New(nearGW, "near", holding(run.policy)).TakeProofs(mesh["near.test"].Source("/sallyport/gateway/near-1"))
			head.Proof = run.proof
			b.ReportAllocs()
			for b.Loop() {
				if v := a.Egress(agent, head, time.Now()); !v.Allow {
					b.Fatal(v.Reason, v.Detail)
				}
			}
		})
	}
}
