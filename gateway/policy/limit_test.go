package policy

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sallyport-mesh/sallyport/gateway/policy/limits"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

func TestLimits(t *testing.T) {
	p := compiled(t, example(t))
	want := []limits.Limit{
		{What: limits.Requests, Most: 50, Window: time.Second}, {What: limits.Tokens, Most: 2_000_000, Window: 24 * time.Hour},
	}
	if diff := cmp.Diff(want, p.Limits("plan-with-the-llm")); diff != "" {
		t.Errorf("Limits (-want +got):\n%s", diff)
	}
	if got := p.Limits("search-the-corpus"); got != nil {
		t.Errorf("an intent without limits has %v", got)
	}
	if got := p.Limits("nobody's"); got != nil {
		t.Errorf("an intent that there is not has %v", got)
	}
	if n := testing.AllocsPerRun(100, func() { p.Limits("plan-with-the-llm") }); n != 0 {
		t.Errorf("Limits allocates %v times", n)
	}
	if !p.Limited() || compiled(t, small(t, `[{"name":"i","allow":{}}]`)).Limited() {
		t.Error("Limited does not say whether there are limits")
	}
}

func TestCostOf(t *testing.T) {
	in := small(t, `[{"name":"i","allow":{},"limits":{"cost":"5000/day"}}]`)
	in.Costs = map[string]*policyv1.Cost{
		"gpt-4o":       {Input: 250, Output: 1000},
		"gpt-4o-mini*": {Input: 15, Output: 60},
		"gpt-4*":       {Input: 3000, Output: 6000},
		"gpt-4o*":      {Input: 300, Output: 900},
		"llama*":       {},
		"big-reader":   {Input: 9000, Output: 1},
	}
	p := compiled(t, in)
	if got := p.Limits("i"); !slices.Equal(got, []limits.Limit{{What: limits.Cost, Most: 5_000 * limits.MicroPerUnit, Window: 24 * time.Hour}}) {
		t.Errorf("Limits = %v", got)
	}
	for _, c := range []struct {
		name, model   string
		input, output int64
		want          int64
	}{
		{"by name", "gpt-4o", 10, 20, 10*250 + 20*1000},
		{"by prefix", "gpt-4o-2024", 10, 20, 10*300 + 20*900},
		{"by the longest prefix", "gpt-4o-mini-2024", 10, 20, 10*15 + 20*60},
		{"as long as the prefix", "gpt-4o-mini", 1, 1, 75},
		{"by the shortest prefix", "gpt-4.1", 1, 1, 9000},
		{"for nothing", "llama-70b", 1_000_000, 1_000_000, 0},
		{"another one counts as the dearest", "claude", 1, 1, 9000 + 6000},
		{"so does none", "", 1, 0, 9000},
		{"shorter than any prefix", "g", 1, 0, 9000},
		{"in another case", "GPT-4o", 1, 0, 9000},
		{"a million tokens in", "gpt-4o", 1_000_000, 0, 250 * limits.MicroPerUnit},
		{"nothing", "gpt-4o", 0, 0, 0},
		{"less than nothing", "gpt-4o", -5, -5, 0},
		{"more than can be counted", "gpt-4o", math.MaxInt64, math.MaxInt64, math.MaxInt64},
	} {
		if got := p.CostOf(c.model, c.input, c.output); got != c.want {
			t.Errorf("%s: CostOf(%q, %d, %d) = %d, want %d", c.name, c.model, c.input, c.output, got, c.want)
		}
	}
	if n := testing.AllocsPerRun(100, func() { p.CostOf("gpt-4o-mini-2024", 1, 2) }); n != 0 {
		t.Errorf("CostOf allocates %v times", n)
	}
	if got := compiled(t, small(t, `[]`)).CostOf("gpt-4o", 5, 5); got != 0 {
		t.Errorf("without costs it costs %d", got)
	}
}
