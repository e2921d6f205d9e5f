package policy

import (
	"strings"
	"testing"
)

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
