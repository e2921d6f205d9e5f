package authz

import (
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sallyport-mesh/sallyport/gateway/act"
	"github.com/sallyport-mesh/sallyport/gateway/internal/xdsclient"
	"github.com/sallyport-mesh/sallyport/gateway/policy/policytest"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

var llm = spiffeid.RequireFromString("spiffe://far.test/ai/llm")

// against are acts against these: gateways are revoked, workloads quarantined.
func against(t testing.TB, subjects ...spiffeid.ID) *act.Set {
	t.Helper()
	var set *act.Set
	for _, id := range subjects {
		said := &policyv1.Act{
			Policy: "local", Kind: policyv1.Act_QUARANTINE, Subject: id.String(), Reason: "x",
			Author: "spiffe://mesh.test/sallyport/operator/ann", Made: timestamppb.New(now), ReviewBy: "2026-12-04",
		}
		if strings.Contains(id.Path(), "/gateway/") {
			said.Kind = policyv1.Act_REVOKE_GATEWAY
		}
		sa, err := act.Sign(said)
		if err != nil {
			t.Fatal(err)
		}
		a, err := act.Read(sa)
		if err != nil {
			t.Fatal(err)
		}
		if set, err = set.With(a); err != nil {
			t.Fatal(err)
		}
	}
	return set
}

func TestActsComeBeforeThePolicy(t *testing.T) {
	p := policytest.Estate(t, 1, nil)
	other := spiffeid.RequireFromString("spiffe://near.test/ai/other")
	for _, c := range []struct {
		name    string
		subject spiffeid.ID
		egress  crossingv1.Reason
		ingress crossingv1.Reason
	}{
		{"somebody else", other, 0, 0},
		{"the source", agent, crossingv1.Reason_QUARANTINED, crossingv1.Reason_QUARANTINED},
		{"the destination", llm, crossingv1.Reason_QUARANTINED, crossingv1.Reason_QUARANTINED},
		{"the egress gateway", nearGW, crossingv1.Reason_REVOKED_GATEWAY, crossingv1.Reason_REVOKED_GATEWAY},
		{"the ingress gateway", farGW, 0, crossingv1.Reason_REVOKED_GATEWAY}, // the other one has no tunnel to it
	} {
		h := held{p: &xdsclient.Policies{Current: p}, acts: against(t, c.subject)}
		head := post("llm.far.mesh:8000", "/v1/chat")
		out := New(nearGW, "near", h).Egress(agent, head, now)
		in := New(farGW, "far", h).Ingress(nearGW, header(1), head, now)
		if out.Reason != c.egress || out.Allow != (c.egress == 0) || in.Reason != c.ingress || in.Allow != (c.ingress == 0) {
			t.Errorf("against %s: %v at egress, %v at ingress, want %v and %v", c.name, out.Reason, in.Reason, c.egress, c.ingress)
		}
		if c.egress != 0 && (out.Owner() != "ml-team" || !strings.Contains(out.Detail, c.subject.String())) {
			t.Errorf("against %s: owner %q, detail %q", c.name, out.Owner(), out.Detail)
		}
		if who := New(nearGW, "near", h).CheckPeer(farGW); (who != nil) != (c.ingress == crossingv1.Reason_REVOKED_GATEWAY) {
			t.Errorf("against %s: CheckPeer = %v", c.name, who)
		}
	}
}

func TestReviewJudgesIdentitiesAlone(t *testing.T) {
	whole := policytest.Estate(t, 7, nil)
	without := func(change func(*policyv1.Policy)) held { return holding(policytest.Estate(t, 7, change)) }
	workload := Parties{Source: agent, Destination: llm, Peer: farGW, Workload: true}
	of := func(source spiffeid.ID) Parties { return Parties{Source: source, Destination: llm, Peer: farGW} }
	for _, c := range []struct {
		name    string
		held    held
		parties Parties
		want    crossingv1.Reason
		detail  string
	}{
		{"nothing has changed", holding(whole), workload, 0, ""},
		{"there is no policy", held{}, workload, 0, ""},
		{"its intent is gone", without(func(p *policyv1.Policy) { p.Intents = nil }), workload, 0, ""},
		{"its source is gone", without(func(p *policyv1.Policy) { delete(p.Workloads, "agent"); p.Intents = nil }), workload, crossingv1.Reason_UNKNOWN_SOURCE, "no workload of policy serial 7 any more"},
		{"its source never was a workload", holding(whole), of(spiffeid.RequireFromString("spiffe://near.test/cron")), 0, ""},
		{"its destination is gone", without(func(p *policyv1.Policy) { delete(p.Workloads, "llm"); p.Intents = nil }), workload, crossingv1.Reason_UNKNOWN_DESTINATION, llm.String()},
		{"its peer is gone", without(func(p *policyv1.Policy) {
			p.Environments["far"].Gateways = map[string]*policyv1.Gateway{"far-2": {Tunnel: "10.2.0.2:1"}}
		}), workload, crossingv1.Reason_UNKNOWN_PEER, farGW.String()},
		{"its source is quarantined", held{&xdsclient.Policies{Current: whole}, against(t, agent)}, workload, crossingv1.Reason_QUARANTINED, "by act "},
		{"its destination is, and there is no policy", held{nil, against(t, llm)}, workload, crossingv1.Reason_QUARANTINED, llm.String()},
		{"its peer is revoked", held{&xdsclient.Policies{Current: whole}, against(t, farGW)}, workload, crossingv1.Reason_REVOKED_GATEWAY, farGW.String()},
		{"this gateway is", held{&xdsclient.Policies{Current: whole}, against(t, nearGW)}, workload, crossingv1.Reason_REVOKED_GATEWAY, nearGW.String()},
	} {
		r := New(nearGW, "near", c.held).Review()
		for range 2 { // the second answer is from memory
			reason, detail := r.Judge(&c.parties)
			if reason != c.want || !strings.Contains(detail, c.detail) {
				t.Errorf("%s: %v, %q, want %v, %q", c.name, reason, detail, c.want, c.detail)
			}
		}
	}
}

// BenchmarkEgressWithoutActs is the decision as nearly all are.
func BenchmarkEgressWithoutActs(b *testing.B) {
	benchmarkEgress(b, holding(policytest.Estate(b, 1, nil)))
}

// BenchmarkEgressWithActs is the decision while somebody else is quarantined.
func BenchmarkEgressWithActs(b *testing.B) {
	h := holding(policytest.Estate(b, 1, nil))
	h.acts = against(b, spiffeid.RequireFromString("spiffe://near.test/ai/other"))
	benchmarkEgress(b, h)
}

func benchmarkEgress(b *testing.B, h held) {
	a, head, now := New(nearGW, "near", h), post("llm.far.mesh:8000", "/v1/chat"), time.Now()
	b.ReportAllocs()
	for b.Loop() {
		if v := a.Egress(agent, head, now); !v.Allow {
			b.Fatal(v.Reason)
		}
	}
}

// BenchmarkJudge is one of many open crossings in a review, once its parties were
// asked about.
func BenchmarkJudge(b *testing.B) {
	h := holding(policytest.Estate(b, 1, nil))
	h.acts = against(b, spiffeid.RequireFromString("spiffe://near.test/ai/other"))
	r := New(nearGW, "near", h).Review()
	p := &Parties{Source: agent, Destination: llm, Peer: farGW, Workload: true}
	b.ReportAllocs()
	for b.Loop() {
		if reason, _ := r.Judge(p); reason != 0 {
			b.Fatal(reason)
		}
	}
}
