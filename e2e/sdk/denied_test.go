package sdk

import (
	"net/http"
	"testing"

	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// TestDenied: an SDK raises for a denied call what it has for it, and does not try again.
func TestDenied(t *testing.T) {
	t.Parallel()
	m := withProvider(t, policyWith(t, "\n  - {name: list-models, allow: {from: orchestrator, to: llm, service: chat, paths: [/v1/models]}}\n"))
	m.denied(t, false)
}

// denied asks by each SDK for a model that is not allowed, and gives what they raised:
// once each. Others says that another model is allowed.
func (m *provided) denied(t *testing.T, others bool) map[string]*raised {
	t.Helper()
	all := map[string]*raised{}
	for name, c := range map[string]struct {
		client        client
		to, well, not string
		class         string
	}{
		"OpenAI, Node":    {node(t, "openai.mjs"), chatAt, "chat", "chat, no such model", "PermissionDeniedError"},
		"OpenAI, Go":      {openAIGo, chatAt, "chat", "chat, no such model", "openai.Error"},
		"Anthropic, Node": {node(t, "anthropic.mjs"), claudeAt, "messages", "messages, no such model", "PermissionDeniedError"},
		"Anthropic, Go":   {anthropicGo, claudeAt, "messages", "messages, no such model", "anthropic.Error"},
	} {
		at := ways(t, m.Mesh, c.to)["base URL"]
		got := c.client(t, at, c.not)
		if len(got) != 1 || got[0].Error == nil || got[0].Error.Class != c.class || got[0].Error.Status != http.StatusForbidden {
			t.Errorf("%s: %+v", name, got)
			continue
		}
		all[name] = got[0].Error
		if calls := m.behind.Calls(); len(calls) > 0 {
			t.Errorf("%s: the provider was asked %d times", name, len(calls))
		}
		if !others {
			continue
		}
		if got := c.client(t, at, c.well); len(got) != 1 || got[0].Error != nil {
			t.Errorf("%s: %+v", name, got)
		}
		m.behind.Calls()
	}
	m.deniedOnce(t, len(all))
	return all
}

// deniedOnce holds that n crossings were denied, and one more, which comes last.
func (m *provided) deniedOnce(t *testing.T, n int) {
	t.Helper()
	at, last := noted(ways(t, m.Mesh, chatAt)["mTLS, HTTP/2"])
	fetched(t, at, asked{path: "/v1/chat/completions", body: `{"model":"not-allowed"}`})
	m.Record(t, last.ids[0])
	got := m.Crossings(t, &controlv1.ListCrossingsRequest{Decision: crossingv1.Decision_DENY})
	if len(got) != n+1 {
		t.Errorf("%d crossings were denied, want one of each of %d SDKs: no denial is tried again", len(got)-1, n)
	}
}
