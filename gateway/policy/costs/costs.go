// Package costs says what calls of models cost, by a policy's list of prices.
package costs

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"math/bits"
	"slices"
	"strings"

	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

const (
	// maxModel bounds the name of a model, in bytes.
	maxModel = 256
	// maxCost bounds what a million tokens cost, in units.
	maxCost = 1_000_000_000_000
)

// price is what tokens of a model cost: each of them so many millionths of a unit.
type price struct{ input, output uint64 }

// Costs are what tokens of models cost, by name and by what their names begin with. They do
// not change, and are safe for concurrent use.
type Costs struct {
	exact    map[string]price
	prefixes map[string]price
	lengths  []int // of the prefixes, the longest first
	dearest  price // for input and for output apart
}

// Compile makes costs of what Check finds nothing wrong with.
func Compile(in map[string]*policyv1.Cost) *Costs {
	out := &Costs{exact: map[string]price{}, prefixes: map[string]price{}}
	lengths := map[int]bool{}
	for model, cost := range in {
		p := price{cost.GetInput(), cost.GetOutput()}
		out.dearest = price{max(out.dearest.input, p.input), max(out.dearest.output, p.output)}
		if stem, ok := strings.CutSuffix(model, "*"); ok {
			out.prefixes[stem], lengths[len(stem)] = p, true
		} else {
			out.exact[model] = p
		}
	}
	out.lengths = slices.SortedFunc(maps.Keys(lengths), func(a, b int) int { return cmp.Compare(b, a) })
	return out
}

// price is that of a model: the one of its name, else of the longest that its name
// begins with, else the dearest.
func (c *Costs) price(model string) price {
	if is, ok := c.exact[model]; ok {
		return is
	}
	for _, n := range c.lengths {
		if n > len(model) {
			continue
		}
		if is, ok := c.prefixes[model[:n]]; ok {
			return is
		}
	}
	return c.dearest
}

// Of is what a call of a model costs, in millionths of the policy's units. A model
// that has no cost, or is not known, counts as the dearest that there is. It does not
// allocate.
func (c *Costs) Of(model string, input, output int64) (micro int64) {
	is := c.price(model)
	return bounded(product(is.input, input), product(is.output, output))
}

// product of a price and a number of tokens, or the most that there is.
func product(price uint64, tokens int64) uint64 {
	high, low := bits.Mul64(price, uint64(max(tokens, 0)))
	if high != 0 {
		return math.MaxUint64
	}
	return low
}

// bounded is a sum, or the most that there is.
func bounded(a, b uint64) int64 {
	sum, carry := bits.Add64(a, b, 0)
	if carry != 0 || sum > math.MaxInt64 {
		return math.MaxInt64
	}
	return int64(sum)
}

// Check says what is wrong with the cost of a model, and in which of its fields, if that is
// known; nothing if nothing is.
func Check(model string, cost *policyv1.Cost) (field, wrong string) {
	stem := strings.TrimSuffix(model, "*")
	if model == "" || len(model) > maxModel || strings.Contains(stem, "*") || strings.ContainsFunc(stem, notInModel) {
		return "", fmt.Sprintf(`a model is a name of at most %d characters, or what names begin with, ending in "*"`, maxModel)
	}
	for _, c := range [...]struct {
		field string
		units uint64
	}{{"input", cost.GetInput()}, {"output", cost.GetOutput()}} {
		if c.units > maxCost {
			return c.field, fmt.Sprintf("%d units for a million tokens: at most %d", c.units, int64(maxCost))
		}
	}
	return "", ""
}

// notInModel says whether a character is in no model's name: it is not ASCII, or cannot
// be seen.
func notInModel(r rune) bool { return r <= ' ' || r > '~' }
