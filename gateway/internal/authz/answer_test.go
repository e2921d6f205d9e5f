package authz

import (
	"crypto/sha256"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/xdsclient"
	"github.com/sallyport-mesh/sallyport/gateway/label"
	"github.com/sallyport-mesh/sallyport/gateway/policy"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// answered is a label, by somebody of far, that an answer is of a class.
func (l labelling) answered(domain, path, class string) string {
	l.t.Helper()
	svid, err := l.mesh[domain].Source(path).GetX509SVID()
	if err != nil {
		l.t.Fatal(err)
	}
	a := label.Answer{Callee: l.mesh["far.test"].ID("/ai/llm"), Caller: agent, Line: "POST /v1/chat"}
	token, err := label.SignAnswer(svid, a, class, sha256.Sum256([]byte("content")), time.Now())
	if err != nil {
		l.t.Fatal(err)
	}
	return token
}

// hear is what both gateways make of an answer with those labels, to a call that both allow.
func (l labelling) hear(near, far held, tokens ...string) map[string]*Answer {
	l.t.Helper()
	now := time.Now()
	egress := New(nearGW, "near", near).TakeLabels(l.mesh["near.test"].Source("/sallyport/gateway/near-1"))
	ingress := New(farGW, "far", far).TakeLabels(l.mesh["far.test"].Source("/sallyport/gateway/far-1"))
	out := egress.Egress(agent, post("llm.far.mesh:8000", "/v1/chat"), now)
	in := ingress.Ingress(nearGW, header(1), post("llm.far.mesh:8000", "/v1/chat"), now)
	if !out.Allow || !in.Allow {
		l.t.Fatalf("denied: %v, %v", out.Reason, in.Reason)
	}
	head := &l7.ResponseHead{Status: 200}
	for _, token := range tokens {
		head.Fields = append(head.Fields, l7.Field{Name: label.Field, Value: token})
	}
	return map[string]*Answer{"egress": egress.Answer(&out, head, now), "ingress": ingress.Answer(&in, head, now)}
}

// restrictedStays is the estate whose llm has some class, and where nothing restricted
// leaves far.
func restrictedStays(t testing.TB, serial uint64, class string, change func(*policyv1.Policy)) *policy.Policy {
	return classified(t, serial, "internal", func(p *policyv1.Policy) {
		p.Workloads["llm"].Data.Class = class
		p.Intents = append(p.Intents, &policyv1.Intent{Name: "answers-stay", Deny: &policyv1.Match{Data: "restricted", Leaving: "environment:far"}})
		if change != nil {
			change(p)
		}
	})
}

// TestAnswer: a registered labeler of the callee's environment raises the class of an
// answer, and what then denies it is asked; whatever else came as a label stops it.
func TestAnswer(t *testing.T) {
	l := newLabelling(t)
	good := func(class string) string { return l.answered("far.test", "/classifier", class) }
	const forbidden = crossingv1.Reason_FORBIDDEN_ANSWER
	for _, c := range []struct {
		name, callee string
		change       func(*policyv1.Policy)
		token        string
		want         crossingv1.Reason
		class        string
		detail       string
	}{
		{"raised", "internal", nil, good("restricted"), forbidden, "restricted", "intent answers-stay denies that"},
		{"raised, and that is allowed", "public", nil, good("internal"), 0, "internal", ""},
		{"lower", "internal", nil, good("public"), 0, "internal", ""},
		{"raised, where only another service is denied", "internal", func(p *policyv1.Policy) {
			p.Intents[len(p.Intents)-1].Deny.Service = "health"
		}, good("restricted"), 0, "restricted", ""},
		{"raised, and denied where nobody knows", "internal", func(p *policyv1.Policy) {
			stays := p.Intents[len(p.Intents)-1]
			stays.When, stays.Condition = "x", &policyv1.Condition{Compare: &policyv1.Comparison{
				Attribute: "ai.tool", Operator: policyv1.Comparison_EQ, Literals: []string{"export"},
			}}
		}, good("restricted"), forbidden, "restricted", "denies that"},

		{"words", "internal", nil, "restricted", badLabel, "", "three parts"},
		{"of a request", "internal", nil, l.by("far.test", "/classifier", "internal", nil), badLabel, "", "another type"},
		{"of an unregistered class", "internal", nil, good("harmless"), badLabel, "", "knows no class"},
		{"of the callee, who may not", "internal", nil, l.answered("far.test", "/ai/llm", "internal"), badLabel, "", "llm may not label"},
		{"of nobody", "internal", nil, l.answered("far.test", "/nobody", "internal"), badLabel, "", "is no workload"},
		{"of the caller's labeler", "internal", nil, l.answered("near.test", "/classifier/1", "internal"), badLabel, "", "labels nothing of trust domain far.test"},
	} {
		at := held{p: &xdsclient.Policies{Current: restrictedStays(t, 1, c.callee, c.change)}}
		for side, got := range l.hear(at, at, c.token) {
			if got.Reason != c.want || got.Class != c.class || !strings.Contains(got.Detail, c.detail) || (got.Label == nil) != (c.class == "") {
				t.Errorf("%s, at %s: %+v", c.name, side, got)
			}
		}
	}
}

// TestAnswerWithoutLabel, with two, and with another status.
func TestAnswerWithoutLabel(t *testing.T) {
	l := newLabelling(t)
	at := held{p: &xdsclient.Policies{Current: restrictedStays(t, 1, "internal", nil)}}
	for side, got := range l.hear(at, at) {
		if got != nil {
			t.Errorf("at %s, of none: %+v", side, got)
		}
	}
	token := l.answered("far.test", "/classifier", "internal")
	for side, got := range l.hear(at, at, token, token) {
		if got.Reason != badLabel || got.Detail != "the answer's label: there are two" {
			t.Errorf("at %s, of two: %+v", side, got)
		}
	}
	a := New(nearGW, "near", at)
	v := a.Egress(agent, post("llm.far.mesh:8000", "/v1/chat"), time.Now())
	head := &l7.ResponseHead{Status: 200, Fields: l7.Fields{{Name: label.Field, Value: token}}}
	if got := a.Answer(&v, head, time.Now()); got.Reason != badLabel {
		t.Errorf("where none can be verified: %+v", got)
	}
}

// TestAnswerUnderTwoPolicies: the ingress gateway asks that of the peer as well as its own.
func TestAnswerUnderTwoPolicies(t *testing.T) {
	l := newLabelling(t)
	free := func(p *policyv1.Policy) { p.Intents = p.Intents[:len(p.Intents)-1] }
	for name, c := range map[string]struct {
		named, own func(*policyv1.Policy)
		want       crossingv1.Reason
	}{
		"neither denies":     {free, free, 0},
		"the named denies":   {nil, free, crossingv1.Reason_FORBIDDEN_ANSWER},
		"its own denies":     {free, nil, crossingv1.Reason_FORBIDDEN_ANSWER},
		"its own has it not": {free, func(p *policyv1.Policy) { delete(p.Workloads, "far-classifier") }, badLabel},
	} {
		one := restrictedStays(t, 1, "internal", c.named)
		near, far := held{p: &xdsclient.Policies{Current: one}}, held{p: &xdsclient.Policies{Current: restrictedStays(t, 2, "internal", c.own), Prepared: one}}
		if got := l.hear(near, far, l.answered("far.test", "/classifier", "restricted"))["ingress"]; got.Reason != c.want {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// TestAnswerClassIsTheEgressGateways: of a callee that two policies register otherwise, the
// ingress gateway records the class that the egress gateway does.
func TestAnswerClassIsTheEgressGateways(t *testing.T) {
	l := newLabelling(t)
	one := restrictedStays(t, 1, "internal", nil)
	near, far := held{p: &xdsclient.Policies{Current: one}}, held{p: &xdsclient.Policies{Current: restrictedStays(t, 2, "public", nil), Prepared: one}}
	for side, got := range l.hear(near, far, l.answered("far.test", "/classifier", "public")) {
		if got.Class != "internal" || got.Reason != 0 {
			t.Errorf("at %s: %+v", side, got)
		}
	}
}
