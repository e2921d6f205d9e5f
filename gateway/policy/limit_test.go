package policy

import (
	"math"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

func TestParseLimit(t *testing.T) {
	const day, hour = 24 * time.Hour, time.Hour
	cases := []struct {
		what, text string
		want       Limit
		fault      string
	}{
		{"requests", "50/second", Limit{Requests, 50, time.Second}, ""},
		{"requests", "1/day", Limit{Requests, 1, day}, ""},
		{"tokens", "2000000/day", Limit{Tokens, 2_000_000, day}, ""},
		{"tokens", "1/hour", Limit{Tokens, 1, hour}, ""},
		{"tokens", "7/minute", Limit{Tokens, 7, time.Minute}, ""},
		{"bytes", "200GiB/day", Limit{Bytes, 200 << 30, day}, ""},
		{"bytes", "1023/second", Limit{Bytes, 1023, time.Second}, ""},
		{"bytes", "1TiB/hour", Limit{Bytes, 1 << 40, hour}, ""},
		{"bytes", "3KiB/minute", Limit{Bytes, 3 << 10, time.Minute}, ""},
		{"cost", "5000/day", Limit{Cost, 5_000_000_000, day}, ""},

		{"tokens", "1/second", Limit{}, `limit of tokens "1/second" is not N/day or N/hour or N/minute`},
		{"cost", "1/second", Limit{}, "is not N/day"},
		{"cost", "1.5/day", Limit{}, "is not"},
		{"requests", "1/week", Limit{}, "is not N/day or N/hour or N/minute or N/second"},
		{"requests", "0/day", Limit{}, "is not"},
		{"requests", "-1/day", Limit{}, "is not"},
		{"requests", "+1/day", Limit{}, "is not"},
		{"requests", "01/day", Limit{}, "is not"},
		{"requests", "1", Limit{}, "is not"},
		{"requests", "1/", Limit{}, "is not"},
		{"requests", "1KiB/day", Limit{}, "is not"},
		{"requests", "", Limit{}, "is not"},
		{"bytes", "1GB/day", Limit{}, "is not"},
		{"bytes", "GiB/day", Limit{}, "is not"},
		{"bytes", "2000000TiB/day", Limit{}, "more than can be counted"},
		{"cost", "2000000000000/day", Limit{}, "more than can be counted"},
		{"requests", "99999999999999999999/day", Limit{}, "is not"},
		{"token", "1/day", Limit{}, `unknown limit "token"; did you mean "tokens"?`},
	}
	for _, c := range cases {
		got, err := ParseLimit(c.what, c.text)
		if c.fault != "" {
			if err == nil || !strings.Contains(err.Error(), c.fault) || CheckLimit(c.what, c.text) != err.Error() {
				t.Errorf("ParseLimit(%q, %q) = %v, want %q", c.what, c.text, err, c.fault)
			}
			continue
		}
		if err != nil || got != c.want || CheckLimit(c.what, c.text) != "" {
			t.Errorf("ParseLimit(%q, %q) = %+v, %v, want %+v", c.what, c.text, got, err, c.want)
		}
		if got.String() != c.text {
			t.Errorf("%q is written %q", c.text, got)
		}
	}
}

func FuzzParseLimit(f *testing.F) {
	f.Add("bytes", "200GiB/day")
	f.Add("cost", "5000/hour")
	f.Add("tokens", "1/second")
	f.Fuzz(func(t *testing.T, what, text string) {
		l, err := ParseLimit(what, text)
		if err != nil {
			return
		}
		if l.Most <= 0 || l.Most > maxMost || l.Window < time.Second {
			t.Errorf("ParseLimit(%q, %q) = %+v", what, text, l)
		}
		if again, err := ParseLimit(l.What.String(), l.String()); err != nil || again != l {
			t.Errorf("%+v is written %q, which is %+v, %v", l, l, again, err)
		}
	})
}

func TestWhat(t *testing.T) {
	for _, w := range []What{Requests, Tokens, Bytes, Cost} {
		if got, ok := ParseWhat(w.String()); !ok || got != w {
			t.Errorf("ParseWhat(%q) = %v, %v", w, got, ok)
		}
	}
	if _, ok := ParseWhat("calls"); ok {
		t.Error("calls are counted")
	}
	if got := What(9).String(); got != "what 9" {
		t.Errorf("What(9) = %q", got)
	}
}

func TestLimits(t *testing.T) {
	p := compiled(t, example(t))
	want := []Limit{{Requests, 50, time.Second}, {Tokens, 2_000_000, 24 * time.Hour}}
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
	if got := p.Limits("i"); !slices.Equal(got, []Limit{{Cost, 5_000 * MicroPerUnit, 24 * time.Hour}}) {
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
		{"a million tokens in", "gpt-4o", 1_000_000, 0, 250 * MicroPerUnit},
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

// TestCostOfIsTheLongestThatFits asks all costs one by one, and counts in big numbers.
func TestCostOfIsTheLongestThatFits(t *testing.T) {
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
		p := &Policy{costs: compileCosts(in)}
		input, output := rapid.Int64Min(0).Draw(rt, "input"), rapid.Int64Min(0).Draw(rt, "output")
		sum := new(big.Int).Mul(new(big.Int).SetUint64(want.GetInput()), big.NewInt(input))
		sum.Add(sum, new(big.Int).Mul(new(big.Int).SetUint64(want.GetOutput()), big.NewInt(output)))
		exact := int64(math.MaxInt64)
		if sum.IsInt64() {
			exact = sum.Int64()
		}
		if got := p.CostOf(model, input, output); got != exact {
			rt.Fatalf("CostOf(%q, %d, %d) of %v = %d, want %d", model, input, output, in, got, exact)
		}
	})
}

func BenchmarkCostOf(b *testing.B) {
	in := map[string]*policyv1.Cost{"gpt-4o": {Input: 250, Output: 1000}, "gpt-4o-mini*": {Input: 15, Output: 60}, "gpt-4*": {Input: 3000}, "*": {Input: 1}}
	p := &Policy{costs: compileCosts(in)}
	b.ReportAllocs()
	for b.Loop() {
		p.CostOf("gpt-4.1-nano", 1000, 200)
	}
}
