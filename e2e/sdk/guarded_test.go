package sdk

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/localmesh"
	"github.com/sallyport-mesh/sallyport/e2e/meshtest"
	configv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/config/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// underGuards are intents of which each wants a guard of its own.
const underGuards = `
  - name: ask-the-llm
    allow: {from: orchestrator, to: llm, service: chat}
    when: ai.model == "gpt-oss-20b"
    require: {guard: dlp}
  - name: ask-the-large-llm
    allow: {from: orchestrator, to: llm, service: chat}
    when: ai.model == "gpt-oss-120b"
    require: {guard: dead}
guards:
  dlp: {owner: ml-platform}
  dead: {owner: ml-platform, at: ingress}
`

// TestGuarded: a prompt that a guard refuses, and one that no guard can be asked about,
// raise what the SDK has for it, and their records say which guard and why.
func TestGuarded(t *testing.T) {
	t.Parallel()
	dlp := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if prompt, _ := io.ReadAll(r.Body); strings.Contains(string(prompt), "CANARY") {
			io.WriteString(w, `{"verdict":"refuse","rule":"dlp.canary","findings":["canary"]}`)
			return
		}
		io.WriteString(w, `{"verdict":"pass"}`)
	}))
	t.Cleanup(dlp.Close)
	dead := httptest.NewServer(http.NotFoundHandler())
	dead.Close()
	m := meshtest.Start(t, func(c *localmesh.Config) {
		c.Policy = policyWith(t, underGuards)
		c.Bootstrap = func(b *configv1.Bootstrap) {
			b.Guards = map[string]*configv1.Guard{"dlp": {Url: dlp.URL}, "dead": {Url: dead.URL}}
		}
	})
	for _, c := range []struct {
		name, model, prompt string
		status              int
		guarded             *crossingv1.Guarded
	}{
		{"passed", "gpt-oss-20b", "Which documents mention the outage?", 0, nil},
		{"refused", "gpt-oss-20b", "What does CANARY mean?", 403, &crossingv1.Guarded{Guard: "dlp", Verdict: crossingv1.Guarded_REFUSE, Rule: "dlp.canary"}},
		{"not asked", "gpt-oss-120b", "What does CANARY mean?", 503, &crossingv1.Guarded{Guard: "dead", Fault: "it cannot be reached"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := raisedFor(t, m, c.model, c.prompt)
			if c.status == 0 {
				if e != nil {
					t.Fatal(e)
				}
				return
			}
			if e == nil || e.StatusCode != c.status || !strings.Contains(e.Message, "a guard that must see the content") {
				t.Fatalf("the SDK raised %+v", e)
			}
			rec := m.Record(t, e.Response.Header.Get("Sallyport-Crossing"))
			said := append(rec.GetEgress().GetGuarded(), rec.GetIngress().GetGuarded()...)
			if len(said) != 1 || said[0].GetGuard() != c.guarded.GetGuard() || said[0].GetVerdict() != c.guarded.GetVerdict() ||
				said[0].GetRule() != c.guarded.GetRule() || said[0].GetFault() != c.guarded.GetFault() {
				t.Errorf("the record says %v", said)
			}
			if strings.Contains(rec.String(), "CANARY") {
				t.Errorf("the record has the prompt: %v", rec)
			}
		})
	}
}

// raisedFor is what the official Go SDK raises for a prompt; nil if it is answered.
func raisedFor(t *testing.T, m *meshtest.Mesh, model, prompt string) *openai.Error {
	t.Helper()
	client := openai.NewClient(option.WithBaseURL(baseURL(m)), option.WithAPIKey(m.Token(t, "orchestrator", "onprem")), option.WithMaxRetries(0))
	_, err := client.Chat.Completions.New(m.Context, openai.ChatCompletionNewParams{
		Model: model, Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage(prompt)},
	})
	raised, ok := errors.AsType[*openai.Error](err)
	if err != nil && !ok {
		t.Fatal(err)
	}
	return raised
}
