package costs

import (
	"math"
	"math/big"
	"strings"
	"testing"

	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
	"pgregory.net/rapid"
)

// TestTheLongestThatFits asks all costs one by one, and counts in big numbers.
func TestTheLongestThatFits(t *testing.T) {
	name := rapid.StringOfN(rapid.RuneFrom([]rune("ab")), 0, 5, -1)
	rapid.Check(t, func(rt *rapid.T) {
		in := map[string]*policyv1.Cost{}
		for range rapid.IntRange(1, 8).Draw(rt, "costs") {
			model := name.Draw(rt, "name")
			if model == "" || rapid.Bool().Draw(rt, "prefix") {
				model += "*"
			}
			in[model] = &policyv1.Cost{Input: rapid.Uint64Range(0, maxCost).Draw(rt, "in"), Output: rapid.Uint64Range(0, maxCost).Draw(rt, "out")}
		}
		model := name.Draw(rt, "model")
		var want policyv1.Cost
		longest := -1
		for pattern, c := range in {
			stem, prefix := strings.CutSuffix(pattern, "*")
			fits, length := pattern == model, 2*len(pattern)+1 // a name is longer than what begins it
			if prefix {
				fits, length = strings.HasPrefix(model, stem), 2*len(stem)
			}
			if fits && length > longest {
				longest, want.Input, want.Output = length, c.GetInput(), c.GetOutput()
			}
		}
		if longest < 0 {
			for _, c := range in {
				want.Input, want.Output = max(want.GetInput(), c.GetInput()), max(want.GetOutput(), c.GetOutput())
			}
		}
		p := Compile(in)
		input, output := rapid.Int64Min(0).Draw(rt, "input"), rapid.Int64Min(0).Draw(rt, "output")
		sum := new(big.Int).Mul(new(big.Int).SetUint64(want.GetInput()), big.NewInt(input))
		sum.Add(sum, new(big.Int).Mul(new(big.Int).SetUint64(want.GetOutput()), big.NewInt(output)))
		exact := int64(math.MaxInt64)
		if sum.IsInt64() {
			exact = sum.Int64()
		}
		if got := p.Of(model, input, output); got != exact {
			rt.Fatalf("Of(%q, %d, %d) of %v = %d, want %d", model, input, output, in, got, exact)
		}
	})
}

func BenchmarkOf(b *testing.B) {
	in := map[string]*policyv1.Cost{"gpt-4o": {Input: 250, Output: 1000}, "gpt-4o-mini*": {Input: 15, Output: 60}, "gpt-4*": {Input: 3000}, "*": {Input: 1}}
	p := Compile(in)
	b.ReportAllocs()
	for b.Loop() {
		p.Of("gpt-4.1-nano", 1000, 200)
	}
}
