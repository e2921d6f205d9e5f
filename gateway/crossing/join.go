package crossing

import (
	"cmp"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// Account is one gateway's account of a crossing: how it opened, how far it has
// come, if it is open for long, and, once it has, how it ended. Any may be missing.
type Account struct {
	Open     *crossingv1.Half
	Progress *crossingv1.Progress // the last
	Close    *crossingv1.Close
}

// Further takes up how far the crossing has come, if it says more than what is there:
// the order in which it is told does not matter.
func (a *Account) Further(p *crossingv1.Progress) {
	if a.Progress == nil || furthest(a.Progress, p) < 0 {
		a.Progress = p
	}
}

func furthest(a, b *crossingv1.Progress) int {
	return cmp.Or(
		a.GetAt().AsTime().Compare(b.GetAt().AsTime()),
		cmp.Compare(a.GetRequestBytes(), b.GetRequestBytes()),
		cmp.Compare(a.GetResponseBytes(), b.GetResponseBytes()),
	)
}

// whole says that nothing more is to come of the account: it has an end, or it
// is of a crossing that never went anywhere.
func (a *Account) whole() bool {
	return a.Open != nil && (a.Close != nil || refusedAtEgress(a.Open))
}

func refusedAtEgress(h *crossingv1.Half) bool { return h.GetKey().GetIngress() == "" }

// Join makes the record of a crossing from what is known of it; either account
// may be nil. It changes neither, and the record shares nothing with them.
func Join(egress, ingress *Account) *crossingv1.Record {
	r := &crossingv1.Record{Schema: Schema}
	e, i := opening(egress), opening(ingress)
	first := e // the egress gateway names things; the other only if it is missing
	if first == nil {
		first = i
	}
	if first == nil {
		return r
	}
	r.Id = first.GetId()
	r.Transition = proto.CloneOf(first.GetTransition())
	r.Source, r.Destination, r.Trace = first.GetSource(), first.GetDestination(), first.GetTrace()
	r.Operation = proto.CloneOf(first.GetOperation())
	r.Tunnel = proto.CloneOf(carried(egress, first))
	r.Evidence = evidence(first.GetKey())
	r.Egress, r.Ingress = end(egress), end(ingress)
	ec, ic := ending(egress), ending(ingress)
	if r.Operation != nil && (ec.GetStreamed() || ic.GetStreamed()) {
		r.Operation.Streamed = true
	}
	answer(r.Operation, ec, ic)
	r.State, r.Differences = judge(egress, ingress, r)
	if both := r.State == crossingv1.Record_JOINED || r.State == crossingv1.Record_DISAGREE; both {
		r.Agree = proto.Bool(r.State == crossingv1.Record_JOINED)
	}
	return r
}

// carried is the tunnel that carried the crossing: the egress gateway knows.
func carried(egress *Account, first *crossingv1.Half) *crossingv1.Tunnel {
	if egress != nil && egress.Close.GetTunnel() != nil {
		return egress.Close.GetTunnel()
	}
	return first.GetTunnel()
}

func opening(a *Account) *crossingv1.Half {
	if a == nil {
		return nil
	}
	return a.Open
}

func ending(a *Account) *crossingv1.Close {
	if a == nil {
		return nil
	}
	return a.Close
}

func evidence(k *crossingv1.Key) *crossingv1.Evidence {
	pair := name(k.GetEgress())
	if k.GetIngress() != "" {
		pair += " " + name(k.GetIngress())
	}
	return &crossingv1.Evidence{Pair: pair, Run: k.GetRun(), Sequence: k.GetSequence()}
}

// name is the last segment of a gateway's SPIFFE ID.
func name(id string) string {
	parsed, err := spiffeid.FromString(id)
	if err != nil {
		return id
	}
	path := parsed.Path()
	for i := len(path) - 1; i >= 0; i-- {
		if path[i] == '/' {
			return path[i+1:]
		}
	}
	return path
}

// end is a gateway's account as the record shows it.
func end(a *Account) *crossingv1.End {
	if a == nil || a.Open == nil {
		return nil
	}
	e := proto.CloneOf(a.Open.GetEnd())
	if e == nil {
		e = new(crossingv1.End)
	}
	c := a.Close
	if c == nil {
		if p := a.Progress; p != nil {
			e.RequestBytes, e.ResponseBytes = p.GetRequestBytes(), p.GetResponseBytes()
		}
		return e
	}
	e.Duration, e.FirstByte = proto.CloneOf(c.GetDuration()), proto.CloneOf(c.GetFirstByte())
	e.RequestBytes, e.ResponseBytes = c.GetRequestBytes(), c.GetResponseBytes()
	e.Status, e.Message, e.Tries, e.Close = c.GetStatus(), c.GetMessage(), c.GetTries(), c.GetCause()
	e.Throttled = proto.CloneOf(c.GetThrottled())
	e.AnswerClass, e.AnswerLabeler = c.GetAnswerClass(), c.GetAnswerLabeler()
	e.Transfer, e.Said, e.Kept = proto.CloneOf(c.GetTransfer()), proto.CloneOf(c.GetSaid()), proto.CloneOf(c.GetKept())
	if c.GetReason() != crossingv1.Reason_REASON_UNSPECIFIED {
		e.Reason = c.GetReason()
	}
	if c.GetDetail() != "" {
		e.Detail = c.GetDetail()
	}
	if c.GetPeer() != nil {
		e.Peer = proto.CloneOf(c.GetPeer())
	}
	return e
}

// Opened is when a crossing opened: as its egress gateway has it, or its ingress gateway where
// there is no more.
func Opened(r *crossingv1.Record) *timestamppb.Timestamp {
	if at := r.GetEgress().GetOpen(); at != nil {
		return at
	}
	return r.GetIngress().GetOpen()
}

// judge says how far the record has come, and where the halves differ.
func judge(egress, ingress *Account, r *crossingv1.Record) (crossingv1.Record_State, []string) {
	switch {
	case r.GetIngress() == nil && refusedAtEgress(egress.Open):
		return stateAlone(egress.Open), nil
	case r.GetEgress() == nil && ingress.whole(), r.GetIngress() == nil && egress.whole():
		return crossingv1.Record_ONE_SIDED, nil
	case r.GetEgress() == nil || r.GetIngress() == nil || !egress.whole() || !ingress.whole():
		return crossingv1.Record_OPEN, nil
	}
	if d := differences(egress, ingress); len(d) > 0 {
		return crossingv1.Record_DISAGREE, d
	}
	return crossingv1.Record_JOINED, nil
}

// stateAlone is the state of a crossing that the egress gateway kept: because the
// policy denied it, or because there was no way although the policy allowed it.
func stateAlone(h *crossingv1.Half) crossingv1.Record_State {
	if h.GetEnd().GetDecision() == crossingv1.Decision_ALLOW {
		return crossingv1.Record_REFUSED
	}
	return crossingv1.Record_DENIED
}

// differences names, by their place in the record, the fields that both
// gateways must say alike and do not. Each gateway's clock, intent and policy
// are its own; so is its decision, but the egress gateway must know what the
// other decided: it says REFUSED_BY_PEER of a crossing that was denied there.
// It says so too where the destination failed before it answered.
func differences(egress, ingress *Account) []string {
	var d differing
	d.openings(egress.Open, ingress.Open)
	kept := egress.Open.GetEnd().GetDecision() == crossingv1.Decision_DENY
	denied := ingress.Open.GetEnd().GetDecision() == crossingv1.Decision_DENY
	d.ends(egress.Close, ingress.Close, denied && !kept)
	return d
}

// OpenDifferences names the fields in which two gateways' openings of a crossing
// differ and must not, as a record does.
func OpenDifferences(egress, ingress *crossingv1.Half) []string {
	var d differing
	d.openings(egress, ingress)
	return d
}

// CloseDifferences names those of two ends. denied says that the ingress gateway
// denied the crossing when it opened.
func CloseDifferences(egress, ingress *crossingv1.Close, denied bool) []string {
	var d differing
	d.places(egress.GetId(), ingress.GetId(), egress.GetKey(), ingress.GetKey())
	d.ends(egress, ingress, denied)
	return d
}

// differing are names of fields.
type differing []string

func (d *differing) add(field string, differs bool) {
	if differs {
		*d = append(*d, field)
	}
}

func (d *differing) places(e, i string, ek, ik *crossingv1.Key) {
	d.add("id", e != i)
	d.add("evidence.pair", ek.GetEgress() != ik.GetEgress() || ek.GetIngress() != ik.GetIngress())
	d.add("evidence.run", ek.GetRun() != ik.GetRun())
	d.add("evidence.sequence", ek.GetSequence() != ik.GetSequence())
}

func (d *differing) openings(e, i *crossingv1.Half) {
	d.places(e.GetId(), i.GetId(), e.GetKey(), i.GetKey())
	d.add("source", e.GetSource() != i.GetSource())
	d.add("destination", e.GetDestination() != i.GetDestination())
	d.add("trace", e.GetTrace() != i.GetTrace())
	if i.GetEnd().GetDecision() != crossingv1.Decision_DENY {
		// A gateway that refuses does so before it knows what it is about.
		d.add("transition.from", e.GetTransition().GetFrom() != i.GetTransition().GetFrom())
		d.add("transition.to", e.GetTransition().GetTo() != i.GetTransition().GetTo())
		d.add("transition.owner", e.GetTransition().GetOwner() != i.GetTransition().GetOwner())
		d.add("operation.service", e.GetOperation().GetService() != i.GetOperation().GetService())
		d.add("operation.name", e.GetOperation().GetName() != i.GetOperation().GetName())
		d.add("operation.authority", e.GetOperation().GetAuthority() != i.GetOperation().GetAuthority())
		d.asked(e.GetOperation(), i.GetOperation())
	}
	proofs := [...]string{e.GetEnd().GetProof(), i.GetEnd().GetProof()}
	d.add("proof", proofs[0] != "" && proofs[1] != "" && proofs[0] != proofs[1])
	d.add("decision", e.GetEnd().GetDecision() == crossingv1.Decision_DENY) // and yet it was let in
}

func (d *differing) ends(e, i *crossingv1.Close, denied bool) {
	told := e.GetCause() == crossingv1.Cause_REFUSED_BY_PEER
	both := e.GetCause() == crossingv1.Cause_DONE && i.GetCause() == crossingv1.Cause_DONE
	done := e.GetCause() == crossingv1.Cause_DONE
	d.add("decision", denied && !told && !brokenOff(e))
	d.add("close", told && i.GetCause() == crossingv1.Cause_DONE || done && !denied && !mayBeDone(i))
	if both {
		d.add("requestBytes", e.GetRequestBytes() != i.GetRequestBytes())
		d.add("responseBytes", e.GetResponseBytes() != i.GetResponseBytes())
		d.add("status", e.GetStatus() != i.GetStatus())
	}
	transferDifferences(e, i, d.add)
	if both {
		d.said(e.GetSaid(), i.GetSaid())
		d.add("answerClass", e.GetAnswerClass() != i.GetAnswerClass())
		d.add("answerLabeler", e.GetAnswerLabeler() != i.GetAnswerLabeler())
	}
}

// mayBeDone says that this ingress gateway may have given the whole answer,
// whatever it knows of it: it did, or it was cut off before it could note it.
// The other way round nothing need match: what an ingress gateway has handed
// over may still not reach a caller who goes away.
func mayBeDone(c *crossingv1.Close) bool {
	switch c.GetCause() {
	case crossingv1.Cause_DONE, crossingv1.Cause_PEER_LOST, crossingv1.Cause_GATEWAY_STOPPED:
		return true
	}
	return false
}

// brokenOff says that the crossing ended before the other gateway's word could
// arrive, be it that this one refused to go on with it.
func brokenOff(c *crossingv1.Close) bool {
	switch c.GetCause() {
	case crossingv1.Cause_CALLER_GONE, crossingv1.Cause_PEER_LOST, crossingv1.Cause_GATEWAY_STOPPED, crossingv1.Cause_PROTOCOL_ERROR,
		crossingv1.Cause_REFUSED:
		return true
	}
	return false
}
