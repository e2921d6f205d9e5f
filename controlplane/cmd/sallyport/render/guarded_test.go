package render

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// TestGuarded: who reads a record reads what each guard said.
func TestGuarded(t *testing.T) {
	took := durationpb.New(2 * time.Millisecond)
	for _, c := range []struct {
		name string
		said *crossingv1.Guarded
		want string
	}{
		{"pass", &crossingv1.Guarded{Guard: "dlp", Verdict: crossingv1.Guarded_PASS, Took: took}, "guard dlp let it pass, after "},
		{
			"refuse", &crossingv1.Guarded{Guard: "dlp", Verdict: crossingv1.Guarded_REFUSE, Rule: "cards", Findings: []string{"visa", "iban"}, Took: took},
			"guard dlp refused it by rule cards, after ",
		},
		{"none", &crossingv1.Guarded{Guard: "dlp", Fault: "it cannot be reached", Took: took}, "guard dlp gave no verdict: it cannot be reached, after "},
	} {
		var b strings.Builder
		if err := Detail(&b, &crossingv1.Record{Egress: &crossingv1.End{Guarded: []*crossingv1.Guarded{c.said}}}); err != nil {
			t.Fatal(err)
		}
		if found := len(c.said.Findings) > 0; !strings.Contains(b.String(), c.want) || strings.Contains(b.String(), "; it found visa, iban") != found {
			t.Errorf("%s: %s", c.name, b.String())
		}
	}
}
