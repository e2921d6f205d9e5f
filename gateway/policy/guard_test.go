package policy

import (
	"strings"
	"testing"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// TestGuardDecides: an allow with a guard counts where none without one fits, and says
// which gateway asks it.
func TestGuardDecides(t *testing.T) {
	const guarded = `{"name":"a","allow":{"from":"one","to":"llm","service":"chat"},"require":{"guard":"dlp"}}`
	for _, c := range []struct {
		name, at, intents string
		intent, says      string
		side              crossingv1.Side
	}{
		{"at egress by itself", "", guarded, "a", ", if guard dlp lets it pass at the egress gateway", crossingv1.Side_EGRESS},
		{"at egress", "egress", guarded, "a", "at the egress gateway", crossingv1.Side_EGRESS},
		{"at ingress", "ingress", guarded, "a", "at the ingress gateway", crossingv1.Side_INGRESS},
		{"free", "", guarded + `,{"name":"b","allow":{"from":"one","to":"llm"}}`, "b", "allowed by b", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := small(t, "["+c.intents+"]")
			p.Guards = map[string]*policyv1.Guard{"dlp": {Owner: "ops", At: c.at}}
			e, err := Explain(compiled(t, p), "one", "llm", "chat", nil, noon())
			if err != nil {
				t.Fatal(err)
			}
			d := e.Decision
			if !d.Allow || d.Intent != c.intent || (d.Guard != nil) != (c.side != 0) || !strings.HasSuffix(e.Summary, c.says) {
				t.Fatalf("%+v: %s", d, e.Summary)
			}
			if d.Guard != nil && (*d.Guard != Guard{Name: "dlp", Owner: "ops", At: c.side}) {
				t.Errorf("guard %+v", d.Guard)
			}
		})
	}
}
