package exchange

import (
	"strings"
	"testing"

	"go.uber.org/zap"

	"github.com/sallyport-mesh/sallyport/certs/certstest"
	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/internal/authz"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/listener"
	"github.com/sallyport-mesh/sallyport/gateway/internal/upstream"
	"github.com/sallyport-mesh/sallyport/gateway/policy"
	"github.com/sallyport-mesh/sallyport/gateway/policy/policytest"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

var proofAudience = crossing.ProofAudience("llm.far.mesh")

// demanding requires a proof of whoever chats, by HTTP or in a byte stream.
func demanding(p *policyv1.Policy) {
	p.Intents = []*policyv1.Intent{{
		Name: "chat", Allow: &policyv1.Match{From: "agent", To: "llm", Service: "chat"}, Require: &policyv1.Require{WorkloadProof: true},
	}}
}

// proving is a world whose gateways verify proofs, under one policy at near and
// perhaps another one at far.
func proving(t *testing.T, here, there *policy.Policy) (*world, map[string]*certstest.Domain) {
	t.Helper()
	mesh := certstest.Mesh(t, "near.test", "far.test")
	w := newWorld(t, here)
	w.there = there
	w.egress = NewEgress(Config{
		Self: near, Authz: authz.New(near, "near", w).TakeProofs(mesh["near.test"].Source(near.Path())), Spool: w.near, Standing: w.stands, Log: zap.NewNop(),
	}, w)
	w.ingress = NewIngress(Config{
		Self: far, Authz: authz.New(far, "far", distant{w}).TakeProofs(mesh["far.test"].Source(far.Path())), Spool: w.far, Standing: w.standsFar, Log: zap.NewNop(),
	}, w)
	return w, mesh
}

func withProof(proof string) *listener.Request {
	req := request("POST", "/v1/chat", "hello")
	req.Head.Proof = proof
	return req
}

// TestProofCrosses: a good proof goes to the peer gateway and no further, and either
// half has its digest alone.
func TestProofCrosses(t *testing.T) {
	for _, required := range []bool{true, false} {
		p := policytest.Estate(t, 1, nil)
		if required {
			p = policytest.Estate(t, 1, demanding)
		}
		w, mesh := proving(t, p, nil)
		proof := mesh["near.test"].JWT("/ai/agent", proofAudience)
		var said string
		w.tunnel.lied = func(h *crossingv1.Header) { said = h.GetProof() }
		w.destination = func(r *upstream.Request) (*upstream.Response, error) {
			for _, f := range r.Head.Fields {
				if strings.Contains(f.Name, "proof") || strings.Contains(f.Value, proof) {
					t.Errorf("the destination has %v", f)
				}
			}
			if r.Head.Proof != "" {
				t.Errorf("the destination's head has %q", r.Head.Proof)
			}
			_, err := readAll(r)
			return answer(200, "yes"), err
		}
		if r := w.ask(t, withProof(proof)); r.head.Status != 200 || said != proof {
			t.Fatalf("required %t: status %d %s, said %q", required, r.head.Status, told(r), said)
		}
		rec := w.joined(t)
		e, i := rec.GetEgress().GetProof(), rec.GetIngress().GetProof()
		if !rec.GetAgree() || e != i || !strings.HasPrefix(e, "sha256:") || strings.Contains(rec.String(), proof) {
			t.Errorf("required %t: record %v", required, rec)
		}
	}
}

// TestWhatProvesNothingStays: a token that this gateway does not take for a proof
// may be for somebody else, and goes nowhere.
func TestWhatProvesNothingStays(t *testing.T) {
	w, mesh := proving(t, policytest.Estate(t, 1, nil), nil)
	said := "not called"
	w.tunnel.lied = func(h *crossingv1.Header) { said = h.GetProof() }
	if r := w.ask(t, withProof(mesh["near.test"].JWT("/ai/agent", "spiffe://near.test/vault"))); r.head.Status != 200 || said != "" {
		t.Errorf("status %d, said %q", r.head.Status, said)
	}
	if rec := w.joined(t); !rec.GetAgree() || rec.GetEgress().GetProof() != "" {
		t.Errorf("record %v", rec)
	}
}

// TestUnprovenAtEgress: who proves nothing hears what to send, before anything is
// said to the peer gateway.
func TestUnprovenAtEgress(t *testing.T) {
	grpc := request("POST", "/s/m", "", l7.Field{Name: "content-type", Value: "application/grpc"})
	bytes := request("CONNECT", "", "")
	mapped := request("CONNECT", "", "")
	mapped.Mapped = true
	for _, c := range []struct {
		name   string
		req    *listener.Request
		status int
		reason crossingv1.Reason
		tells  string
		detail string
	}{
		{"none", withProof(""), 403, crossingv1.Reason_NO_PROOF, "send in sallyport-proof a JWT-SVID of yours for the audience sallyport:proof:llm.far.mesh alone, issued in the last 5 minutes; no proof came", "no proof came"},
		{"none, gRPC", grpc, 200, crossingv1.Reason_NO_PROOF, "audience sallyport:proof:llm.far.mesh alone", "no proof came"},
		{"none, a byte stream", bytes, 403, crossingv1.Reason_NO_PROOF, "audience sallyport:proof:llm.far.mesh alone", "no proof came"},
		{"none, at a mapped port", mapped, 403, crossingv1.Reason_NO_PROOF, "a mapped port can carry none", "a mapped port can carry none, a CONNECT at the attach address can"},
		{"of another", nil, 403, crossingv1.Reason_BAD_PROOF, "spiffe://near.test/ai/agent calls", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, mesh := proving(t, policytest.Estate(t, 1, demanding), nil)
			if c.req == nil {
				c.req = withProof(mesh["near.test"].JWT("/ai/other", proofAudience))
			}
			r := w.ask(t, c.req)
			h := w.near.account(t).Open
			if r.head.Status != c.status || !strings.Contains(told(r), c.tells) || !strings.Contains(told(r), "ml-team") {
				t.Errorf("status %d: %s", r.head.Status, told(r))
			}
			end := h.GetEnd()
			if end.GetReason() != c.reason || end.GetDecision() != crossingv1.Decision_DENY || end.GetIntent() != "chat" ||
				!strings.Contains(end.GetDetail(), c.detail) || end.GetProof() != "" || h.GetKey().GetIngress() != "" {
				t.Errorf("half %v", h)
			}
			w.journal.never(t, "far open")
		})
	}
}

// TestUnprovenAtIngress: whatever the egress gateway says, the ingress gateway has
// nothing happen that the caller has not proven to it. The caller hears what to send.
func TestUnprovenAtIngress(t *testing.T) {
	free, strict := policytest.Estate(t, 1, nil), policytest.Estate(t, 2, demanding)
	for _, c := range []struct {
		name   string
		here   *policy.Policy
		there  *policy.Policy
		lies   func(mesh map[string]*certstest.Domain, h *crossingv1.Header)
		reason crossingv1.Reason
		detail string
	}{
		{"the egress gateway asks for none", free, strict, nil, crossingv1.Reason_NO_PROOF, "no proof came"},
		{"it leaves it out", policytest.Estate(t, 1, demanding), nil, func(_ map[string]*certstest.Domain, h *crossingv1.Header) {
			h.Proof = ""
		}, crossingv1.Reason_NO_PROOF, "no proof came"},
		{"it speaks for another with it", policytest.Estate(t, 1, func(p *policyv1.Policy) {
			demanding(p)
			p.Intents[0].Allow.From = "environment:near"
		}), nil, func(_ map[string]*certstest.Domain, h *crossingv1.Header) {
			h.Source = "spiffe://near.test/ai/other"
		}, crossingv1.Reason_BAD_PROOF, "it is of spiffe://near.test/ai/agent, and spiffe://near.test/ai/other calls"},
		{"it gives its own", policytest.Estate(t, 1, demanding), nil, func(mesh map[string]*certstest.Domain, h *crossingv1.Header) {
			h.Proof = mesh["near.test"].JWT(near.Path(), proofAudience)
		}, crossingv1.Reason_BAD_PROOF, "it is of " + near.String()},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, mesh := proving(t, c.here, c.there)
			w.tunnel.lied = func(h *crossingv1.Header) {
				if c.lies != nil {
					c.lies(mesh, h)
				}
			}
			proof := mesh["near.test"].JWT("/ai/agent", proofAudience)
			if c.lies == nil {
				proof = ""
			}
			r := w.ask(t, withProof(proof))
			if r.head.Status != 403 || !strings.Contains(told(r), c.reason.String()) || !strings.Contains(told(r), "audience sallyport:proof:llm.far.mesh alone") {
				t.Errorf("status %d: %s", r.head.Status, told(r))
			}
			e, i := w.near.account(t), w.far.account(t)
			if end := i.Open.GetEnd(); end.GetReason() != c.reason || end.GetDecision() != crossingv1.Decision_DENY || !strings.Contains(end.GetDetail(), c.detail) {
				t.Errorf("half %v", i.Open)
			}
			if e.Close.GetCause() != crossingv1.Cause_REFUSED_BY_PEER || e.Close.GetReason() != c.reason {
				t.Errorf("near closed %v", e.Close)
			}
			w.journal.never(t, "destination asked")
		})
	}
}
