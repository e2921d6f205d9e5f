package source

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/sallyport-mesh/sallyport/gateway/policy/signed"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// priced is the example with costs, and with a limit of cost in line 86 of it.
func priced(t *testing.T, limits, costs string) string {
	t.Helper()
	return edit(t, "limits: {tokens: 2000000/day, requests: 50/second}", "limits: "+limits) + "\ncosts:\n" + costs
}

func TestCosts(t *testing.T) {
	text := priced(t, "{cost: 5000/day, tokens: 9000/minute}", "  gpt-4.1: {input: 2, output: 8}\n  llama*: {}\n  \"*\": {input: 1000000000000, output: 15}\n")
	p, err := Load("policy.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]*policyv1.Cost{"gpt-4.1": {Input: 2, Output: 8}, "llama*": {}, "*": {Input: 1_000_000_000_000, Output: 15}}
	if diff := cmp.Diff(want, p.GetCosts(), protocmp.Transform()); diff != "" {
		t.Errorf("costs (-want +got):\n%s", diff)
	}
	canonical, err := signed.Canonical(p)
	if err != nil {
		t.Fatal(err)
	}
	again, err := signed.Decode(canonical)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, again.GetCosts(), protocmp.Transform()); diff != "" {
		t.Errorf("costs out of the canonical form (-want +got):\n%s", diff)
	}
}

func TestFaultsOfCosts(t *testing.T) {
	begin := strings.Count(exampleText(t), "\n") + 3 // the line after "costs:"
	if begin != 120 {
		t.Fatalf("costs begin in line %d", begin)
	}
	for _, c := range []struct{ name, limits, costs, want string }{
		{"no costs", "{cost: 5000/day}", "  {}\n", "policy.yaml:86:20: intent plan-with-the-llm: the policy has no costs. Say under costs what tokens of each model cost."},
		{"an odd window", "{cost: 5000/week}", "  m: {input: 1}\n", `policy.yaml:86:20: intent plan-with-the-llm: limit of cost "5000/week" is not N/day or N/hour or N/minute`},
		{"not what is counted", "{costs: 5000/day}", "  m: {input: 1}\n", `policy.yaml:86:21: intent plan-with-the-llm: unknown limit "costs"; did you mean "cost"?`},
		{"a star inside", "{cost: 5/day}", "  m*m: {input: 1}\n", `policy.yaml:120:3: cost of "m*m": a model is a name`},
		{"too dear", "{cost: 5/day}", "  m: {input: 1, output: 1000000000001}\n", "policy.yaml:120:25: cost of m: 1000000000001 units for a million tokens: at most 1000000000000"},
		{"in fractions", "{cost: 5/day}", "  m: {input: 1.5}\n", `policy.yaml:120:14: input takes a whole number, not "1.5"`},
		{"less than nothing", "{cost: 5/day}", "  m: {input: -1}\n", `policy.yaml:120:14: input takes a whole number, not "-1"`},
		{"of nothing known", "{cost: 5/day}", "  m: {inputs: 1}\n", `policy.yaml:120:7: unknown key "inputs"; did you mean "input"?`},
	} {
		_, err := Load("policy.yaml", []byte(priced(t, c.limits, c.costs)))
		if err == nil || !strings.Contains("\n"+err.Error(), "\n"+c.want) {
			t.Errorf("%s: got\n%v\nwant a line that begins\n%s", c.name, err, c.want)
		}
	}
}
