package exchange

import (
	"context"
	"slices"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/internal/authz"
	"github.com/sallyport-mesh/sallyport/gateway/internal/guard"
	"github.com/sallyport-mesh/sallyport/gateway/internal/hold"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/coding"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	"github.com/sallyport-mesh/sallyport/gateway/policy"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// guarded asks the guards of this side, if there are any that must let the request pass.
// If one does not, the crossing has ended and the caller has its answer.
func (d *departure) guarded(v *authz.Verdict) bool {
	if !v.Guarded(crossingv1.Side_EGRESS) {
		return true
	}
	if d.askGuards(&d.calling, v, &d.req.Head, d.held); v.Allow {
		return true
	}
	d.half.Judged(v, d.cfg.Self.String(), d.opened)
	d.refuse(v, v.Reason)
	return false
}

// guarded asks the guards of this side, if there are any that must let the request pass,
// for as long as the peer gateway waits and running lasts.
func (a *arrival) guarded(running context.Context, v *authz.Verdict, head *l7.RequestHead) {
	if !v.Guarded(crossingv1.Side_INGRESS) {
		return
	}
	ctx, cancel := context.WithCancel(running)
	defer cancel()
	watch := tunnel.OnDone(a.stream, left(cancel))
	a.askGuards(ctx, v, head, a.held)
	watch.Stop()
	if !v.Allow {
		a.half.Judged(v, a.cfg.Self.String(), a.opened)
	}
}

// left ends something when a stream does.
type left context.CancelFunc

// StreamDone implements tunnel.Waiter.
func (l left) StreamDone() { l() }

// askGuards asks all guards of this side, and records what each says. The first that does
// not let the content pass denies it. A content that broke off goes nowhere, and nobody
// is asked about it.
func (a *account) askGuards(ctx context.Context, v *authz.Verdict, head *l7.RequestHead, held *hold.Content) {
	content, whole := held.Whole()
	if !whole {
		return
	}
	q := a.question(v, head, content)
	for _, g := range v.Guards {
		if g.At != a.half.Side {
			continue
		}
		answer := a.cfg.Guards.Ask(ctx, g.Name, &q)
		a.half.End.Guarded = append(a.half.End.Guarded, verdictOf(g, &answer))
		switch {
		case answer.Passes():
			continue
		case answer.Verdict == crossingv1.Guarded_REFUSE:
			v.Unguarded(crossingv1.Reason_GUARD_REFUSED, "guard "+g.Name+" refuses it")
		case answer.Unshown:
			v.Unguarded(crossingv1.Reason_GUARD_REFUSED, "guard "+g.Name+" cannot be shown it: "+answer.Fault)
		default:
			v.Unguarded(crossingv1.Reason_GUARD_UNAVAILABLE, "guard "+g.Name+" says nothing: "+answer.Fault)
		}
		return
	}
}

// question is what a guard is asked.
func (a *account) question(v *authz.Verdict, head *l7.RequestHead, content []byte) guard.Question {
	q := guard.Question{
		Crossing: a.id, Side: a.half.Side, Caller: a.half.Source, Destination: v.Workload.ID.String(),
		Service: v.Service.Name, Protocol: v.Service.Protocol, DataClass: v.DataClass,
		Method: head.Method, Target: head.Path,
		ContentType: head.Fields.Get("content-type"), Coding: coding.Of(head.Fields), Content: content,
	}
	if asks := v.Asks(); len(asks) > 0 {
		q.Operation, q.Model, q.Tool = asks[0].Operation, asks[0].Model, asks[0].Tool
	}
	return q
}

// verdictOf is what the record has of an answer: nothing that could be of the content.
func verdictOf(g *policy.Guard, a *guard.Answer) *crossingv1.Guarded {
	return &crossingv1.Guarded{
		Guard: g.Name, Verdict: a.Verdict, Rule: a.Rule, Findings: slices.Clone(a.Findings),
		Took: durationpb.New(a.Took), Fault: crossing.Detail(a.Fault),
	}
}
