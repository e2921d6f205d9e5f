package exchange

import (
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/internal/authz"
	"github.com/sallyport-mesh/sallyport/gateway/internal/budget"
	"github.com/sallyport-mesh/sallyport/gateway/internal/budget/spend"
	"github.com/sallyport-mesh/sallyport/gateway/internal/hold"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/inspect"
	"github.com/sallyport-mesh/sallyport/gateway/internal/pace"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

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
	items, prices := within(v)
	b, refused := spend.Reserve(a.cfg.Budgets, prices, caller, items, input, now)
	if refused != nil {
		v.OverBudget(crossing.Detail(refused.String()))
		return refused.RetryAfter
	}
	a.budget, a.flow = b, pace.NewFlow(b)
	return 0
}

// within are the things that are asked for, and the limits that each is within.
func within(v *authz.Verdict) ([]spend.Item, budget.Prices) {
	limits, prices := v.Budgets(v.Intent)
	asks, messages := v.Asks(), v.Messages()
	if len(messages) == 0 {
		one := spend.Item{Ask: inspect.NewAsk(), Intent: v.Intent, Limits: limits}
		if len(asks) > 0 {
			one.Ask = asks[0]
		}
		return []spend.Item{one}, prices
	}
	items := make([]spend.Item, len(messages))
	for i, m := range messages {
		limits, _ := v.Budgets(m.Intent)
		items[i] = spend.Item{Ask: asks[i], Intent: m.Intent, Limits: limits}
	}
	return items, prices
}

// spend settles the budgets of an exchange that has ended.
func (a *account) spend(said *crossingv1.Said, cause crossingv1.Cause) {
	if a.budget == nil {
		return
	}
	request, response := a.passed()
	if cause == crossingv1.Cause_REFUSED_BY_PEER && !a.begun {
		a.budget.DropBut(int64(min(request, 1<<62))) // which the peer has had
		return
	}
	a.budget.Settle(spend.Usage{
		Bytes: int64(min(request+response, 1<<62)), Tokens: said.GetTokens(), Model: said.GetModelServed(),
		Answered: a.begun && a.close.GetStatus() < 400 && !said.GetFailed(),
		Pending:  said.GetId() != "" && said.GetFinishReason() == "",
	})
}

// inputOf is how many bytes a request's content has, as far as that is known; held is
// nil if nobody looks at it.
func inputOf(head *l7.RequestHead, held *hold.Content) int64 {
	if n, known, err := head.Fields.ContentLength(); known && err == nil {
		return n
	}
	return int64(held.Buffered())
}
