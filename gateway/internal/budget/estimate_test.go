package budget

import (
	"math"
	"testing"
)

// fixedPrices are 2 for a token in, 3 for one out.
type fixedPrices struct{}

func (fixedPrices) CostOf(model string, input, output int64) int64 {
	if model != "m" {
		return math.MaxInt64
	}
	return 2*input + 3*output
}

func TestEstimate(t *testing.T) {
	for _, c := range []struct {
		call          Call
		input, output int64
	}{
		{Call{}, 0, 4096},
		{Call{Input: 1}, 1, 4096},
		{Call{Input: 4, MaxOutput: 1}, 1, 1},
		{Call{Input: 5, MaxOutput: 100_000}, 2, 100_000},
		{Call{Input: -5, MaxOutput: -1}, 0, 4096},
		{Call{Input: math.MaxInt64, MaxOutput: math.MaxInt64}, math.MaxInt64/4 + 1, math.MaxInt64},
	} {
		if input, output := Estimate(c.call); input != c.input || output != c.output {
			t.Errorf("Estimate(%+v) = %d, %d, want %d, %d", c.call, input, output, c.input, c.output)
		}
	}
}

func TestWant(t *testing.T) {
	for _, c := range []struct {
		call Call
		want Amounts
	}{
		{Call{Model: "m", Input: 400, MaxOutput: 50}, Amounts{Requests: 1, Tokens: 150, Bytes: 400, Cost: 350}},
		{Call{Model: "m"}, Amounts{Requests: 1, Tokens: 4096, Bytes: 1, Cost: 3 * 4096}},
		{Call{Model: "x", Input: 8, MaxOutput: 1}, Amounts{Requests: 1, Tokens: 3, Bytes: 8, Cost: math.MaxInt64}},
		{Call{Model: "x", MaxOutput: math.MaxInt64}, Amounts{Requests: 1, Tokens: maxAmount, Bytes: 1, Cost: math.MaxInt64}},
	} {
		if got := Want(fixedPrices{}, c.call); got != c.want {
			t.Errorf("Want(%+v) = %+v, want %+v", c.call, got, c.want)
		}
	}
}
