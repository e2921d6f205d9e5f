package exchange

import (
	"errors"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/internal/authz"
	"github.com/sallyport-mesh/sallyport/gateway/internal/standing"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// stand has the crossing judged again for as long as it goes on. The round is of
// before it was decided on.
func (a *account) stand(round uint64, v *authz.Verdict, source, peer spiffeid.ID, shown standing.Credential, outer standing.Cutter) {
	c := &a.stands
	c.Source, c.Destination, c.Peer, c.Workload = source, v.Workload.ID, peer, v.Caller != nil
	c.Stream, c.Credential, c.Outer, c.Bearer = a.stream, shown, outer, a
	a.cfg.Standing.Enter(c, round)
}

// fell says how a crossing ended, of which it is known how it looked: one that did
// not go on to its end because nobody stood behind it any more was refused for that
// reason, whoever noticed first.
func (a *account) fell(cause crossingv1.Cause, reason crossingv1.Reason) (crossingv1.Cause, crossingv1.Reason) {
	why, detail := a.cfg.Standing.Leave(&a.stands)
	switch {
	case cause == crossingv1.Cause_DONE:
	case why != crossingv1.Reason_REASON_UNSPECIFIED:
		a.close.Detail = crossing.Detail(detail)
		return crossingv1.Cause_REFUSED, why
	case cause == crossingv1.Cause_REFUSED_BY_PEER && reason == crossingv1.Reason_REASON_UNSPECIFIED:
		_, err := a.stream.Write(nil)
		return cause, deniedBy(err)
	}
	return cause, reason
}

// deniedBy is why a gateway stands by a crossing no more, if the stream was reset
// for that.
func deniedBy(err error) crossingv1.Reason {
	if reset, ok := errors.AsType[*tunnel.ResetError](err); ok {
		return reset.Code.Reason()
	}
	return crossingv1.Reason_REASON_UNSPECIFIED
}
