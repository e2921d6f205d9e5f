package policy

import (
	"strings"
	"testing"

	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

func TestRunTests(t *testing.T) {
	p := small(t, `[{"name":"chat","allow":{"from":"one","to":"llm","service":"chat","methods":["POST"]}},
		{"name":"agents","allow":{"from":"many","to":"vault"}},
		{"name":"few","allow":{"from":"many","to":"llm","service":"chat"},"limits":{"requests":"1/day"}},
		{"name":"closed","deny":{"from":"one","to":"vault"}}]`)
	post := with{"http.method": "POST"}
	for _, c := range []struct {
		name string
		test *policyv1.Test
		want string // "" if it passes
	}{
		{"allowed", &policyv1.Test{From: "one", To: "llm", Service: "chat", With: post, Expect: "allow", By: "chat"}, ""},
		{"denied", &policyv1.Test{From: "one", To: "llm", Service: "health", Expect: "deny"}, ""},
		{"a pattern calls", &policyv1.Test{From: "many", To: "vault", Expect: "allow"}, ""},
		{"no transition", &policyv1.Test{From: "one", To: "lone", Expect: "deny"}, ""},
		{"nothing served", &policyv1.Test{From: "vault", To: "one", Expect: "deny"}, ""},
		{"not known", &policyv1.Test{From: "one", To: "llm", Service: "chat", Expect: "allow"}, "expected allow, but denied: no intent allows it"},
		{"all services must be allowed", &policyv1.Test{From: "one", To: "llm", With: post, Expect: "allow"}, "expected allow, but service health denied: no intent allows it"},
		{"all services must be denied", &policyv1.Test{From: "one", To: "llm", With: post, Expect: "deny"}, "expected deny, but service chat allowed by chat"},
		{"by another", &policyv1.Test{From: "one", To: "vault", Service: "get", Expect: "deny", By: "chat"}, "expected deny by chat, but denied by closed"},
		{"nobody owns it", &policyv1.Test{From: "one", To: "lone", Service: "get", Expect: "allow"}, "there is no such transition, so nobody owns it"},
		{"under limits", &policyv1.Test{From: "many", To: "llm", Service: "chat", Expect: "allow"}, "expected allow, but gateways of this release deny it: they cannot keep the limits and requirements of few yet"},
		{"under limits is a deny", &policyv1.Test{From: "many", To: "llm", Service: "chat", Expect: "deny", By: "few"}, ""},
	} {
		p.Tests = []*policyv1.Test{c.test}
		faults := RunTests(p, compiled(t, p), noon())
		switch {
		case c.want == "" && len(faults) > 0, c.want != "" && len(faults) != 1:
			t.Errorf("%s: %v", c.name, faults)
		case c.want != "" && (faults[0].Path != "tests[0]" || !strings.Contains(faults[0].Message, c.want)):
			t.Errorf("%s: %v, want %q", c.name, faults, c.want)
		}
	}
}

func TestExampleAnswersItsTests(t *testing.T) {
	p := example(t)
	if f := RunTests(p, compiled(t, p), noon()); len(f) > 0 {
		t.Error(f)
	}
}

func TestExplain(t *testing.T) {
	p := compiled(t, example(t))
	for _, c := range []struct {
		name, from, to, service string
		attrs                   with
		summary, intent, why    string
	}{
		{
			"allowed", "orchestrator", "llm", "",
			with{"ai.operation": "chat", "ai.model": "gpt-oss-20b"},
			"allowed by plan-with-the-llm, under its limits and requirements", "plan-with-the-llm", "all of it fits",
		},
		{"host name", "orchestrator", "llm.azure.mesh", "chat", nil, "denied: no intent allows it", "plan-with-the-llm", "an attribute that is not known"},
		{"other model", "orchestrator", "llm", "chat", with{"ai.operation": "chat", "ai.model": "x"}, "denied: no intent allows it", "plan-with-the-llm", "does not hold: ai.operation =="},
		{"by ID", "spiffe://onprem.acme.example/ai/orchestrator", "retriever", "", with{"ai.operation": "ping"}, "allowed by search-the-corpus", "plan-with-the-llm", "other callees"},
		{"somebody", "spiffe://onprem.acme.example/x", "llm", "", nil, "denied by restricted-data-stays-home", "plan-with-the-llm", "other callers"},
		{"class", "orchestrator", "llm", "", with{"data.class": "internal"}, "denied: no intent allows it", "restricted-data-stays-home", "no data of its class leaves"},
	} {
		e, err := Explain(p, c.from, c.to, c.service, c.attrs, noon())
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if e.Summary != c.summary || len(e.Considered) != 4 {
			t.Errorf("%s: %q, considered %d", c.name, e.Summary, len(e.Considered))
		}
		for _, got := range e.Considered {
			if got.Intent == c.intent && !strings.Contains(got.Why, c.why) {
				t.Errorf("%s: %s %q, want %q", c.name, got.Intent, got.Why, c.why)
			}
		}
	}
	e, err := Explain(p, "llm", "orchestrator", "", nil, noon())
	if err != nil || e.Decision.Allow || len(e.Considered) != 0 || !strings.Contains(e.Summary, "nobody owns it") {
		t.Errorf("a shut transition: %+v, %v", e, err)
	}
}

func TestExplainRefuses(t *testing.T) {
	p := compiled(t, small(t, `[]`))
	for _, c := range []struct {
		from, to, service string
		attrs             with
		want              string
	}{
		{"on", "llm", "chat", nil, `did you mean "one"`},
		{"spiffe://", "llm", "chat", nil, "not a SPIFFE ID"},
		{"one", "lllm", "chat", nil, `did you mean "llm"`},
		{"one", "llm", "", nil, "chat, health: say which"},
		{"one", "llm", "chta", nil, `did you mean "chat"`},
		{"one", "llm", "chat", with{"ai.modle": "x"}, `did you mean "ai.model"`},
		{"one", "llm", "chat", with{"data.class": "secret"}, "unknown data class"},
		{"one", "llm", "chat", with{"ai.streamed": "maybe"}, "true or false"},
	} {
		if _, err := Explain(p, c.from, c.to, c.service, c.attrs, noon()); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("Explain(%q, %q, %q): %v, want %q", c.from, c.to, c.service, err, c.want)
		}
	}
}
