package dataclass

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/protobuf/proto"

	"github.com/sallyport-mesh/sallyport/gateway/policy"
	"github.com/sallyport-mesh/sallyport/gateway/policy/policytest"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// estate is an agent and an llm of these classes, "" for none.
func estate(t *testing.T, caller, callee string, intents ...*policyv1.Intent) (*policyv1.Policy, *policy.Policy) {
	t.Helper()
	var in *policyv1.Policy
	p := policytest.Estate(t, 1, func(p *policyv1.Policy) {
		p.DataClasses = []string{"public", "internal", "restricted"}
		for name, class := range map[string]string{"agent": caller, "llm": callee} {
			if p.Workloads[name].Data = nil; class != "" {
				p.Workloads[name].Data = &policyv1.DataRule{Class: class}
			}
		}
		p.Intents = append([]*policyv1.Intent{{Name: "all", Allow: &policyv1.Match{}}}, intents...)
		in = p
	})
	return in, p
}

func leaving(name, class, environment string) *policyv1.Intent {
	m := &policyv1.Match{Data: class}
	if environment != "" {
		m.Leaving = "environment:" + environment
	}
	return &policyv1.Intent{Name: name, Deny: m}
}

func conditional(name string, operator policyv1.Comparison_Operator, class string) *policyv1.Intent {
	return &policyv1.Intent{Name: name, Allow: &policyv1.Match{}, When: "x", Condition: &policyv1.Condition{
		Compare: &policyv1.Comparison{Attribute: "data.class", Operator: operator, Literals: []string{class}},
	}}
}

func view(t *testing.T, in *policyv1.Policy, p *policy.Policy, from string, with map[string]string) (policy.Explanation, View) {
	t.Helper()
	e, err := policy.Explain(p, from, "llm", "chat", with, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	v, err := Missing(in, p, e)
	if err != nil {
		t.Fatal(err)
	}
	return e, v
}

func TestOf(t *testing.T) {
	_, p := estate(t, "internal", "")
	for id, want := range map[string]Class{
		"spiffe://near.test/ai/agent":              {"internal", crossingv1.Operation_WORKLOAD},
		"spiffe://far.test/ai/llm":                 {"restricted", crossingv1.Operation_DEFAULT},
		"spiffe://near.test/ai/nobody":             {"restricted", crossingv1.Operation_DEFAULT},
		"spiffe://else.test/ai/agent":              {"restricted", crossingv1.Operation_DEFAULT},
		"spiffe://near.test/sallyport/gateway/any": {"restricted", crossingv1.Operation_DEFAULT},
	} {
		if got := Of(p, spiffeid.RequireFromString(id)); got != want {
			t.Errorf("%s: %v, want %v", id, got, want)
		}
	}
	none := policytest.Estate(t, 1, func(p *policyv1.Policy) {
		p.DataClasses = nil
		for _, w := range p.Workloads {
			w.Data = nil
		}
	})
	if got := Of(none, spiffeid.RequireFromString("spiffe://near.test/ai/agent")); got != (Class{}) || got.String() != "" {
		t.Errorf("of no classes: %v", got)
	}
}

func TestMissing(t *testing.T) {
	for _, c := range []struct {
		name            string
		caller, callee  string
		from            string // the agent, if not said
		with            map[string]string
		intents         []*policyv1.Intent
		asked, answered string
		decisions       []string
		effects         map[string]string
	}{
		{
			name: "none is missing", caller: "internal", callee: "public", intents: []*policyv1.Intent{leaving("stays", "restricted", "near")},
			asked: "internal, by its registration", answered: "public, by its registration",
		},
		{
			name: "the caller's, and it is labelled", callee: "public", with: map[string]string{"data.class": "internal"}, intents: []*policyv1.Intent{leaving("stays", "restricted", "near")},
			asked: "internal, by its label", answered: "public, by its registration",
		},
		{
			name: "the caller's", callee: "public", intents: []*policyv1.Intent{leaving("stays", "restricted", "near")},
			asked: "none registered: counts as restricted, the last", answered: "public, by its registration",
			decisions: []string{"the caller as public or internal: allowed by all"},
			effects:   map[string]string{"stays": "because the caller has no class: as public or internal it would not"},
		},
		{
			name: "nobody's", callee: "public", from: "spiffe://near.test/nobody", intents: []*policyv1.Intent{leaving("stays", "internal", "near")},
			asked: "none registered: counts as restricted, the last", answered: "public, by its registration",
			decisions: []string{"the caller as public: allowed by all", "the caller as internal: denied by stays"},
			effects:   map[string]string{"stays": "because the caller has no class: as public it would not"},
		},
		{
			name: "an allow's", callee: "public", intents: []*policyv1.Intent{conditional("a-low", policyv1.Comparison_LT, "restricted"), conditional("b-high", policyv1.Comparison_GE, "internal")},
			asked: "none registered: counts as restricted, the last", answered: "public, by its registration",
			decisions: []string{"the caller as public or internal: allowed by a-low"},
			effects: map[string]string{
				"a-low":  "because the caller has no class: as public or internal it would",
				"b-high": "because the caller has no class: as public it would not",
			},
		},
		{
			name: "it makes no difference", callee: "public", intents: []*policyv1.Intent{leaving("elsewhere", "restricted", "far")},
			asked: "none registered: counts as restricted, the last", answered: "public, by its registration",
			decisions: []string{"the caller as public or internal: allowed by all"},
		},
		{
			name: "the callee's", caller: "internal", intents: []*policyv1.Intent{leaving("stays", "restricted", "far")},
			asked: "internal, by its registration", answered: "none registered: counts as restricted, the last",
			decisions: []string{"the callee as public or internal: allowed by all"},
			effects:   map[string]string{"stays": "because the callee has no class: as public or internal it would not"},
		},
		{
			name: "both, and either is enough to deny", intents: []*policyv1.Intent{leaving("stays", "restricted", "")},
			asked: "none registered: counts as restricted, the last", answered: "none registered: counts as restricted, the last",
			decisions: []string{
				"the caller as public or internal: denied by stays", "the callee as public or internal: denied by stays",
				"both as public or internal: allowed by all",
			},
			effects: map[string]string{"stays": "because both have no class: as public or internal it would not"},
		},
		{
			name: "both, and one of them makes it", intents: []*policyv1.Intent{leaving("stays", "restricted", "near")},
			asked: "none registered: counts as restricted, the last", answered: "none registered: counts as restricted, the last",
			decisions: []string{"the caller as public or internal: allowed by all", "the callee as public or internal: denied by stays"},
			effects:   map[string]string{"stays": "because the caller has no class: as public or internal it would not"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			in, p := estate(t, c.caller, c.callee, c.intents...)
			before := proto.CloneOf(in)
			if c.from == "" {
				c.from = "agent"
			}
			_, v := view(t, in, p, c.from, c.with)
			if v.Asked.String() != c.asked || v.Answered.String() != c.answered {
				t.Errorf("asked %q, answered %q", v.Asked, v.Answered)
			}
			if got := v.Decisions(); !slices.Equal(got, c.decisions) {
				t.Errorf("decisions %q,\nwant      %q", got, c.decisions)
			}
			if !maps.Equal(v.Intents, c.effects) {
				t.Errorf("intents %q,\nwant    %q", v.Intents, c.effects)
			}
			if !proto.Equal(in, before) {
				t.Error("the policy is not what it was")
			}
		})
	}
}

// TestWouldIsSo: what is said would be decided is what is, once it is registered so.
func TestWouldIsSo(t *testing.T) {
	for _, intents := range [][]*policyv1.Intent{
		{leaving("stays", "restricted", "near")},
		{leaving("stays", "internal", "far")},
		{leaving("stays", "internal", ""), conditional("a-low", policyv1.Comparison_EQ, "public")},
	} {
		in, p := estate(t, "", "", intents...)
		_, v := view(t, in, p, "agent", nil)
		if len(v.Would) != 6 {
			t.Fatalf("%d decisions", len(v.Would))
		}
		for _, w := range v.Would {
			caller, callee := w.Class, w.Class
			switch w.Whose {
			case "the caller":
				callee = ""
			case "the callee":
				caller = ""
			}
			in, p := estate(t, caller, callee, intents...)
			e, now := view(t, in, p, "agent", nil)
			if e.Decision.Allow != w.Allow || e.Decision.Intent != w.Intent || e.Summary != w.Summary {
				t.Errorf("%+v, but registered so: %s", w, e.Summary)
			}
			if w.Whose == "both" && (len(now.Would) > 0 || strings.Contains(now.Asked.String(), "none")) {
				t.Errorf("%+v, though nothing is missing", now)
			}
		}
	}
}

// TestAnswer: a label raises the class of an answer, and never lowers it.
func TestAnswer(t *testing.T) {
	for _, c := range []struct {
		registered, said string
		want             Class
	}{
		{"internal", "public", Class{"internal", crossingv1.Operation_WORKLOAD}},
		{"internal", "internal", Class{"internal", crossingv1.Operation_WORKLOAD}},
		{"internal", "restricted", Class{"restricted", crossingv1.Operation_LABEL}},
		{"internal", "harmless", Class{"internal", crossingv1.Operation_WORKLOAD}},
		{"", "public", Class{"restricted", crossingv1.Operation_DEFAULT}},
		{"", "restricted", Class{"restricted", crossingv1.Operation_DEFAULT}},
	} {
		_, p := estate(t, "internal", c.registered)
		if got := Answer(p, p.Workload("llm"), c.said); got != c.want {
			t.Errorf("registered as %q, labelled %q: %+v, want %+v", c.registered, c.said, got, c.want)
		}
	}
}
