package exchange

import (
	"strings"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/internal/authz"
	"github.com/sallyport-mesh/sallyport/gateway/internal/budget"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/inspect"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// budgeted is what an exchange has of its caller's budgets: a reservation for each thing
// that it asks for, until it is over.
type budgeted struct {
	prices   budget.Prices
	reserved []budget.Reservation
	wants    []budget.Amounts
	model    string
}

// reserve takes from the caller's budgets what the exchange may come to. If there is no
// room, nothing is taken, the verdict is a denial, and it says after how many seconds
// there may be. A gateway that counts nothing lets nothing within a budget.
func (a *account) reserve(v *authz.Verdict, caller string, input int64, now time.Time) (retryAfter int) {
	if !v.Allow || !v.Limited {
		return 0
	}
	if a.cfg.Budgets == nil {
		v.Unable("intent " + v.Intent + " has limits, and this gateway counts nothing")
		return 0
	}
	asks, messages := v.Asks(), v.Messages()
	if len(messages) == 0 {
		ask := inspect.NewAsk()
		if len(asks) > 0 {
			ask = asks[0]
		}
		asks, messages = []inspect.Ask{ask}, []authz.Message{{Intent: v.Intent}}
	}
	b := &budgeted{model: asks[0].Model}
	for i := range messages {
		limits, prices := v.Budgets(messages[i].Intent)
		b.prices = prices
		want := budget.Want(prices, budget.Call{Model: asks[i].Model, Input: input, MaxOutput: asks[i].MaxTokens})
		input = 0 // the content is in the first
		reserved, refused := a.cfg.Budgets.Reserve(caller, messages[i].Intent, limits, want, now)
		if refused != nil {
			b.drop()
			v.OverBudget(crossing.Detail(refused.String()))
			return refused.RetryAfter
		}
		b.reserved, b.wants = append(b.reserved, reserved), append(b.wants, want)
	}
	a.budget = b
	return 0
}

// drop gives back all of an exchange that did not go on.
func (b *budgeted) drop() {
	if b == nil {
		return
	}
	for i := range b.reserved {
		b.reserved[i].Drop()
	}
}

// settle counts what the exchange came to.
func (b *budgeted) settle(cost usage) {
	if b == nil {
		return
	}
	for i := range b.reserved {
		actual := budget.Amounts{Requests: 1}
		if i == 0 {
			actual = cost.amounts(b)
		}
		b.reserved[i].Settle(actual)
	}
}

// usage is what is known of what an exchange came to.
type usage struct {
	bytes    int64
	tokens   *crossingv1.Tokens // nil if nothing is known
	model    string             // that answered; "" if it is not known
	answered bool               // there was an answer, and it was no error
}

// amounts are what counts. Of tokens of which nothing is known there are none without an
// answer, and as many as were reserved with one: so are those in where only those out
// were counted.
func (u usage) amounts(b *budgeted) budget.Amounts {
	want := b.wants[0]
	actual := budget.Amounts{Requests: 1, Bytes: u.bytes}
	switch t := u.tokens; {
	case t == nil && !u.answered:
	case t == nil:
		actual.Tokens, actual.Cost = want.Tokens, want.Cost
	default:
		input, output := int64(t.GetInput()), int64(t.GetOutput())
		if t.Input == nil {
			input, _ = budget.Estimate(budget.Call{Input: want.Bytes})
		}
		actual.Tokens, actual.Cost = input+output, b.prices.CostOf(u.served(b), input, output)
	}
	return actual
}

// served is the model whose price counts: the one that answers if the policy's prices
// may know it, or the one that was asked for.
func (u usage) served(b *budgeted) string {
	if strings.HasPrefix(u.model, b.model) || b.model == "" {
		return u.model
	}
	return b.model
}

// spend settles the budgets of an exchange that has ended.
func (a *account) spend(said *crossingv1.Said, cause crossingv1.Cause) {
	if a.budget == nil {
		return
	}
	if cause == crossingv1.Cause_REFUSED_BY_PEER && !a.begun {
		a.budget.drop()
		return
	}
	request, response := a.passed()
	a.budget.settle(usage{
		bytes: int64(min(request+response, 1<<62)), tokens: said.GetTokens(), model: said.GetModelServed(),
		answered: a.begun && a.close.GetStatus() < 400 && !said.GetFailed(),
	})
}

// inputOf is how many bytes a request's content has, as far as that is known.
func inputOf(head *l7.RequestHead, held interface{ Buffered() int }) int64 {
	if n, known, err := head.Fields.ContentLength(); known && err == nil {
		return n
	}
	if held != nil {
		return int64(held.Buffered())
	}
	return 0
}
