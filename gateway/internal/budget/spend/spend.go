// Package spend takes what one exchange may come to from its caller's budgets, and
// settles what it came to.
package spend

import (
	"strings"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/internal/budget"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/anthropic"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/inspect"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/openai"
	"github.com/sallyport-mesh/sallyport/gateway/policy/limits"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// Item is one thing that is asked for, and the limits that it is within.
type Item struct {
	Ask    inspect.Ask
	Intent string
	Limits []limits.Limit
}

// Exchange is what one exchange has of its caller's budgets, until it is over. A nil one
// has nothing. It is not safe for concurrent use.
type Exchange struct {
	prices   budget.Prices
	reserved []budget.Reservation
	wants    []budget.Amounts
	model    string
	looks    bool // it only looks at what another exchange has asked for
}

// Reserve takes what each thing may come to that a caller asks for, by a content of so
// many bytes, or nothing: then it says where there is no room.
func Reserve(l *budget.Ledger, p budget.Prices, caller string, items []Item, input int64, now time.Time) (*Exchange, *budget.Refused) {
	e := &Exchange{prices: p, model: items[0].Ask.Model, looks: looks(items[0].Ask.Operation)}
	for i := range items {
		ask := &items[i].Ask
		want := budget.Want(p, budget.Call{Model: ask.Model, Input: input, MaxOutput: ask.MaxTokens})
		input = 0 // the content is in the first
		reserved, refused := l.Reserve(caller, items[i].Intent, items[i].Limits, want, now)
		if refused != nil {
			e.Drop()
			return nil, refused
		}
		e.reserved, e.wants = append(e.reserved, reserved), append(e.wants, want)
	}
	return e, nil
}

// looks says that an operation looks at work, or stops it, that another call has asked
// for: a batch, or a response in the background.
func looks(operation string) bool {
	switch operation {
	case openai.GetResponse, openai.CancelResponse, anthropic.GetBatch, anthropic.CancelBatch:
		return true
	default:
		return false
	}
}

// Drop gives back all of an exchange that did not go on.
func (e *Exchange) Drop() { e.DropBut(0) }

// DropBut gives back all but so many bytes, which have passed.
func (e *Exchange) DropBut(bytes int64) {
	if e == nil {
		return
	}
	for i := range e.reserved {
		e.reserved[i].Settle(budget.Amounts{Bytes: bytes})
		bytes = 0 // they are in the first
	}
}

// CountsBytes says whether bytes are to be taken as they pass, and how many may before that.
func (e *Exchange) CountsBytes() (first int64, counts bool) {
	if e == nil || !e.reserved[0].CountsBytes() {
		return 0, false
	}
	return e.wants[0].Bytes, true
}

// Take takes more bytes of an exchange that goes on, as budget.Reservation does.
func (e *Exchange) Take(want int64, waited time.Duration, now time.Time) (budget.Grant, *budget.Refused) {
	return e.reserved[0].Take(want, waited, now)
}

// Settle counts what the exchange came to.
func (e *Exchange) Settle(u Usage) {
	if e == nil {
		return
	}
	for i := range e.reserved {
		e.reserved[i].Settle(u.amounts(e, i))
	}
}

// Usage is what is known of what an exchange came to.
type Usage struct {
	Bytes    int64              // of request and answer
	Tokens   *crossingv1.Tokens // nil if nothing is known
	Model    string             // that answered; "" if it is not known
	Answered bool               // there was an answer, and it was no error
	Pending  bool               // it names what goes on, and does not say that this has ended
}

// amounts are what counts for one of the things that were asked for: the first has all
// that is known. Of tokens of which nothing is known there are none without an answer, and
// as many as were reserved for each with one: so are those in where only those out were
// counted. So work counts as reserved that goes on when its exchange ends; who looks
// whether it has ended pays nothing until it has.
func (u Usage) amounts(e *Exchange, i int) budget.Amounts {
	want, actual := e.wants[i], budget.Amounts{Requests: 1}
	if i == 0 {
		actual.Bytes = u.Bytes
	}
	switch t := u.Tokens; {
	case t == nil && (!u.Answered || u.Pending && e.looks):
	case t == nil:
		actual.Tokens, actual.Cost = want.Tokens, want.Cost
	case i == 0:
		input, output := int64(t.GetInput()), int64(t.GetOutput())
		if t.Input == nil {
			input, _ = budget.Estimate(budget.Call{Input: want.Bytes})
		}
		actual.Tokens, actual.Cost = input+output, u.cost(e, input, output)
	}
	return actual
}

// cost is that of the model which answered if the policy's prices may know it, or of the
// one that was asked for. Where the call names none several may have answered, each of a
// batch: then it is that of the dearest.
func (u Usage) cost(e *Exchange, input, output int64) (micro int64) {
	switch {
	case e.model == "":
		for model := range strings.SplitSeq(u.Model, ",") {
			micro = max(micro, e.prices.CostOf(model, input, output))
		}
		return micro
	case strings.HasPrefix(u.Model, e.model):
		return e.prices.CostOf(u.Model, input, output)
	default:
		return e.prices.CostOf(e.model, input, output)
	}
}
