package authz

import (
	"crypto/sha256"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/sallyport-mesh/sallyport/certs/certstest"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/xdsclient"
	"github.com/sallyport-mesh/sallyport/gateway/label"
	"github.com/sallyport-mesh/sallyport/gateway/policy"
	"github.com/sallyport-mesh/sallyport/gateway/policy/policytest"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

const badLabel = crossingv1.Reason_BAD_LABEL

// classified is the estate whose agent has some class, from where nothing restricted
// leaves, and where classifiers beside it label.
func classified(t testing.TB, serial uint64, class string, change func(*policyv1.Policy)) *policy.Policy {
	t.Helper()
	return policytest.Estate(t, serial, func(p *policyv1.Policy) {
		p.DataClasses = []string{"public", "internal", "restricted"}
		if p.Workloads["agent"].Data = nil; class != "" {
			p.Workloads["agent"].Data = &policyv1.DataRule{Class: class}
		}
		p.Workloads["classifier"] = &policyv1.Workload{Id: "spiffe://near.test/classifier/*", Owner: "team", Data: &policyv1.DataRule{Class: "internal", MayLabel: true}}
		p.Workloads["far-classifier"] = &policyv1.Workload{Id: "spiffe://far.test/classifier", Owner: "team", Data: &policyv1.DataRule{Class: "internal", MayLabel: true}}
		p.Intents = append(p.Intents, &policyv1.Intent{Name: "stays", Deny: &policyv1.Match{Data: "restricted", Leaving: "environment:near"}})
		if change != nil {
			change(p)
		}
	})
}

// labelling is a mesh in which labels are made.
type labelling struct {
	t    testing.TB
	mesh map[string]*certstest.Domain
}

func newLabelling(t testing.TB) labelling {
	return labelling{t, certstest.Mesh(t, "near.test", "far.test")}
}

func (l labelling) by(domain, path, class string, change func(*label.Request)) string {
	l.t.Helper()
	r := label.Request{Caller: agent, Host: "llm.far.mesh", Line: "POST /v1/chat"}
	if change != nil {
		change(&r)
	}
	svid, err := l.mesh[domain].Source(path).GetX509SVID()
	if err != nil {
		l.t.Fatal(err)
	}
	token, err := label.Sign(svid, r, class, sha256.Sum256([]byte("content")), time.Now())
	if err != nil {
		l.t.Fatal(err)
	}
	return token
}

// decide is what both gateways say of a call with a label.
func (l labelling) decide(held held, token string) map[string]Verdict {
	head, h, now := post("llm.far.mesh:8000", "/v1/chat"), header(1), time.Now()
	head.Label, h.Label = token, token
	out := New(nearGW, "near", held).TakeLabels(l.mesh["near.test"].Source("/sallyport/gateway/near-1")).Egress(agent, head, now)
	in := New(farGW, "far", held).TakeLabels(l.mesh["far.test"].Source("/sallyport/gateway/far-1")).Ingress(nearGW, h, post("llm.far.mesh:8000", "/v1/chat"), now)
	return map[string]Verdict{"egress": out, "ingress": in}
}

// TestLabel: either gateway takes the label of a registered labeler for the class of
// the data, and whatever else came as one for a reason to refuse.
func TestLabel(t *testing.T) {
	l := newLabelling(t)
	good := func(class string) string { return l.by("near.test", "/classifier/1", class, nil) }
	workload, byDefault, byLabel := crossingv1.Operation_WORKLOAD, crossingv1.Operation_DEFAULT, crossingv1.Operation_LABEL
	shut := func(p *policyv1.Policy) { p.Intents = p.Intents[1:] }
	for _, c := range []struct {
		name   string
		class  string // that the agent is registered as
		change func(*policyv1.Policy)
		label  string
		want   crossingv1.Reason
		detail string
		of     string // what it counts as
		source crossingv1.Operation_DataClassSource
		whole  bool
	}{
		{"none", "internal", nil, "", 0, "", "internal", workload, false},
		{"none, and unregistered", "", nil, "", crossingv1.Reason_DENIED_BY_INTENT, "", "restricted", byDefault, false},
		{"raised", "internal", nil, good("restricted"), crossingv1.Reason_DENIED_BY_INTENT, "", "restricted", byLabel, false},
		{"lowered, and allowed without it", "internal", nil, good("public"), 0, "", "public", byLabel, false},
		{"the same", "internal", nil, good("internal"), 0, "", "internal", byLabel, false},
		{"lowered, and needed", "restricted", nil, good("public"), 0, "", "public", byLabel, true},
		{"of what is registered as nothing", "", nil, good("internal"), 0, "", "internal", byLabel, true},
		{"of the caller itself", "restricted", func(p *policyv1.Policy) { p.Workloads["agent"].Data.MayLabel = true }, l.by("near.test", "/ai/agent", "internal", nil), 0, "", "internal", byLabel, true},

		{"of an unregistered class", "internal", nil, good("harmless"), badLabel, "knows no class", "internal", workload, false},
		{"of the caller, who may not", "internal", nil, l.by("near.test", "/ai/agent", "public", nil), badLabel, "agent may not label", "internal", workload, false},
		{"of nobody", "", nil, l.by("near.test", "/ai/nobody", "public", nil), badLabel, "is no workload", "restricted", byDefault, false},
		{"of the gateway", "internal", nil, l.by("near.test", "/sallyport/gateway/near-1", "public", nil), badLabel, "is no workload", "internal", workload, false},
		{"of another environment's labeler", "internal", nil, l.by("far.test", "/classifier", "public", nil), badLabel, "labels nothing of trust domain near.test", "internal", workload, false},
		{"of another caller", "internal", nil, l.by("near.test", "/classifier/1", "public", func(r *label.Request) { r.Caller = spiffeid.RequireFromString("spiffe://near.test/ai/tool") }), badLabel, "another than", "internal", workload, false},
		{"of another destination", "internal", nil, l.by("near.test", "/classifier/1", "public", func(r *label.Request) { r.Host = "tool.near.mesh" }), badLabel, "another than llm.far.mesh", "internal", workload, false},
		{"of another path", "internal", nil, l.by("near.test", "/classifier/1", "public", func(r *label.Request) { r.Line = "POST /v1/files" }), badLabel, "method or path", "internal", workload, false},
		{"words", "internal", nil, "public", badLabel, "three parts", "internal", workload, false},
		{"raised, and bad", "internal", nil, l.by("near.test", "/ai/agent", "restricted", nil), badLabel, "may not label", "internal", workload, false},
		{"bad, where nothing is allowed", "internal", shut, "public", badLabel, "three parts", "internal", workload, false},
		{"good, where nothing is allowed", "internal", shut, good("public"), crossingv1.Reason_NO_INTENT, "", "public", byLabel, false},
		{"allowed by another intent than without", "internal", func(p *policyv1.Policy) {
			p.Intents = append(p.Intents, &policyv1.Intent{Name: "a-public", Allow: &policyv1.Match{From: "agent"}, When: "x", Condition: &policyv1.Condition{
				Compare: &policyv1.Comparison{Attribute: "data.class", Operator: policyv1.Comparison_EQ, Literals: []string{"public"}},
			}})
		}, good("public"), 0, "", "public", byLabel, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			for side, v := range l.decide(holding(classified(t, 1, c.class, c.change)), c.label) {
				if v.Reason != c.want || v.Allow != (c.want == 0) || !strings.Contains(v.Detail, c.detail) {
					t.Errorf("%s: allow %t, reason %s, detail %q, want %s and %q", side, v.Allow, v.Reason, v.Detail, c.want, c.detail)
				}
				if v.DataClass != c.of || v.DataClassSource != c.source || v.Whole != c.whole {
					t.Errorf("%s: class %q by %s, whole %t, want %q by %s, %t", side, v.DataClass, v.DataClassSource, v.Whole, c.of, c.source, c.whole)
				}
				if (v.Label != nil) != (c.source == byLabel) || v.Label != nil && v.Label.ContentSHA256 != sha256.Sum256([]byte("content")) {
					t.Errorf("%s: label %+v", side, v.Label)
				}
			}
		})
	}
}

// TestLabelUnderBothPolicies: the policy that the peer names must take the labeler too.
func TestLabelUnderBothPolicies(t *testing.T) {
	l := newLabelling(t)
	may := func(serial uint64) *policy.Policy { return classified(t, serial, "restricted", nil) }
	mayNot := func(serial uint64) *policy.Policy {
		return classified(t, serial, "restricted", func(p *policyv1.Policy) { p.Workloads["classifier"].Data.MayLabel = false })
	}
	needless := classified(t, 2, "internal", nil)
	token := l.by("near.test", "/classifier/1", "public", nil)
	for _, c := range []struct {
		name           string
		current, named *policy.Policy
		want           crossingv1.Reason
	}{{"both", may(2), may(1), 0}, {"here alone", may(2), mayNot(1), badLabel}, {"there alone", mayNot(2), may(1), badLabel}, {"needed there", needless, may(1), 0}} {
		v := l.decide(held{p: &xdsclient.Policies{Current: c.current, Prepared: c.named}}, token)["ingress"]
		if v.Reason != c.want || v.Allow && !v.Whole {
			t.Errorf("%s: %s, %q, whole %t, want %s", c.name, v.Reason, v.Detail, v.Whole, c.want)
		}
	}
}

// TestLabelOfBytes: what has no content is not labelled, and a gateway that can verify
// nothing takes no label for good.
func TestLabelOfBytes(t *testing.T) {
	l := newLabelling(t)
	open := holding(classified(t, 1, "internal", func(p *policyv1.Policy) { p.Intents[0].Allow = &policyv1.Match{} }))
	token := l.by("near.test", "/classifier/1", "public", func(r *label.Request) { r.Line = "CONNECT llm.far.mesh:8000" })
	head := &l7.RequestHead{Method: "CONNECT", Authority: "llm.far.mesh:8000", Label: token}
	source := l.mesh["near.test"].Source("/sallyport/gateway/near-1")
	if v := New(nearGW, "near", open).TakeLabels(source).Egress(agent, head, time.Now()); v.Reason != badLabel || !strings.Contains(v.Detail, "no content") {
		t.Errorf("of bytes: %s, %q", v.Reason, v.Detail)
	}
	head = post("llm.far.mesh:8000", "/v1/chat")
	head.Label = l.by("near.test", "/classifier/1", "public", nil)
	if v := New(nearGW, "near", open).Egress(agent, head, time.Now()); v.Reason != badLabel || !strings.Contains(v.Detail, "can verify none") {
		t.Errorf("without a verifier: %s, %q", v.Reason, v.Detail)
	}
}

// TestLabelOfTheQuarantined: whose calls count for nothing, his labels do so too.
func TestLabelOfTheQuarantined(t *testing.T) {
	l := newLabelling(t)
	h := holding(classified(t, 1, "restricted", nil))
	h.acts = against(t, spiffeid.RequireFromString("spiffe://near.test/classifier/1"))
	for side, v := range l.decide(h, l.by("near.test", "/classifier/1", "public", nil)) {
		if v.Reason != badLabel || !strings.Contains(v.Detail, "was quarantined by act") {
			t.Errorf("%s: %s, %q", side, v.Reason, v.Detail)
		}
	}
	for side, v := range l.decide(h, l.by("near.test", "/classifier/2", "public", nil)) {
		if !v.Allow {
			t.Errorf("%s, another labeler: %s, %q", side, v.Reason, v.Detail)
		}
	}
}

// TestUnregisteredFieldLabelsNothing: no field that anybody can write says of what
// class data is.
func TestUnregisteredFieldLabelsNothing(t *testing.T) {
	h := holding(classified(t, 1, "", nil))
	for _, name := range []string{"x-data-class", "data-class", "sallyport-data-class", "sallyport_label", "x-sallyport-label", "data.class", "dataclass"} {
		head := post("llm.far.mesh:8000", "/v1/chat")
		head.Fields.Set(name, "public")
		out := New(nearGW, "near", h).Egress(agent, head, now)
		in := New(farGW, "far", h).Ingress(nearGW, header(1), head, now)
		for side, v := range map[string]Verdict{"egress": out, "ingress": in} {
			if v.Reason != crossingv1.Reason_DENIED_BY_INTENT || v.Intent != "stays" || v.DataClass != "restricted" || v.DataClassSource != crossingv1.Operation_DEFAULT {
				t.Errorf("%s: %s at %s: %s by %q, class %q by %s", name, name, side, v.Reason, v.Intent, v.DataClass, v.DataClassSource)
			}
		}
	}
}

// TestNoClasses: where the policy knows none, there is none.
func TestNoClasses(t *testing.T) {
	l := newLabelling(t)
	h := holding(policytest.Estate(t, 1, func(p *policyv1.Policy) {
		p.DataClasses = nil
		for _, w := range p.Workloads {
			w.Data = nil
		}
	}))
	if v := New(nearGW, "near", h).Egress(agent, post("llm.far.mesh:8000", "/v1/chat"), now); !v.Allow || v.DataClass != "" || v.DataClassSource != 0 {
		t.Errorf("%s, class %q by %s", v.Reason, v.DataClass, v.DataClassSource)
	}
	for side, v := range l.decide(h, l.by("near.test", "/ai/agent", "public", nil)) {
		if v.Reason != badLabel {
			t.Errorf("%s: %s", side, v.Reason)
		}
	}
}
