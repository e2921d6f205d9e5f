package spend

import (
	"testing"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/internal/budget"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/inspect"
	"github.com/sallyport-mesh/sallyport/gateway/policy/limits"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

var noon = time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)

// prices are a millionth of a unit for each token in, and two out.
type prices struct{}

func (prices) CostOf(_ string, input, output int64) int64 { return input + 2*output }

func item(intent string, what limits.What, most, maxTokens int64) Item {
	ask := inspect.NewAsk()
	ask.Model, ask.MaxTokens = "m", maxTokens
	return Item{Ask: ask, Intent: intent, Limits: []limits.Limit{{What: what, Most: most, Window: 24 * time.Hour}}}
}

// used is all that a ledger has of one caller.
func used(l *budget.Ledger) (n int64) {
	l.TellAll()
	for _, u := range l.Tell(100, noon).Uses {
		n += u.Used
	}
	return n
}

func count(n uint32) *uint32 { return &n }

// TestSettle: what counts is what was reported, or counted, or else what was reserved.
func TestSettle(t *testing.T) {
	for _, c := range []struct {
		name string
		what limits.What
		u    Usage
		want int64
	}{
		{"reported", limits.Tokens, Usage{Tokens: &crossingv1.Tokens{Input: count(3), Output: count(4), Source: crossingv1.Tokens_REPORTED}, Answered: true}, 7},
		{"counted, and reported in", limits.Tokens, Usage{Tokens: &crossingv1.Tokens{Input: count(3), Output: count(4), Source: crossingv1.Tokens_COUNTED}, Answered: true}, 7},
		{"counted alone", limits.Tokens, Usage{Tokens: &crossingv1.Tokens{Output: count(4), Source: crossingv1.Tokens_COUNTED}, Answered: true}, 10 + 4},
		{"unknown", limits.Tokens, Usage{Answered: true}, 10 + 100},
		{"no answer", limits.Tokens, Usage{}, 0},
		{"requests", limits.Requests, Usage{}, 1},
		{"bytes", limits.Bytes, Usage{Bytes: 77}, 77},
		{"cost", limits.Cost, Usage{Model: "m-2", Tokens: &crossingv1.Tokens{Input: count(3), Output: count(4), Source: crossingv1.Tokens_REPORTED}, Answered: true}, 3 + 8},
	} {
		l := budget.New()
		e, refused := Reserve(l, prices{}, "spiffe://a.test/x", []Item{item("i", c.what, 1_000_000, 100)}, 40, noon)
		if refused != nil {
			t.Fatalf("%s: %v", c.name, refused)
		}
		e.Settle(c.u)
		e.Settle(c.u) // counts once
		if got := used(l); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

// TestAllOrNothing: of several things that are asked for nothing is taken if one has no
// room, and what did not go on is given back.
func TestAllOrNothing(t *testing.T) {
	l := budget.New()
	both := []Item{item("wide", limits.Requests, 10, -1), item("shut", limits.Tokens, 5, 100)}
	if e, refused := Reserve(l, prices{}, "spiffe://a.test/x", both, 0, noon); e != nil || refused == nil || refused.Intent != "shut" || used(l) != 0 {
		t.Errorf("%v, refused %v, %d used", e, refused, used(l))
	}
	e, refused := Reserve(l, prices{}, "spiffe://a.test/x", both[:1], 0, noon)
	if refused != nil || used(l) != 1 {
		t.Errorf("%v, %d used", refused, used(l))
	}
	e.Drop()
	if used(l) != 0 {
		t.Errorf("%d used of what was dropped", used(l))
	}
	var none *Exchange
	none.Drop()
	none.Settle(Usage{})
}
