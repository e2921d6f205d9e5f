package e2e

import (
	"net/http"
	"strings"
	"testing"

	"github.com/sallyport-mesh/sallyport/e2e/meshtest"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

func template() []byte { return meshtest.Plain() }

// TestApplyChangesTheNextCall publishes a policy that denies what the one
// before allowed.
func TestApplyChangesTheNextCall(t *testing.T) {
	t.Parallel()
	m := meshtest.Start(t, nil)
	c := m.As(t, "orchestrator")
	resp := meshtest.Chat(m.Context, t, c, false, nil)
	meshtest.ReadAll(t, resp)
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("status %d before", resp.StatusCode)
	}
	const deny = `
  - name: llm-is-closed
    deny: {from: "*", to: llm}
`
	text, _, _ := strings.Cut(m.PolicyText(t), "\ntests:") // which say that the llm is open
	published, err := m.Apply(m.Context, []byte(meshtest.Edit(t, text, "\nintents:\n", "\nintents:"+deny)))
	if err != nil {
		t.Fatal(err)
	}
	if len(published.GetInForce()) != 3 || len(published.GetBehind()) != 0 {
		t.Fatalf("in force at %v, behind %v", published.GetInForce(), published.GetBehind())
	}
	resp = meshtest.Chat(m.Context, t, c, false, nil)
	meshtest.ReadAll(t, resp)
	if resp.StatusCode != http.StatusForbidden {
		t.Fatalf("status %d after", resp.StatusCode)
	}
	r := m.Record(t, resp.Header.Get("sallyport-crossing"))
	if r.GetEgress().GetReason() != crossingv1.Reason_DENIED_BY_INTENT || r.GetEgress().GetIntent() != "llm-is-closed" ||
		r.GetEgress().GetPolicy().GetSerial() != 2 {
		t.Errorf("record: %v", r.GetEgress())
	}
}
