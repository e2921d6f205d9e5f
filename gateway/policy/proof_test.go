package policy

import "testing"

// TestDescribeProof: whoever asks the policy hears of what the caller must show.
func TestDescribeProof(t *testing.T) {
	for more, want := range map[string]string{
		``:                               "allowed by i, with a proof of the caller's own",
		`,"idempotent":true`:             "allowed by i, with a proof of the caller's own, and may be asked again",
		`,"limits":{"requests":"1/day"}`: "allowed by i, under its limits and requirements",
		`,"valid":{"notAfter":"2026-01-01T00:00:00Z"}`: "denied: no intent allows it",
	} {
		p := compiled(t, small(t, `[{"name":"i","allow":{},"require":{"workloadProof":true}`+more+`}]`))
		e, err := Explain(p, "one", "llm", "chat", nil, noon())
		if err != nil || e.Summary != want {
			t.Errorf("%s: %q, %v, want %q", more, e.Summary, err, want)
		}
	}
}
