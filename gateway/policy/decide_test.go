package policy

import (
	"fmt"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/protobuf/encoding/protojson"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

const (
	one   = "spiffe://a.test/ai/one"
	agent = "spiffe://a.test/agent/7"
	other = "spiffe://a.test/else"
)

type with = map[string]string

func TestDecide(t *testing.T) {
	when := func(c string) string { return `"when":"x","condition":` + c }
	eq := `{"compare":{"attribute":"ai.model","operator":"EQ","literals":["m"]}}`
	cases := []struct {
		name    string
		intents string
		from    string
		to      string // WORKLOAD/SERVICE
		with    with
		reason  crossingv1.Reason
		intent  string
		limited bool
		digest  bool
		proof   bool
	}{
		{name: "nothing allows", intents: `[]`, from: one, to: "llm/chat", reason: crossingv1.Reason_NO_INTENT},
		{name: "by name", intents: `[{"name":"i","allow":{"from":"one","to":"llm","service":"chat"}}]`, from: one, to: "llm/chat", intent: "i"},
		{name: "another service", intents: `[{"name":"i","allow":{"from":"one","to":"llm","service":"chat"}}]`, from: one, to: "llm/health", reason: crossingv1.Reason_NO_INTENT},
		{name: "another callee", intents: `[{"name":"i","allow":{"from":"one","to":"vault"}}]`, from: one, to: "llm/chat", reason: crossingv1.Reason_NO_INTENT},
		{name: "everyone", intents: `[{"name":"i","allow":{}}]`, from: other, to: "llm/chat", intent: "i"},
		{name: "environment", intents: `[{"name":"i","allow":{"from":"environment:a","to":"environment:b"}}]`, from: other, to: "llm/chat", intent: "i"},
		{name: "other environment", intents: `[{"name":"i","allow":{"from":"environment:b"}}]`, from: one, to: "llm/chat", reason: crossingv1.Reason_NO_INTENT},
		{name: "label", intents: `[{"name":"i","allow":{"from":"label:tier=front"}}]`, from: one, to: "llm/chat", intent: "i"},
		{name: "label of a pattern", intents: `[{"name":"i","allow":{"from":"label:tier=front"}}]`, from: agent, to: "llm/chat", intent: "i"},
		{name: "no label", intents: `[{"name":"i","allow":{"from":"label:tier=front"}}]`, from: other, to: "llm/chat", reason: crossingv1.Reason_NO_INTENT},
		{name: "callee's label", intents: `[{"name":"i","allow":{"to":"label:tier=back"}}]`, from: one, to: "vault/get", intent: "i"},
		{name: "pattern names the one", intents: `[{"name":"i","allow":{"from":"spiffe://a.test/agent/7"}}]`, from: agent, to: "llm/chat", intent: "i"},
		{name: "pattern names another", intents: `[{"name":"i","allow":{"from":"spiffe://a.test/agent/8"}}]`, from: agent, to: "llm/chat", reason: crossingv1.Reason_NO_INTENT},
		{name: "pattern wider than the workload", intents: `[{"name":"i","allow":{"from":"spiffe://a.test/*/*"}}]`, from: agent, to: "llm/chat", intent: "i"},
		{name: "pattern of an exact workload", intents: `[{"name":"i","allow":{"from":"spiffe://a.test/ai/*"}}]`, from: one, to: "llm/chat", intent: "i"},
		{name: "pattern of nobody's ID", intents: `[{"name":"i","allow":{"from":"spiffe://a.test/*"}}]`, from: other, to: "llm/chat", intent: "i"},
		{name: "pattern is whole segments", intents: `[{"name":"i","allow":{"from":"spiffe://a.test/*"}}]`, from: agent, to: "llm/chat", reason: crossingv1.Reason_NO_INTENT},
		{name: "pattern for a callee", intents: `[{"name":"i","allow":{"to":"spiffe://b.test/ai/*"}}]`, from: one, to: "llm/chat", intent: "i"},
		{name: "a workload by name is not for others", intents: `[{"name":"i","allow":{"from":"many"}}]`, from: other, to: "llm/chat", reason: crossingv1.Reason_NO_INTENT},
		{name: "deny wins", intents: `[{"name":"a","allow":{}},{"name":"z","deny":{"from":"one"}}]`, from: one, to: "llm/chat", reason: crossingv1.Reason_DENIED_BY_INTENT, intent: "z"},
		{name: "smallest deny", intents: `[{"name":"y","deny":{}},{"name":"b","deny":{}},{"name":"a","allow":{}}]`, from: one, to: "llm/chat", reason: crossingv1.Reason_DENIED_BY_INTENT, intent: "b"},
		{name: "smallest allow", intents: `[{"name":"y","allow":{}},{"name":"b","allow":{}}]`, from: one, to: "llm/chat", intent: "b"},
		{name: "with a proof", intents: `[{"name":"i","allow":{},"require":{"workloadProof":true}}]`, from: one, to: "llm/chat", intent: "i", proof: true},
		{name: "with a proof, and limits", intents: `[{"name":"i","allow":{},"require":{"workloadProof":true},"limits":{"requests":"1/day"}}]`, from: one, to: "llm/chat", intent: "i", limited: true, proof: true},
		{name: "with a proof, or without", intents: `[{"name":"a","allow":{},"require":{"workloadProof":true}},{"name":"j","allow":{}}]`, from: one, to: "llm/chat", intent: "j"},
		{name: "with a proof, or under limits", intents: `[{"name":"a","allow":{},"limits":{"requests":"1/day"}},{"name":"j","allow":{},"require":{"workloadProof":true}}]`, from: one, to: "llm/chat", intent: "j", proof: true},
		{name: "with a digest", intents: `[{"name":"i","allow":{},"require":{"digest":{"in":"released"}}}]`, from: one, to: "llm/chat", intent: "i", digest: true},
		{name: "with a digest, or without", intents: `[{"name":"a","allow":{},"require":{"digest":{"in":"released"}}},{"name":"j","allow":{}}]`, from: one, to: "llm/chat", intent: "j"},
		{name: "with a digest, or a proof", intents: `[{"name":"a","allow":{},"require":{"digest":{"in":"released"}}},{"name":"j","allow":{},"require":{"workloadProof":true}}]`, from: one, to: "llm/chat", intent: "j", proof: true},
		{name: "with a digest, or under limits", intents: `[{"name":"a","allow":{},"limits":{"requests":"1/day"}},{"name":"j","allow":{},"require":{"digest":{"in":"released"}}}]`, from: one, to: "llm/chat", intent: "j", digest: true},
		{name: "without another intent's proof", intents: `[{"name":"a","allow":{"to":"vault"},"require":{"workloadProof":true}},{"name":"j","allow":{"to":"llm"}}]`, from: one, to: "llm/chat", intent: "j"},
		{name: "denied, proof or not", intents: `[{"name":"a","allow":{},"require":{"workloadProof":true}},{"name":"j","deny":{}}]`, from: one, to: "llm/chat", reason: crossingv1.Reason_DENIED_BY_INTENT, intent: "j"},
		{name: "under limits", intents: `[{"name":"i","allow":{},"limits":{"requests":"1/day"}}]`, from: one, to: "llm/chat", intent: "i", limited: true},
		{name: "an allow without limits is enough", intents: `[{"name":"a","allow":{},"limits":{"requests":"1/day"}},{"name":"b","allow":{}}]`, from: one, to: "llm/chat", intent: "b"},
		{name: "no transition", intents: `[{"name":"i","allow":{}}]`, from: one, to: "lone/get", reason: crossingv1.Reason_NO_TRANSITION},
		{name: "same environment", intents: `[{"name":"i","allow":{}}]`, from: "spiffe://b.test/vault", to: "llm/chat", reason: crossingv1.Reason_NO_TRANSITION},
		{name: "unknown trust domain", intents: `[{"name":"i","allow":{}}]`, from: "spiffe://x.test/ai/one", to: "llm/chat", reason: crossingv1.Reason_BAD_IDENTITY},
		{name: "a gateway is no caller", intents: `[{"name":"i","allow":{}}]`, from: "spiffe://a.test/sallyport/gateway/a-1", to: "llm/chat", reason: crossingv1.Reason_BAD_IDENTITY},
		{name: "no path", intents: `[{"name":"i","allow":{}}]`, from: "spiffe://a.test", to: "llm/chat", reason: crossingv1.Reason_BAD_IDENTITY},
		{name: "unknown service", intents: `[{"name":"i","allow":{}}]`, from: one, to: "llm/none", reason: crossingv1.Reason_UNKNOWN_SERVICE},
		{name: "service left out", intents: `[{"name":"i","allow":{}}]`, from: one, to: "llm/", reason: crossingv1.Reason_UNKNOWN_SERVICE},

		{name: "method", intents: `[{"name":"i","allow":{"methods":["GET","POST"]}}]`, from: one, to: "llm/chat", with: with{"http.method": "POST"}, intent: "i"},
		{name: "other method", intents: `[{"name":"i","allow":{"methods":["GET"]}}]`, from: one, to: "llm/chat", with: with{"http.method": "POST"}, reason: crossingv1.Reason_NO_INTENT},
		{name: "allow without the method", intents: `[{"name":"i","allow":{"methods":["GET"]}}]`, from: one, to: "llm/chat", reason: crossingv1.Reason_NO_INTENT},
		{name: "deny without the method", intents: `[{"name":"i","deny":{"methods":["GET"]}}]`, from: one, to: "llm/chat", reason: crossingv1.Reason_DENIED_BY_INTENT, intent: "i"},
		{name: "path", intents: `[{"name":"i","allow":{"paths":["/v1/chat"]}}]`, from: one, to: "llm/chat", with: with{"http.path": "/v1/chat"}, intent: "i"},
		{name: "path is not a prefix", intents: `[{"name":"i","allow":{"paths":["/v1/chat"]}}]`, from: one, to: "llm/chat", with: with{"http.path": "/v1/chats"}, reason: crossingv1.Reason_NO_INTENT},
		{name: "below", intents: `[{"name":"i","allow":{"paths":["/v1/*"]}}]`, from: one, to: "llm/chat", with: with{"http.path": "/v1/a/b"}, intent: "i"},
		{name: "below is whole segments", intents: `[{"name":"i","allow":{"paths":["/v1/*"]}}]`, from: one, to: "llm/chat", with: with{"http.path": "/v1beta"}, reason: crossingv1.Reason_NO_INTENT},
		{name: "below is not itself", intents: `[{"name":"i","allow":{"paths":["/v1/*"]}}]`, from: one, to: "llm/chat", with: with{"http.path": "/v1"}, reason: crossingv1.Reason_NO_INTENT},
		{name: "deny of an escaped path", intents: `[{"name":"i","deny":{"paths":["/admin"]}},{"name":"j","allow":{}}]`, from: one, to: "llm/chat", with: with{"http.path": "/%61dmin"}, reason: crossingv1.Reason_DENIED_BY_INTENT, intent: "i"},

		{name: "condition", intents: `[{"name":"i","allow":{},` + when(eq) + `}]`, from: one, to: "llm/chat", with: with{"ai.model": "m"}, intent: "i"},
		{name: "condition does not hold", intents: `[{"name":"i","allow":{},` + when(eq) + `}]`, from: one, to: "llm/chat", with: with{"ai.model": "n"}, reason: crossingv1.Reason_NO_INTENT},
		{name: "allow does not know", intents: `[{"name":"i","allow":{},` + when(eq) + `}]`, from: one, to: "llm/chat", reason: crossingv1.Reason_NO_INTENT},
		{name: "allow does not know the negation", intents: `[{"name":"i","allow":{},` + when(`{"not":`+eq+`}`) + `}]`, from: one, to: "llm/chat", reason: crossingv1.Reason_NO_INTENT},
		{name: "deny does not know", intents: `[{"name":"j","allow":{}},{"name":"i","deny":{},` + when(eq) + `}]`, from: one, to: "llm/chat", reason: crossingv1.Reason_DENIED_BY_INTENT, intent: "i"},
		{name: "deny does not know the negation", intents: `[{"name":"j","allow":{}},{"name":"i","deny":{},` + when(`{"not":`+eq+`}`) + `}]`, from: one, to: "llm/chat", reason: crossingv1.Reason_DENIED_BY_INTENT, intent: "i"},
		{name: "deny knows", intents: `[{"name":"j","allow":{}},{"name":"i","deny":{},` + when(eq) + `}]`, from: one, to: "llm/chat", with: with{"ai.model": "n"}, intent: "j"},
		{name: "protocol is known", intents: `[{"name":"i","allow":{},` + when(`{"compare":{"attribute":"protocol","operator":"IN","literals":["openai"]}}`) + `}]`, from: one, to: "llm/chat", intent: "i"},

		{name: "restricted leaves", intents: `[{"name":"j","allow":{}},{"name":"i","deny":{"data":"restricted","leaving":"environment:a"}}]`, from: one, to: "llm/chat", with: with{"data.class": "restricted"}, reason: crossingv1.Reason_DENIED_BY_INTENT, intent: "i"},
		{name: "internal leaves", intents: `[{"name":"j","allow":{}},{"name":"i","deny":{"data":"restricted","leaving":"environment:a"}}]`, from: one, to: "llm/chat", intent: "j"},
		{name: "the lowest class", intents: `[{"name":"j","allow":{}},{"name":"i","deny":{"data":"internal","leaving":"environment:a"}}]`, from: one, to: "llm/chat", reason: crossingv1.Reason_DENIED_BY_INTENT, intent: "i"},
		{name: "an unknown label counts as the last", intents: `[{"name":"j","allow":{}},{"name":"i","deny":{"data":"restricted","leaving":"environment:a"}}]`, from: one, to: "llm/chat", with: with{"data.class": "secret"}, reason: crossingv1.Reason_DENIED_BY_INTENT, intent: "i"},
		{name: "unlabelled counts as the last", intents: `[{"name":"j","allow":{}},{"name":"i","deny":{"data":"restricted","leaving":"environment:a"}}]`, from: other, to: "llm/chat", reason: crossingv1.Reason_DENIED_BY_INTENT, intent: "i"},
		{name: "the answer leaves", intents: `[{"name":"j","allow":{}},{"name":"i","deny":{"data":"restricted","leaving":"environment:b"}}]`, from: one, to: "vault/get", reason: crossingv1.Reason_DENIED_BY_INTENT, intent: "i"},
		{name: "the answer is not so high", intents: `[{"name":"j","allow":{}},{"name":"i","deny":{"data":"restricted","leaving":"environment:b"}}]`, from: one, to: "llm/chat", intent: "j"},
		{name: "data goes elsewhere", intents: `[{"name":"j","allow":{}},{"name":"i","deny":{"data":"public","leaving":"environment:c"}}]`, from: one, to: "llm/chat", intent: "j"},

		{name: "not yet", intents: `[{"name":"i","allow":{},"valid":{"notBefore":"2026-11-23T12:00:01Z"}}]`, from: one, to: "llm/chat", reason: crossingv1.Reason_NO_INTENT},
		{name: "from the first instant", intents: `[{"name":"i","allow":{},"valid":{"notBefore":"2026-11-23T12:00:00Z"}}]`, from: one, to: "llm/chat", intent: "i"},
		{name: "no longer at the last", intents: `[{"name":"i","allow":{},"valid":{"notAfter":"2026-11-23T12:00:00Z"}}]`, from: one, to: "llm/chat", reason: crossingv1.Reason_NO_INTENT},
		{name: "for ever", intents: `[{"name":"i","allow":{},"valid":{"notAfter":"9999-12-31T00:00:00Z"}}]`, from: one, to: "llm/chat", intent: "i"},
		{name: "an old deny", intents: `[{"name":"j","allow":{}},{"name":"i","deny":{},"valid":{"notAfter":"2026-01-01T00:00:00Z"}}]`, from: one, to: "llm/chat", intent: "j"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			p := compiled(t, small(t, c.intents))
			var to, service string
			if _, err := fmt.Sscanf(c.to, "%s", &to); err != nil {
				t.Fatal(err)
			}
			for i := range to {
				if to[i] == '/' {
					to, service = to[:i], to[i+1:]
					break
				}
			}
			q := Query{From: id(t, c.from), To: p.Workload(to), Service: service, Attributes: attributes(t, c.with), Now: noon()}
			d := p.Decide(&q)
			allow := c.reason == crossingv1.Reason_REASON_UNSPECIFIED
			if d.Allow != allow || d.Reason != c.reason || d.Intent != c.intent || d.Limited != c.limited || d.Digest != c.digest || d.Proof != c.proof {
				t.Errorf("Decide = %+v, want allow %v reason %v intent %q limited %v digest %v proof %v", d, allow, c.reason, c.intent, c.limited, c.digest, c.proof)
			}
			owned := c.reason != crossingv1.Reason_BAD_IDENTITY && c.reason != crossingv1.Reason_NO_TRANSITION
			if owned != (d.Transition != nil && d.Transition.Owner == "sec") {
				t.Errorf("Transition = %+v", d.Transition)
			}
		})
	}
}

// TestDecideForeignWorkload asks with a workload that was resolved under
// another policy, or that is of none.
func TestDecideForeignWorkload(t *testing.T) {
	p := compiled(t, small(t, `[{"name":"i","allow":{"to":"llm"}}]`))
	q := compiled(t, small(t, `[]`))
	query := Query{From: id(t, one), To: q.Workload("llm"), Service: "chat", Now: noon()}
	if d := p.Decide(&query); !d.Allow {
		t.Errorf("another policy's llm: %+v", d)
	}
	for _, w := range []*Workload{nil, {Name: "nobody"}} {
		query.To = w
		if d := p.Decide(&query); d.Allow || d.Reason != crossingv1.Reason_UNKNOWN_DESTINATION {
			t.Errorf("To %v: %+v", w, d)
		}
	}
	query.To, query.From = p.Workload("llm"), spiffeid.ID{}
	if d := p.Decide(&query); d.Reason != crossingv1.Reason_BAD_IDENTITY {
		t.Errorf("no identity: %+v", d)
	}
}

// TestCalleePattern: an allow must cover all that a callee stands for, a deny
// any of it.
func TestCalleePattern(t *testing.T) {
	for _, c := range []struct {
		name, intents string
		allow         bool
	}{
		{"covered", `[{"name":"i","allow":{"to":"spiffe://a.test/*/*"}}]`, true},
		{"not covered", `[{"name":"i","allow":{"to":"spiffe://a.test/agent/7"}}]`, false},
		{"partly denied", `[{"name":"i","allow":{}},{"name":"j","deny":{"to":"spiffe://a.test/agent/7"}}]`, false},
		{"others denied", `[{"name":"i","allow":{}},{"name":"j","deny":{"to":"spiffe://a.test/bot/7"}}]`, true},
	} {
		p := compiled(t, small(t, c.intents))
		q := Query{From: id(t, "spiffe://b.test/vault"), To: p.Workload("many"), Now: noon()}
		if d := p.Decide(&q); d.Allow != c.allow {
			t.Errorf("%s: %+v", c.name, d)
		}
	}
}

func TestResolve(t *testing.T) {
	p := compiled(t, small(t, `[]`))
	for _, c := range []struct {
		authority, workload, service string
		reason                       crossingv1.Reason
	}{
		{"llm.b.mesh:8000", "llm", "chat", 0},
		{"llm.b.mesh:9000", "llm", "health", 0},
		{"LLM.b.Mesh:9000", "llm", "health", 0},
		{"llm.b.mesh", "llm", "", crossingv1.Reason_UNKNOWN_SERVICE},
		{"llm.b.mesh:443", "llm", "", crossingv1.Reason_UNKNOWN_SERVICE},
		{"lone.c.mesh", "lone", "get", 0},
		{"lone.c.mesh:443", "lone", "get", 0},
		{"lone.c.mesh:80", "lone", "get", 0},
		{"lone.c.mesh:08080", "lone", "", crossingv1.Reason_UNKNOWN_SERVICE},
		{"lone.c.mesh:22", "lone", "", crossingv1.Reason_UNKNOWN_SERVICE},
		{"lone.c.mesh:", "lone", "", crossingv1.Reason_UNKNOWN_SERVICE},
		{"one.a.mesh", "one", "", crossingv1.Reason_UNKNOWN_SERVICE},
		{"llm.a.mesh", "", "", crossingv1.Reason_UNKNOWN_DESTINATION},
		{"llm.b.mesh.", "", "", crossingv1.Reason_UNKNOWN_DESTINATION},
		{"evil.llm.b.mesh", "", "", crossingv1.Reason_UNKNOWN_DESTINATION},
		{"", "", "", crossingv1.Reason_UNKNOWN_DESTINATION},
	} {
		w, s, reason := p.Resolve(c.authority)
		name, service := "", ""
		if w != nil {
			name = w.Name
		}
		if s != nil {
			service = s.Name
		}
		if name != c.workload || service != c.service || reason != c.reason {
			t.Errorf("Resolve(%q) = %q, %q, %v, want %q, %q, %v", c.authority, name, service, reason, c.workload, c.service, c.reason)
		}
	}
}

func TestModel(t *testing.T) {
	p := compiled(t, small(t, `[]`))
	if p.Ref() != (Ref{7, "sha256:00"}) || p.Name() != "small" {
		t.Errorf("Ref %v, Name %q", p.Ref(), p.Name())
	}
	if env, ok := p.EnvironmentOf(spiffeid.RequireTrustDomainFromString("b.test")); env != "b" || !ok {
		t.Errorf("EnvironmentOf = %q, %v", env, ok)
	}
	if _, ok := p.EnvironmentOf(spiffeid.RequireTrustDomainFromString("x.test")); ok {
		t.Error("an environment of an unknown trust domain")
	}
	tr := p.TransitionOf("b", "a")
	if tr == nil || tr.Durable || tr.OnCall != "+1" || tr.Owner != "ops" || !p.TransitionOf("a", "b").Durable {
		t.Errorf("transition %+v", tr)
	}
	if !tr.GoesOn || p.TransitionOf("a", "b").GoesOn {
		t.Error("only the one that says so may be crossed without a record")
	}
	if p.TransitionOf("a", "c") != nil || p.TransitionOf("a", "x") != nil || len(p.Transitions()) != 2 {
		t.Error("a transition that the policy does not have")
	}
	g := p.GatewayByID(id(t, "spiffe://a.test/sallyport/gateway/a-1"))
	if g == nil || g.Environment != "a" || !g.DialOut || len(p.Gateways()) != 2 {
		t.Errorf("gateway %+v", g)
	}
	if p.GatewayByID(id(t, "spiffe://b.test/sallyport/gateway/a-1")) != nil {
		t.Error("a gateway under another trust domain")
	}
	s := p.Workload("llm").Service("chat")
	if s == nil || s.Port != 8000 || s.Path != "/v1" || s.Protocol != "openai" {
		t.Errorf("service %+v", s)
	}
	for text, want := range map[string]string{one: "one", agent: "many"} {
		if w := p.WorkloadByID(id(t, text)); w == nil || w.Name != want {
			t.Errorf("WorkloadByID(%s) = %v", text, w)
		}
	}
	if p.WorkloadByID(id(t, other)) != nil || p.WorkloadByID(id(t, "spiffe://x.test/a")) != nil {
		t.Error("a workload of nobody's ID")
	}
}

// large is a policy of so many intents and workloads, and a query that an allow
// with a condition decides, past denies.
func large(tb testing.TB, intents, workloads int) (*Policy, Query) {
	p := small(tb, `[]`)
	for i := range workloads {
		p.Workloads[fmt.Sprintf("w-%d", i)] = &policyv1.Workload{
			Id: fmt.Sprintf("spiffe://%c.test/load/w-%d", 'a'+i%2, i), Owner: "ops", Data: &policyv1.DataRule{Class: "internal"}, Labels: with{"shard": fmt.Sprint(i % 10)},
		}
	}
	for i := range intents {
		in := &policyv1.Intent{Name: fmt.Sprintf("i-%05d", i)}
		m := &policyv1.Match{From: fmt.Sprintf("w-%d", i*2%workloads), To: "llm", Service: "chat"}
		condition := fmt.Sprintf(`{"all":{"conditions":[{"compare":{"attribute":"ai.operation","operator":"EQ","literals":["chat"]}},
			{"compare":{"attribute":"ai.model","operator":"IN","literals":["m-%d","n","o"]}}]}}`, i%7)
		in.When, in.Condition = "x", &policyv1.Condition{}
		if err := protojson.Unmarshal([]byte(condition), in.Condition); err != nil {
			tb.Fatal(err)
		}
		switch i % 10 {
		case 0:
			in.Deny, m.From = m, fmt.Sprintf("label:shard=%d", i/20%10)
			if i%20 == 0 { // the others have a condition
				m.From, m.Data, m.Leaving = "environment:a", "restricted", "environment:a"
				in.When, in.Condition = "", nil
			}
		case 1:
			m.From = fmt.Sprintf("label:shard=%d", i/10%10)
			in.Allow = m
		default:
			in.Allow = m
		}
		p.Intents = append(p.Intents, in)
	}
	p.Intents = append(p.Intents, &policyv1.Intent{Name: "z-last", Allow: &policyv1.Match{From: "w-2", To: "llm"}})
	c := compiled(tb, p)
	q := Query{From: c.Workload("w-2").ID, To: c.Workload("llm"), Service: "chat", Now: noon()}
	q.Attributes.SetString(AIOperation, "chat")
	q.Attributes.SetString(AIModel, "none")
	return c, q
}

func TestDecideDoesNotAllocate(t *testing.T) {
	p, q := large(t, 200, 400)
	queries := []Query{q, q, q, q}
	queries[1].From = id(t, agent)
	queries[2].From = id(t, other)
	queries[3].From = id(t, "spiffe://x.test/a")
	for i := range queries {
		if n := testing.AllocsPerRun(100, func() { p.Decide(&queries[i]) }); n != 0 {
			t.Errorf("Decide(%s) allocates %v times", queries[i].From, n)
		}
	}
}

// BenchmarkDecide: how long does a decision take at 1,000 intents and 10,000
// workloads, when fifty denies about data and the conditions of fifteen other
// intents are in its way?
func BenchmarkDecide(b *testing.B) {
	p, q := large(b, 1000, 10_000)
	if d := p.Decide(&q); !d.Allow || d.Intent != "z-last" {
		b.Fatalf("%+v", d)
	}
	b.ReportAllocs()
	for b.Loop() {
		p.Decide(&q)
	}
}

// BenchmarkCompile: how long until such a policy can decide?
func BenchmarkCompile(b *testing.B) {
	start := time.Now()
	large(b, 1000, 10_000)
	b.ReportMetric(float64(time.Since(start).Milliseconds()), "ms")
}

// TestServes: a TLS client may name the workload, or the host that the policy says
// the service is at.
func TestServes(t *testing.T) {
	w := &Workload{Name: "llm", Environment: "azure"}
	for _, c := range []struct {
		host, server string
		want         bool
	}{
		{"", "llm.azure.mesh", true},
		{"", "LLM.Azure.mesh", true},
		{"", "", false},
		{"", "llm.aws.mesh", false},
		{"db.example.com", "llm.azure.mesh", true},
		{"db.example.com", "DB.example.com", true},
		{"db.example.com", "example.com", false},
		{"db.example.com", "", false},
	} {
		if got := w.Serves(&Service{Host: c.host}, c.server); got != c.want {
			t.Errorf("at host %q, server %q: %t", c.host, c.server, got)
		}
	}
}
