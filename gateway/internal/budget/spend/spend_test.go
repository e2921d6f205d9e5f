package spend

import (
	"testing"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/internal/budget"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/anthropic"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/inspect"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/openai"
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

// TestSettleLater: work that goes on when its exchange ends counts as it was reserved, each
// thing of it; who looks at it pays when it has ended, as reported.
func TestSettleLater(t *testing.T) {
	reported := &crossingv1.Tokens{Input: count(3), Output: count(4), Source: crossingv1.Tokens_REPORTED}
	for _, c := range []struct {
		name, operation string
		u               Usage
		want            int64
	}{
		{"asked for", openai.Responses, Usage{Answered: true, Pending: true}, 10 + 3*100},
		{"a batch", anthropic.CreateBatch, Usage{Answered: true, Pending: true}, 10 + 3*100},
		{"refused", anthropic.CreateBatch, Usage{}, 0},
		{"reported", anthropic.CreateBatch, Usage{Tokens: reported, Answered: true}, 7},
		{"goes on", openai.GetResponse, Usage{Answered: true, Pending: true}, 0},
		{"is being stopped", openai.CancelResponse, Usage{Answered: true, Pending: true}, 0},
		{"a batch goes on", anthropic.GetBatch, Usage{Answered: true, Pending: true}, 0},
		{"has ended", openai.GetResponse, Usage{Tokens: reported, Answered: true}, 7},
		{"has ended, nobody knows with what", openai.GetResponse, Usage{Answered: true}, 10 + 3*100},
		{"results that nobody can read", anthropic.BatchResults, Usage{Answered: true, Pending: true}, 10 + 3*100},
	} {
		l := budget.New()
		three := []Item{item("a", limits.Tokens, 1000, 100), item("b", limits.Tokens, 1000, 100), item("b", limits.Tokens, 1000, 100)}
		three[0].Ask.Operation = c.operation
		e, refused := Reserve(l, prices{}, "spiffe://a.test/x", three, 40, noon)
		if refused != nil {
			t.Fatalf("%s: %v", c.name, refused)
		}
		e.Settle(c.u)
		if got := used(l); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

// byName are prices of models by their names: each token costs as many as that has bytes.
type byName struct{}

func (byName) CostOf(model string, input, output int64) int64 {
	return int64(len(model)) * (input + output)
}

// TestDearest: what several models cost is what the dearest of them would, where the call
// named none.
func TestDearest(t *testing.T) {
	for _, c := range []struct {
		asked, served string
		want          int64
	}{{"", "a,bbb,cc", 3 * 7}, {"", "a", 7}, {"", "", 0}, {"a", "a,b", 3 * 7}, {"aa", "b", 2 * 7}} {
		l := budget.New()
		one := item("i", limits.Cost, 1_000_000, 100)
		one.Ask.Model = c.asked
		e, refused := Reserve(l, byName{}, "spiffe://a.test/x", []Item{one}, 40, noon)
		if refused != nil {
			t.Fatal(refused)
		}
		e.Settle(Usage{Model: c.served, Answered: true, Tokens: &crossingv1.Tokens{Input: count(3), Output: count(4)}})
		if got := used(l); got != c.want {
			t.Errorf("%q, served by %q: %d, want %d", c.asked, c.served, got, c.want)
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
