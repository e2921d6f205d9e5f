package render

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// Detail writes all that a record says, one fact a line.
func Detail(w io.Writer, r *crossingv1.Record) error {
	g := NewGrid().Indent()
	t := r.GetTransition()
	g.Row("crossing", r.GetId())
	g.Row("record", fmt.Sprintf("%s (%s)", halves(r), r.GetState()))
	if r.GetCause() != "" {
		g.Row("", r.GetCause())
	}
	g.Row("source", r.GetSource())
	g.Row("destination", orQuestion(r.GetDestination()))
	g.Row("transition", fmt.Sprintf("%s, owner %s, sink %s%s", Pair(t.GetFrom(), t.GetTo()), orQuestion(t.GetOwner()), orQuestion(t.GetSink()), delivered(t)))
	g.Row("operation", service(r))
	aiService(g, r.GetOperation())
	if asked := r.GetOperation().GetAuthority(); asked != "" {
		g.Row("asked for", asked)
	}
	g.Row("trace", r.GetTrace())
	end(g, "egress", "caller", r.GetEgress())
	end(g, "ingress", "destination", r.GetIngress())
	if tunnel := r.GetTunnel(); tunnel != nil {
		g.Row("tunnel", tunnelText(tunnel))
	}
	if e := r.GetEvidence(); e != nil {
		g.Row("evidence", fmt.Sprintf("pair %s, run %s, number %d", e.GetPair(), e.GetRun(), e.GetSequence()))
	}
	return g.Flush(w)
}

func delivered(t *crossingv1.Transition) string {
	if t.GetDelivered() {
		return " (delivered)"
	}
	return ""
}

func service(r *crossingv1.Record) string {
	if s := r.GetOperation().GetService(); s != "" {
		return operation(r) + ", service " + s
	}
	return operation(r)
}

// end adds the rows of one gateway's account. peer is what the party on its outer
// side is to the crossing.
func end(g *Grid, side, peer string, e *crossingv1.End) {
	if e == nil {
		g.Row(side, "no half")
		return
	}
	g.Row(side, Name(e.GetGateway())+"  "+decided(e))
	if e.GetDetail() != "" {
		g.Row("", e.GetDetail())
	}
	g.Row("", opened(e)+closed(e))
	if p := e.GetPeer(); p != nil {
		g.Row("", peer+" "+peerText(p))
	}
	if e.GetProof() != "" {
		g.Row("", "the caller's own proof "+Short(e.GetProof())+" verified here")
	}
	for _, asked := range e.GetGuarded() {
		g.Row("", guarded(asked))
	}
	if e.GetClose() != crossingv1.Cause_CAUSE_UNSPECIFIED {
		g.Row("", fmt.Sprintf("%s of request, %s of answer%s%s%s",
			Size(e.GetRequestBytes()), Size(e.GetResponseBytes()), status(e), tries(e), unseen(e)))
	}
	if e.GetClose() == crossingv1.Cause_CAUSE_UNSPECIFIED && e.GetRequestBytes()+e.GetResponseBytes() > 0 {
		g.Row("", fmt.Sprintf("%s of request, %s of answer so far", Size(e.GetRequestBytes()), Size(e.GetResponseBytes())))
	}
	if e.GetMessage() != "" { // in a row of its own: it may say anything
		g.Row("", "message: "+e.GetMessage())
	}
	if e.GetAnswerLabeler() != "" {
		g.Row("", "the answer is "+orQuestion(e.GetAnswerClass())+", by a label of "+e.GetAnswerLabeler())
	}
	said(g, e.GetSaid())
	transfer(g, e.GetTransfer())
}

// status is what the caller got, if it got anything. 0 is gRPC's for OK, and
// nobody's where there was no answer.
func status(e *crossingv1.End) string {
	if e.GetStatus() == 0 && (e.GetDecision() != crossingv1.Decision_ALLOW || e.GetClose() != crossingv1.Cause_DONE) {
		return ""
	}
	return fmt.Sprintf(", status %d", e.GetStatus())
}

// tries tells of a destination that did not answer at once.
func tries(e *crossingv1.End) string {
	if e.GetTries() < 2 {
		return ""
	}
	return fmt.Sprintf(", %d tries", e.GetTries())
}

// decided is the decision alone: what went wrong after an allow is no reason of it.
func decided(e *crossingv1.End) string {
	text := decision(e.GetDecision())
	if e.GetIntent() != "" {
		text += " by " + e.GetIntent()
	}
	if e.GetDecision() != crossingv1.Decision_ALLOW && e.GetReason() != crossingv1.Reason_REASON_UNSPECIFIED {
		text += ": " + Why(e.GetReason())
	}
	text += "  policy " + Ref(e.GetPolicy())
	if e.GetNamed() != nil {
		text += ", the egress gateway named " + Ref(e.GetNamed())
	}
	return text
}

func opened(e *crossingv1.End) string {
	if e.GetOpen() == nil {
		return "opened at an unknown time"
	}
	return "opened " + e.GetOpen().AsTime().UTC().Format(time.RFC3339Nano)
}

func closed(e *crossingv1.End) string {
	if e.GetClose() == crossingv1.Cause_CAUSE_UNSPECIFIED {
		return ", not ended"
	}
	text := ", ended after " + span(e.GetDuration()) + ": " + e.GetClose().String()
	if e.GetDecision() == crossingv1.Decision_ALLOW && e.GetReason() != crossingv1.Reason_REASON_UNSPECIFIED {
		text += ", " + Why(e.GetReason())
	}
	if e.GetFirstByte() != nil {
		text += ", first byte after " + span(e.GetFirstByte())
	}
	if e.GetThrottled() != nil {
		text += ", " + span(e.GetThrottled()) + " of it waiting for a budget"
	}
	return text
}

// unseen tells where a gateway let through what it could not read.
func unseen(e *crossingv1.End) string {
	if e.GetContentSeen() || e.GetDecision() != crossingv1.Decision_ALLOW || e.GetClose() == crossingv1.Cause_REFUSED {
		return ""
	}
	return ", content not seen"
}

func peerText(p *crossingv1.Peer) string {
	parts := []string{p.GetAttach().String()}
	for _, s := range []string{p.GetTls(), Short(p.GetSvid()), p.GetAddress()} {
		if s != "" {
			parts = append(parts, s)
		}
	}
	return strings.Join(parts, ", ")
}

func tunnelText(t *crossingv1.Tunnel) string {
	text := t.GetCarrier() + why(t.GetChoice()) + ", " + t.GetTls()
	if t.GetClass() == crossingv1.Tunnel_BULK {
		text += ", bulk"
	}
	if t.GetRoundTrip() != nil {
		text += ", round trip " + span(t.GetRoundTrip())
	}
	if c := t.GetClock(); c != nil {
		text += ", clock " + signed(c.GetOffset().AsDuration()) + " ± " + span(c.GetError())
	}
	return text
}

// why tells of a carrier that was not the usual one.
func why(c crossingv1.Tunnel_Choice) string {
	switch c {
	case crossingv1.Tunnel_LOSSY:
		return " (the path loses packets)"
	case crossingv1.Tunnel_FAILOVER:
		return " (the preferred carrier did not answer)"
	}
	return ""
}

func span(d *durationpb.Duration) string { return Took(d.AsDuration()) }

func signed(d time.Duration) string {
	if d < 0 {
		return Took(d)
	}
	return "+" + Took(d)
}

// Refusals is the table of `crossings refused`.
func Refusals() *Grid {
	return NewGrid("SECOND", "GATEWAY", "LISTENER", "PREFIX", "COUNT", "REASON", "FIRST OF THEM")
}

// RefusalRow adds a count of failures before identity to its table.
func RefusalRow(g *Grid, gateway string, r *crossingv1.Refusal) {
	second := ""
	if r.GetSecond() != nil {
		second = r.GetSecond().AsTime().UTC().Format(time.RFC3339)
	}
	g.Row(second, Name(gateway), r.GetListener(), r.GetPrefix(), strconv.FormatUint(r.GetCount(), 10), Why(r.GetReason()), r.GetDetail())
}
