package authz

import (
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/sallyport-mesh/sallyport/gateway/internal/budget"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/artifact"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/inspect"
	"github.com/sallyport-mesh/sallyport/gateway/policy"
	"github.com/sallyport-mesh/sallyport/gateway/policy/kept"
	"github.com/sallyport-mesh/sallyport/gateway/policy/limits"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// Message is what was decided on one of several things that are asked for at once.
type Message struct {
	Intent string
	Allow  bool
}

// reading is what a verdict knows of what is asked for, and what it was decided
// by: so that it can be decided again when more is known.
type reading struct {
	protocol inspect.Protocol // nil where only the head tells anything
	request  inspect.Request  // nil where the content tells nothing, or cannot be understood
	head     inspect.Ask      // what the head alone tells
	messages []Message        // of several asks
	unread   bool             // the content had not all been read when it was decided
	digests  []policy.Digests // content must be in each; none if it may be any

	by, named *policy.Policy // the one in force, and that of the peer if it is another
	source    spiffeid.ID
	asked     *l7.RequestHead
	header    *crossingv1.Header // ingress only
}

// ReadBy makes it ask of the content of a request what only that tells: of gives
// what reads a protocol, nil if nothing does. It is called before the first decision.
func (a *Authorizer) ReadBy(of func(protocol string) inspect.Protocol) *Authorizer {
	a.reads = of
	return a
}

// read begins to read what is asked of a service.
func (v *Verdict) read(a *Authorizer, head *l7.RequestHead) {
	if a.reads == nil || head.Method == "CONNECT" {
		return
	}
	if v.protocol = a.reads(v.Service.Protocol); v.protocol != nil {
		v.request, v.reading.head = v.protocol.Request(head)
	}
}

// Protocol is what the service speaks; nil if there is nothing to understand in it.
func (v *Verdict) Protocol() inspect.Protocol { return v.protocol }

// Request takes the content of the request; nil if nobody is to read it.
func (v *Verdict) Request() inspect.Request { return v.request }

// Asks are what is asked for, as far as it is known; none if nothing is.
func (v *Verdict) Asks() []inspect.Ask {
	switch {
	case v.request != nil:
		return v.request.Asks()
	case v.reading.head.Operation != "":
		return []inspect.Ask{v.reading.head}
	}
	return nil
}

// settled are what was known to be asked for when it was decided; one of which nothing is
// known if nothing was. Unlike Asks, it may be called while more of the content is read.
func (v *Verdict) settled() []inspect.Ask {
	var asks []inspect.Ask
	if v.unread {
		asks = []inspect.Ask{v.reading.head}
	} else {
		asks = v.Asks()
	}
	if len(asks) == 0 {
		return []inspect.Ask{inspect.NewAsk()}
	}
	return asks
}

// Artifact is what is asked of a registry, an object store or a hub, by the head, and by
// the content as far as it is known; of no operation if nothing, or nobody can tell.
func (v *Verdict) Artifact() artifact.Ask {
	if v.asked == nil {
		return artifact.Ask{}
	}
	a := artifact.Of(v.Service.Protocol, v.asked)
	if asks := v.Asks(); len(asks) == 1 && a.Operation != "" && asks[0].Kind != "" {
		a.Kind = asks[0].Kind
	}
	return a
}

// Messages are what was decided on each of Asks; none if there is one alone.
func (v *Verdict) Messages() []Message { return v.messages }

// Again decides once more on what was pending or unread, now that more of its
// content is known. It is decided by the same policies.
func (v *Verdict) Again(now time.Time) {
	v.Limited, v.digests, v.Guards = false, nil, nil
	v.Allow, v.Pending, v.Reason, v.Detail = false, false, crossingv1.Reason_REASON_UNSPECIFIED, ""
	v.judge(now)
}

// Unread denies what is pending: its content cannot be understood, or not within
// what is held. Where nothing is pending, nobody asks what it says any more.
func (v *Verdict) Unread(detail string) {
	v.request, v.messages = nil, nil
	if v.Pending {
		v.Pending = false
		v.fault(crossingv1.Reason_UNREADABLE, detail)
	}
}

// May says whether the caller may ask the same service for that, by the policy in
// force.
func (v *Verdict) May(ask *inspect.Ask, now time.Time) bool {
	if v.by == nil {
		return false
	}
	q := policy.Query{From: v.source, To: v.Workload, Service: v.Service.Name, Now: now}
	if attributes(&q.Attributes, v.Service, v.asked) != "" {
		return false
	}
	if v.Label != nil {
		q.Attributes.SetString(policy.DataClass, v.Label.Class)
	}
	ask.Describe(&q.Attributes)
	return v.by.Decide(&q).Allow
}

// Pins are what an intent of the policy in force requires of tools.
func (v *Verdict) Pins(intent string) policy.Pins {
	if v.by == nil {
		return nil
	}
	return v.by.Pins(intent)
}

// Budgets are the limits of an intent of the policy in force, and what its models cost.
func (v *Verdict) Budgets(intent string) ([]limits.Limit, budget.Prices) {
	return v.by.Limits(intent), v.by
}

// Kept is what the policy in force has kept of the content by the intent that decided.
func (v *Verdict) Kept() (kept.Content, bool) {
	if v.by == nil {
		return kept.Content{}, false
	}
	return v.by.Kept(v.Intent)
}

// Digests are what content must be of: one of each, by every policy and every intent that
// decided. None if it may be anything.
func (v *Verdict) Digests() []policy.Digests { return v.digests }

// Unlisted denies what is allowed only for content of other digests.
func (v *Verdict) Unlisted(detail string) { v.fault(crossingv1.Reason_DIGEST_NOT_ALLOWED, detail) }

// OverBudget denies what is allowed and has no room in a budget.
func (v *Verdict) OverBudget(detail string) { v.fault(crossingv1.Reason_OVER_BUDGET, detail) }

// Unfit denies what is asked for by a content that is at fault.
func (v *Verdict) Unfit(reason crossingv1.Reason, detail string) { v.fault(reason, detail) }

// Changed denies what is allowed of a tool as the policy knows it, and is asked of
// another one.
func (v *Verdict) Changed(detail string) { v.fault(crossingv1.Reason_TOOL_CHANGED, detail) }
