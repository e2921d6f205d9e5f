package crossing

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/durationpb"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// TestGuardedOpening: a half says of guards what could not be a piece of a content.
func TestGuardedOpening(t *testing.T) {
	const pass = crossingv1.Guarded_PASS
	for _, c := range []struct {
		name string
		said *crossingv1.Guarded
		ok   bool
	}{
		{"pass", &crossingv1.Guarded{Guard: "dlp", Verdict: pass, Rule: "a.b-1", Findings: []string{"x"}, Took: durationpb.New(1)}, true},
		{"none", &crossingv1.Guarded{Guard: "dlp", Fault: "it cannot be reached"}, true},
		{"nothing", nil, false},
		{"no name", &crossingv1.Guarded{Verdict: pass}, false},
		{"a name that is none", &crossingv1.Guarded{Guard: "D L P", Verdict: pass}, false},
		{"neither", &crossingv1.Guarded{Guard: "dlp"}, false},
		{"both", &crossingv1.Guarded{Guard: "dlp", Verdict: pass, Fault: "x"}, false},
		{"a sentence for a rule", &crossingv1.Guarded{Guard: "dlp", Verdict: pass, Rule: "it says 42"}, false},
		{"a long rule", &crossingv1.Guarded{Guard: "dlp", Verdict: pass, Rule: strings.Repeat("a", 65)}, false},
		{"an empty finding", &crossingv1.Guarded{Guard: "dlp", Verdict: pass, Findings: []string{""}}, false},
		{"many findings", &crossingv1.Guarded{Guard: "dlp", Verdict: pass, Findings: strings.Split(strings.Repeat("a,", 16)+"a", ",")}, false},
		{"a fault that moves", &crossingv1.Guarded{Guard: "dlp", Fault: "\x1b[2J"}, false},
		{"before it began", &crossingv1.Guarded{Guard: "dlp", Verdict: pass, Took: durationpb.New(-1)}, false},
	} {
		if err := checkGuarded([]*crossingv1.Guarded{c.said}); (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	many := make([]*crossingv1.Guarded, maxGuarded+1)
	for i := range many {
		many[i] = &crossingv1.Guarded{Guard: "dlp", Verdict: pass}
	}
	if checkGuarded(many) == nil || checkGuarded(many[1:]) != nil {
		t.Error("their number is not bounded as said")
	}
}
