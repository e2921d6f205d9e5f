package api

import (
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sallyport-mesh/sallyport/controlplane/internal/join"
	"github.com/sallyport-mesh/sallyport/controlplane/internal/unmatched"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// freshFor is how long one look at what is known explains the records that are shown.
const freshFor = time.Second

// ListUnmatched are the records and the statements that leave something unexplained,
// by when that began.
func (c *crossings) ListUnmatched(req *controlv1.ListUnmatchedRequest, stream grpc.ServerStreamingServer[controlv1.Finding]) error {
	for _, f := range c.unmatched(time.Now()) {
		if !wanted(req, f) {
			continue
		}
		if err := stream.Send(f); err != nil {
			return err
		}
	}
	return nil
}

func (c *crossings) unmatched(now time.Time) []*controlv1.Finding {
	all := unmatched.Explain(c.config.Records, c.config.Statements, now).List()
	for _, f := range all {
		if f.GetTransition() == nil {
			f.Transition = c.transitionOf(f.GetChain().GetEgress(), f.GetChain().GetIngress())
		}
	}
	return all
}

func wanted(req *controlv1.ListUnmatchedRequest, f *controlv1.Finding) bool {
	t := f.GetTransition()
	return (req.GetId() == "" || req.GetId() == f.GetCrossing()) &&
		(req.GetFrom() == "" || req.GetFrom() == t.GetFrom()) &&
		(req.GetTo() == "" || req.GetTo() == t.GetTo()) &&
		(req.GetOwner() == "" || req.GetOwner() == t.GetOwner())
}

// transitionOf is the one between the environments of two gateways and who answers for
// it by the policy in force: where there is no such transition, the owner of the
// egress gateway's environment.
func (c *crossings) transitionOf(egress, ingress string) *crossingv1.Transition {
	t := &crossingv1.Transition{From: c.environmentOf(egress), To: c.environmentOf(ingress)}
	g := c.policies.current.Load()
	if g == nil {
		return t
	}
	t.Owner = g.source.GetEnvironments()[t.GetFrom()].GetOwner()
	if open := g.compiled.TransitionOf(t.GetFrom(), t.GetTo()); open != nil {
		t.Owner, t.Sink = open.Owner, open.Sink
	}
	return t
}

// environmentOf is the environment of a gateway's trust domain, "" if the policy knows
// none.
func (c *crossings) environmentOf(gateway string) string {
	id, err := spiffeid.FromString(gateway)
	p := c.policies.compiled()
	if err != nil || p == nil {
		return ""
	}
	environment, _ := p.EnvironmentOf(id.TrustDomain())
	return environment
}

// stated is what is known of the statements on each transition. The chains of
// crossings that were refused at egress are of none.
func (c *crossings) stated(now time.Time) map[join.Transition]*controlv1.Statements {
	all := map[join.Transition]*controlv1.Statements{}
	of := func(t *crossingv1.Transition) *controlv1.Statements {
		key := join.Transition{From: t.GetFrom(), To: t.GetTo()}
		if all[key] == nil {
			all[key] = new(controlv1.Statements)
		}
		return all[key]
	}
	for _, chain := range c.config.Statements.Chains(now) {
		if chain.Ingress == "" {
			continue
		}
		s := of(c.transitionOf(chain.Egress, chain.Ingress))
		s.Count += uint64(chain.Epochs) //nolint:gosec // a count
		if !chain.Over {
			s.Chains++
		}
		if chain.Last.After(s.GetLast().AsTime()) {
			s.Last = timestamppb.New(chain.Last)
		}
		if silent := chain.Silent; !silent.IsZero() && (s.Silent == nil || silent.Before(s.Silent.AsTime())) {
			s.Silent = timestamppb.New(silent)
		}
	}
	for _, f := range c.unmatched(now) {
		if difference(f) {
			of(f.GetTransition()).Differences++
		}
	}
	return all
}

// difference says that a finding is on statements, and that nothing which may still
// come would settle it: neither a record, which is counted as unmatched, nor silence.
func difference(f *controlv1.Finding) bool {
	switch f.GetKind() {
	case controlv1.Finding_ONE_SIDED, controlv1.Finding_DISAGREE, controlv1.Finding_SILENT:
		return false
	}
	return true
}

// explanations say why records are unmatched. They are for one call.
type explanations struct {
	config Config
	by     *unmatched.Explainer
	at     time.Time
}

// of is why a record is unmatched; empty if it is not.
func (e *explanations) of(r *crossingv1.Record) string {
	if r.GetState() != crossingv1.Record_ONE_SIDED && r.GetState() != crossingv1.Record_DISAGREE {
		return ""
	}
	halves, known := e.config.Records.Of(r)
	if !known {
		return "" // it has changed while it was on its way
	}
	if now := time.Now(); e.by == nil || now.Sub(e.at) > freshFor {
		e.by, e.at = unmatched.Explain(e.config.Records, e.config.Statements, now), now
	}
	return e.by.Record(halves).GetCause()
}
