package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// reference is a second evaluator, written from the rules alone: no sets, no
// indices, one intent after the other.
func reference(p *policyv1.Policy, from, toName, service string, attrs map[string]string, now time.Time) (allow bool, reason crossingv1.Reason, decided string) {
	w, env := refCaller(p, from)
	to := p.Workloads[toName]
	toEnv := refEnvironment(p, to.Id)
	if env == "" {
		return false, crossingv1.Reason_BAD_IDENTITY, ""
	}
	if !slices.ContainsFunc(p.Transitions, func(t *policyv1.Transition) bool { return t.From == env && t.To == toEnv }) {
		return false, crossingv1.Reason_NO_TRANSITION, ""
	}
	last := len(p.DataClasses) - 1
	class := func(name string) int {
		if i := slices.Index(p.DataClasses, name); i >= 0 {
			return i
		}
		return last
	}
	sends, answers := class(p.Workloads[w].GetData().GetClass()), class(to.GetData().GetClass())
	if label, ok := attrs["data.class"]; ok {
		sends = class(label)
	}
	var denies []string
	var allows [16][]string // by what they oblige to
	for _, in := range p.Intents {
		m := in.Allow
		if in.Deny != nil {
			m = in.Deny
		}
		if !refSelects(p, m.From, from, w, env) || !refSelects(p, m.To, to.Id, toName, toEnv) || m.Service != "" && m.Service != service {
			continue
		}
		if v := in.Valid; v != nil {
			if t, err := time.Parse(time.RFC3339, v.NotBefore); err == nil && now.Before(t) {
				continue
			}
			if t, err := time.Parse(time.RFC3339, v.NotAfter); err == nil && !now.Before(t) {
				continue
			}
		}
		if in.Deny != nil {
			least, e := max(slices.Index(p.DataClasses, m.Data), 0), strings.TrimPrefix(m.Leaving, "environment:")
			asked := sends >= least && (e == "" || e == env)
			answered := answers >= least && (e == "" || e == toEnv)
			if !asked && !answered {
				continue
			}
		}
		t := 2
		if len(m.Methods) > 0 {
			if v, ok := attrs["http.method"]; !ok {
				t = min(t, 1)
			} else if !slices.Contains(m.Methods, v) {
				t = 0
			}
		}
		if len(m.Paths) > 0 {
			t = min(t, refPaths(m.Paths, attrs))
		}
		if in.Condition != nil {
			t = min(t, refCondition(in.Condition, attrs, p.DataClasses, sends))
		}
		switch {
		case in.Deny != nil && t > 0:
			denies = append(denies, in.Name)
		case in.Allow != nil && t == 2:
			w := refWeight(in.GetRequire().GetWorkloadProof(), in.GetRequire().GetDigest() != nil, in.GetRequire().GetGuard() != "", len(in.Limits) > 0)
			allows[w] = append(allows[w], in.Name)
		}
	}
	if len(denies) > 0 {
		return false, crossingv1.Reason_DENIED_BY_INTENT, slices.Min(denies)
	}
	for _, alike := range allows {
		if len(alike) > 0 {
			return true, 0, slices.Min(alike)
		}
	}
	return false, crossingv1.Reason_NO_INTENT, ""
}

// refWeight is how much an allow obliges to: of two, the lesser decides.
func refWeight(proof, digest, guard, limits bool) (w int) {
	if limits {
		w += 8
	}
	if guard {
		w += 4
	}
	if digest {
		w += 2
	}
	if proof {
		w++
	}
	return w
}

func refPaths(paths []string, attrs map[string]string) int {
	v, ok := attrs["http.path"]
	if !ok {
		return 1
	}
	for _, p := range paths {
		if p == v || strings.HasSuffix(p, "/*") && strings.HasPrefix(v, strings.TrimSuffix(p, "*")) {
			return 2
		}
	}
	return 0
}

func refEnvironment(p *policyv1.Policy, id string) string {
	for name, e := range p.Environments {
		if strings.HasPrefix(id, "spiffe://"+e.TrustDomain+"/") {
			return name
		}
	}
	return ""
}

// refCaller is the workload and the environment of an ID; an exact id goes
// before a pattern.
func refCaller(p *policyv1.Policy, id string) (workload, environment string) {
	for name, w := range p.Workloads {
		if w.Id == id {
			return name, refEnvironment(p, id)
		}
	}
	for name, w := range p.Workloads {
		if refMatches(w.Id, id) {
			return name, refEnvironment(p, id)
		}
	}
	return "", refEnvironment(p, id)
}

func refMatches(pattern, id string) bool {
	a, b := strings.Split(pattern, "/"), strings.Split(id, "/")
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != "*" && a[i] != b[i] {
			return false
		}
	}
	return true
}

func refSelects(p *policyv1.Policy, selector, id, workload, env string) bool {
	switch {
	case selector == "" || selector == "*":
		return true
	case strings.HasPrefix(selector, "environment:"):
		return selector == "environment:"+env
	case strings.HasPrefix(selector, "label:"):
		for k, v := range p.Workloads[workload].GetLabels() {
			if selector == "label:"+k+"="+v {
				return true
			}
		}
		return false
	case strings.HasPrefix(selector, "spiffe://"):
		return refMatches(selector, id)
	}
	return workload == selector
}

func refCondition(c *policyv1.Condition, attrs map[string]string, classes []string, sends int) int {
	switch {
	case c.All != nil:
		t := 2
		for _, k := range c.All.Conditions {
			t = min(t, refCondition(k, attrs, classes, sends))
		}
		return t
	case c.Any != nil:
		t := 0
		for _, k := range c.Any.Conditions {
			t = max(t, refCondition(k, attrs, classes, sends))
		}
		return t
	case c.Not != nil:
		return 2 - refCondition(c.Not, attrs, classes, sends)
	}
	v, ok := attrs[c.Compare.Attribute]
	literal := c.Compare.Literals[0]
	if c.Compare.Attribute == "data.class" {
		ok, v = true, fmt.Sprint(sends)
		literal = fmt.Sprint(slices.Index(classes, literal))
	}
	if !ok {
		return 1
	}
	holds := map[policyv1.Comparison_Operator]bool{
		policyv1.Comparison_EQ: v == literal, policyv1.Comparison_NE: v != literal,
		policyv1.Comparison_LT: v < literal, policyv1.Comparison_GE: v >= literal,
		policyv1.Comparison_IN: slices.Contains(c.Compare.Literals, v), policyv1.Comparison_PREFIX: strings.HasPrefix(v, literal),
	}[c.Compare.Operator]
	if holds {
		return 2
	}
	return 0
}

func pick[T any](t *rapid.T, name string, from ...T) T { return rapid.SampledFrom(from).Draw(t, name) }

func genCondition(t *rapid.T, depth int) *policyv1.Condition {
	kids := func() *policyv1.Conditions {
		return &policyv1.Conditions{Conditions: []*policyv1.Condition{genCondition(t, depth-1), genCondition(t, depth-1)}}
	}
	if depth > 0 {
		switch pick(t, "form", "all", "any", "not", "compare", "compare") {
		case "all":
			return &policyv1.Condition{All: kids()}
		case "any":
			return &policyv1.Condition{Any: kids()}
		case "not":
			return &policyv1.Condition{Not: genCondition(t, depth-1)}
		}
	}
	c := &policyv1.Comparison{Attribute: pick(t, "attribute", "ai.model", "http.method", "data.class")}
	switch c.Attribute {
	case "data.class":
		c.Operator = pick(t, "op", policyv1.Comparison_LT, policyv1.Comparison_GE, policyv1.Comparison_EQ)
		c.Literals = []string{pick(t, "literal", "public", "internal", "restricted")}
	case "ai.model":
		c.Operator = pick(t, "op", policyv1.Comparison_PREFIX, policyv1.Comparison_NE)
		c.Literals = []string{pick(t, "literal", "m", "mm")}
	default:
		c.Operator = policyv1.Comparison_IN
		c.Literals = []string{"POST", "GET"}
	}
	return &policyv1.Condition{Compare: c}
}

func genIntent(t *rapid.T, i int) *policyv1.Intent {
	in := &policyv1.Intent{Name: fmt.Sprintf("i-%d", i)}
	m := &policyv1.Match{
		From: pick(t, "from", "", "*", "one", "many", "environment:a", "environment:b", "label:tier=front",
			"spiffe://a.test/*/*", "spiffe://a.test/agent/7", "spiffe://a.test/ai/one", "spiffe://a.test/*"),
		To:      pick(t, "to", "", "llm", "vault", "environment:b", "label:tier=back", "spiffe://b.test/ai/*"),
		Service: pick(t, "service", "", "", "chat", "get"),
		Methods: pick(t, "methods", nil, nil, []string{"GET"}),
		Paths:   pick(t, "paths", nil, nil, []string{"/v1/*"}, []string{"/x"}),
	}
	if m.To == "llm" && m.Service == "get" || m.To == "vault" && m.Service == "chat" {
		m.Service = ""
	}
	if rapid.Bool().Draw(t, "conditional") {
		in.When, in.Condition = "x", genCondition(t, 3)
	}
	in.Valid = pick(t, "valid", nil, nil, &policyv1.Validity{NotAfter: "2026-11-23T12:00:00Z"}, &policyv1.Validity{NotBefore: "2026-01-01T00:00:00Z"})
	if rapid.Bool().Draw(t, "deny") {
		m.Data = pick(t, "data", "", "internal", "restricted")
		m.Leaving = pick(t, "leaving", "", "environment:a", "environment:b")
		in.Deny = m
		return in
	}
	in.Allow = m
	if rapid.Bool().Draw(t, "limited") {
		in.Limits = with{"requests": "1/day"}
	}
	if rapid.Bool().Draw(t, "proof") {
		in.Require = &policyv1.Require{WorkloadProof: true}
	}
	if rapid.Bool().Draw(t, "digest") {
		in.Require = &policyv1.Require{WorkloadProof: in.GetRequire().GetWorkloadProof(), Digest: &policyv1.DigestRule{In: "released"}}
	}
	if rapid.Bool().Draw(t, "guarded") {
		in.Require = &policyv1.Require{WorkloadProof: in.GetRequire().GetWorkloadProof(), Digest: in.GetRequire().GetDigest(), Guard: "dlp"}
	}
	return in
}

// question is a random question, as text.
type question struct {
	from, to, service string
	attrs             map[string]string
}

func genQuestion(t *rapid.T) question {
	q := question{attrs: map[string]string{}}
	q.from = pick(t, "caller", one, agent, other, "spiffe://a.test/agent/8", "spiffe://b.test/vault", "spiffe://x.test/a")
	callee := pick(t, "callee", "llm/chat", "llm/health", "vault/get", "lone/get")
	q.to, q.service, _ = strings.Cut(callee, "/")
	for name, values := range map[string][]string{
		"ai.model": {"m1", "mm", "n"}, "http.method": {"GET", "POST", "PUT"}, "http.path": {"/v1/a", "/x", "/v1"},
		"data.class": {"public", "restricted", "unheard-of"},
	} {
		if rapid.Bool().Draw(t, "know "+name) {
			q.attrs[name] = pick(t, name, values...)
		}
	}
	return q
}

func (q question) ask(t testing.TB, p *policyv1.Policy) Decision {
	c := compiled(t, p)
	query := Query{From: id(t, q.from), To: c.Workload(q.to), Service: q.service, Attributes: attributes(t, q.attrs), Now: noon()}
	return c.Decide(&query)
}

// anyModel allows whatever names a model.
func anyModel() *policyv1.Intent {
	named := &policyv1.Comparison{Attribute: "ai.model", Operator: policyv1.Comparison_PREFIX, Literals: []string{""}}
	return &policyv1.Intent{Name: "any-model", Allow: &policyv1.Match{}, When: "x", Condition: &policyv1.Condition{Compare: named}}
}

func genPolicy(tb testing.TB, t *rapid.T) *policyv1.Policy {
	p := small(tb, `[]`)
	p.Guards = map[string]*policyv1.Guard{"dlp": {Owner: "ops"}}
	for i := range rapid.IntRange(0, 6).Draw(t, "intents") {
		p.Intents = append(p.Intents, genIntent(t, i))
	}
	return p
}

func TestDecideAgreesWithReference(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		p, q := genPolicy(t, rt), genQuestion(rt)
		d := q.ask(t, p)
		allow, reason, intent := reference(p, q.from, q.to, q.service, q.attrs, noon())
		if d.Allow != allow || d.Reason != reason || d.Intent != intent {
			rt.Fatalf("Decide = %+v; the reference says %v, %v, %q\n%v", d, allow, reason, intent, p.Intents)
		}
	})
}

// TestUnread: what is decided before all of a content was read stands, whatever the
// rest says; and what is pending depends on that.
func TestUnread(t *testing.T) {
	decided, pending := 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		p, q := genPolicy(t, rt), genQuestion(rt)
		if rapid.Bool().Draw(rt, "of any model") { // or hardly any would be pending
			p.Intents = append(p.Intents, anyModel())
		}
		c := compiled(t, p)
		early := question{q.from, q.to, q.service, maps.Clone(q.attrs)}
		if rapid.Bool().Draw(rt, "model unread") {
			delete(early.attrs, "ai.model")
		}
		query := Query{From: id(t, q.from), To: c.Workload(q.to), Service: q.service, Attributes: attributes(t, early.attrs), Now: noon(), Unread: true}
		d := c.Decide(&query)
		query.Attributes, query.Unread = attributes(t, q.attrs), false
		late := c.Decide(&query)
		_, known := early.attrs["ai.model"]
		switch {
		case d.Pending && known:
			rt.Fatalf("pending, and all that content tells is known: %v", p.Intents)
		case d.Pending:
			pending++
			if d.Allow || d.Reason != crossingv1.Reason_REASON_UNSPECIFIED {
				rt.Fatalf("pending, and decided: %+v", d)
			}
		case d != late:
			rt.Fatalf("decided early: %+v; with all of it: %+v\n%v", d, late, p.Intents)
		default:
			decided++
		}
	})
	t.Logf("%d decided early, %d pending", decided, pending)
	if decided == 0 || pending == 0 {
		t.Errorf("%d decided early, %d pending; the test tests nothing", decided, pending)
	}
}

func TestOrderNeverMatters(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		p, q := genPolicy(t, rt), genQuestion(rt)
		shuffled := proto.CloneOf(p)
		shuffled.Intents = rapid.Permutation(shuffled.Intents).Draw(rt, "order")
		slices.Reverse(shuffled.Transitions)
		a, b := q.ask(t, p), q.ask(t, shuffled)
		if a.Allow != b.Allow || a.Reason != b.Reason || a.Intent != b.Intent || a.Limited != b.Limited || a.Proof != b.Proof || a.Digest != b.Digest || (a.Guard == nil) != (b.Guard == nil) || a.Idempotent != b.Idempotent {
			rt.Fatalf("%+v in one order, %+v in another", a, b)
		}
	})
}

func weightOf(d Decision) int { return refWeight(d.Proof, d.Digest, d.Guard != nil, d.Limited) }

func TestIntentsAreMonotone(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		p, q := genPolicy(t, rt), genQuestion(rt)
		more := proto.CloneOf(p)
		added := genIntent(rt, 9)
		added.Name = pick(rt, "name", "a-first", "z-last")
		more.Intents = append(more.Intents, added)
		before, after := q.ask(t, p), q.ask(t, more)
		switch {
		case added.Deny != nil && after.Allow && !before.Allow:
			rt.Fatalf("a deny more allows more: %+v", after)
		case added.Allow != nil && before.Allow && (!after.Allow || weightOf(after) > weightOf(before)):
			rt.Fatalf("an allow more denies more: %+v", after)
		}
	})
}

// TestExplainAgrees: what is said to have matched is what decided.
func TestExplainAgrees(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		p, q := genPolicy(t, rt), genQuestion(rt)
		if q.attrs["data.class"] == "unheard-of" {
			delete(q.attrs, "data.class")
		}
		c := compiled(t, p)
		e, err := Explain(c, q.from, q.to, q.service, q.attrs, noon())
		if err != nil {
			rt.Fatal(err)
		}
		d := q.ask(t, p)
		if d != e.Decision && (d.Allow != e.Decision.Allow || d.Intent != e.Decision.Intent) {
			rt.Fatalf("Explain says %+v, Decide %+v", e.Decision, d)
		}
		if len(e.Considered) == 0 {
			return
		}
		matched := slices.ContainsFunc(e.Considered, func(c Considered) bool { return c.Matched && c.Deny == !d.Allow })
		if matched != (d.Intent != "") {
			rt.Fatalf("decided by %q, but considered %+v", d.Intent, e.Considered)
		}
		for _, c := range e.Considered {
			if c.Intent == d.Intent && !c.Matched || c.Why == "" {
				rt.Fatalf("decided by %q, considered as %+v", d.Intent, c)
			}
		}
	})
}

// TestReachHolds: no call crosses where Never is said, and each where Always is.
func TestReachHolds(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		p, q := genPolicy(t, rt), genQuestion(rt)
		delete(q.attrs, "data.class") // a label changes what the caller sends
		c := compiled(t, p)
		w := c.WorkloadByID(id(t, one))
		q.from = one
		d := q.ask(t, p)
		switch r := c.ReachOf(w, c.Workload(q.to), q.service, noon()); {
		case r == Never && d.Allow, r == Always && !d.Allow:
			rt.Fatalf("%v, but %+v", r, d)
		}
	})
}
