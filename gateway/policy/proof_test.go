package policy

import (
	"bytes"
	"testing"

	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

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

// TestProofIsCanonical: what is not required is not there, so that policies from
// before keep their revision.
func TestProofIsCanonical(t *testing.T) {
	p := example(t)
	before, err := Canonical(p)
	if err != nil || bytes.Contains(before, []byte("workloadProof")) {
		t.Fatalf("Canonical: %v, %s", err, before)
	}
	p.Intents[0].Require = &policyv1.Require{WorkloadProof: true}
	text, err := Canonical(p)
	if err != nil || !bytes.Contains(text, []byte(`"require":{"workloadProof":true}`)) {
		t.Fatalf("Canonical: %v, %s", err, text)
	}
	back, err := Decode(text)
	if err != nil || !back.GetIntents()[0].GetRequire().GetWorkloadProof() {
		t.Errorf("Decode: %v", err)
	}
}
