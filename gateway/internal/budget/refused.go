package budget

import (
	"fmt"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/policy/limits"
)

// Why says why there is no room for a call.
type Why uint8

const (
	// UsedUp: less is left of the limit than the call may come to.
	UsedUp Why = iota + 1
	// ShareUsedUp: something is left, but this gateway has had its share of it until it
	// hears of the others again.
	ShareUsedUp
	// TooMany: the gateway counts for as many callers as it can. It refuses others rather
	// than not to count what they use.
	TooMany
)

const (
	// tellEvery is how often gateways tell each other what was used.
	tellEvery = time.Second
	// awayAfter is how long it takes until a gateway that hears nothing does not expect to
	// any more, and how long the callers wait then.
	awayAfter = 5 * time.Second
)

// Refused says that a call has no room in a limit.
type Refused struct {
	// Intent that has the limit.
	Intent string
	// Limit that has no room.
	Limit limits.Limit
	// Why there is none.
	Why Why
	// Again is when there may be: when the limit's window begins anew, or sooner.
	Again time.Time
	// RetryAfter is how long that is, in whole seconds, at least 1.
	RetryAfter int
}

// String says it for people.
func (r *Refused) String() string {
	limit := fmt.Sprintf("%s of intent %s, %s", r.Limit.What, r.Intent, r.Limit)
	switch r.Why {
	case ShareUsedUp:
		return limit + ": this gateway's share is used up for now"
	case TooMany:
		return limit + ": budgets of too many callers are counted already"
	case UsedUp:
	}
	return limit + ": used up until " + r.Again.UTC().Format(time.RFC3339)
}

// tooMany says that a caller is one too many to count for.
func tooMany(intent string, limit limits.Limit, now time.Time) *Refused {
	return &Refused{Intent: intent, Limit: limit, Why: TooMany, Again: now.Add(shared), RetryAfter: int(shared / time.Second)}
}

func (l *Ledger) refuse(m *meter, limit limits.Limit, why Why, now time.Time) *Refused {
	again := m.end()
	if why == ShareUsedUp && m.isShared() {
		wait := tellEvery
		if now.Sub(l.heardAt) > awayAfter {
			wait = awayAfter
		}
		if soon := now.Add(wait); soon.Before(again) {
			again = soon
		}
	}
	// Rounded up, so that who waits for so long does not come too early.
	seconds := int((again.Sub(now) + time.Second - 1) / time.Second)
	return &Refused{Intent: m.account.intent, Limit: limit, Why: why, Again: again, RetryAfter: max(seconds, 1)}
}
