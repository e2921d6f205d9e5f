// Package spend takes what one exchange may come to from its caller's budgets, and
// settles what it came to.
package spend

import (
	"strings"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/internal/budget"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/inspect"
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
}

// Reserve takes what each thing may come to that a caller asks for, by a content of so
// many bytes, or nothing: then it says where there is no room.
func Reserve(l *budget.Ledger, p budget.Prices, caller string, items []Item, input int64, now time.Time) (*Exchange, *budget.Refused) {
	e := &Exchange{prices: p, model: items[0].Ask.Model}
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
		actual := budget.Amounts{Requests: 1}
		if i == 0 {
			actual = u.amounts(e)
		}
		e.reserved[i].Settle(actual)
	}
}

// Usage is what is known of what an exchange came to.
type Usage struct {
	Bytes    int64              // of request and answer
	Tokens   *crossingv1.Tokens // nil if nothing is known
	Model    string             // that answered; "" if it is not known
	Answered bool               // there was an answer, and it was no error
}

// amounts are what counts. Of tokens of which nothing is known there are none without an
// answer, and as many as were reserved with one: so are those in where only those out
// were counted.
func (u Usage) amounts(e *Exchange) budget.Amounts {
	want := e.wants[0]
	actual := budget.Amounts{Requests: 1, Bytes: u.Bytes}
	switch t := u.Tokens; {
	case t == nil && !u.Answered:
	case t == nil:
		actual.Tokens, actual.Cost = want.Tokens, want.Cost
	default:
		input, output := int64(t.GetInput()), int64(t.GetOutput())
		if t.Input == nil {
			input, _ = budget.Estimate(budget.Call{Input: want.Bytes})
		}
		actual.Tokens, actual.Cost = input+output, e.prices.CostOf(u.served(e), input, output)
	}
	return actual
}

// served is the model whose price counts: the one that answers if the policy's prices
// may know it, or the one that was asked for.
func (u Usage) served(e *Exchange) string {
	if strings.HasPrefix(u.Model, e.model) || e.model == "" {
		return u.Model
	}
	return e.model
}
