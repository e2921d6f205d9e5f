// Package unmatched explains: of each record with one half, or with two that differ,
// and of each finding on statements it says in a sentence what became of it. It finds
// nothing by itself: packages join and statements do.
//
// The one invariant: what is said to be missing for good is so by what gateways have
// stated; what may still come is said to be uncertain.
package unmatched

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/sallyport-mesh/sallyport/controlplane/internal/join"
	"github.com/sallyport-mesh/sallyport/controlplane/internal/statements"
	"github.com/sallyport-mesh/sallyport/gateway/statement"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// Records are the joined records. See join.Joiner.
type Records interface {
	Unmatched() []join.Halves
	At(k *crossingv1.Key) (join.Halves, bool)
	Outage(gateway string) *crossingv1.Outage
}

// Book is what is known of statements. See statements.Book.
type Book interface {
	Findings(now time.Time) []*controlv1.Finding
	Delivered(gateway string) time.Time
	AsOf(now time.Time) time.Time
}

// Explainer explains as of one time.
type Explainer struct {
	records  Records
	book     Book
	now      time.Time
	findings []*controlv1.Finding
	at       map[statements.Place][]*controlv1.Finding
}

// Explain takes a look at what is known now.
func Explain(records Records, book Book, now time.Time) *Explainer {
	x := &Explainer{records: records, book: book, now: book.AsOf(now), findings: book.Findings(now), at: map[statements.Place][]*controlv1.Finding{}}
	for _, f := range x.findings {
		if isOfNumber(f) {
			x.at[statements.PlaceOf(f)] = append(x.at[statements.PlaceOf(f)], f)
		}
	}
	return x
}

// isOfNumber says that a finding is about one crossing.
func isOfNumber(f *controlv1.Finding) bool {
	switch f.GetKind() {
	case controlv1.Finding_DIFFERENCE, controlv1.Finding_LOST, controlv1.Finding_UNSTATED:
		return true
	}
	return false
}

// List are all findings, by when what they are about began: those on records, and
// those that no record shows. The transition of one that is on no record is left to the
// caller.
func (x *Explainer) List() []*controlv1.Finding {
	var all []*controlv1.Finding
	told := map[statements.Place]bool{}
	for _, h := range x.records.Unmatched() {
		f := x.Record(h)
		told[statements.PlaceOf(f)] = true
		if !f.GetUncertain() || !x.underWay(h) {
			all = append(all, f)
		}
	}
	for _, f := range x.findings {
		if !isOfNumber(f) {
			all = append(all, f)
			continue
		}
		if h, known := x.records.At(keyOf(f)); known {
			f.Crossing, f.Transition = h.Record.GetId(), h.Record.GetTransition()
			if told[statements.PlaceOf(f)] && !apart(f) || mended(f, h.Record) {
				continue
			}
		}
		all = append(all, f)
	}
	slices.SortStableFunc(all, func(a, b *controlv1.Finding) int {
		return cmp.Or(a.GetSince().AsTime().Compare(b.GetSince().AsTime()), cmp.Compare(a.GetNumber(), b.GetNumber()))
	})
	return all
}

func keyOf(f *controlv1.Finding) *crossingv1.Key {
	c := f.GetChain()
	return &crossingv1.Key{Egress: c.GetEgress(), Ingress: c.GetIngress(), Run: c.GetRun(), Sequence: f.GetNumber()}
}

// apart says that a finding is about something else than why its record is unmatched.
func apart(f *controlv1.Finding) bool {
	return f.GetKind() == controlv1.Finding_UNSTATED || f.GetKind() == controlv1.Finding_DIFFERENCE && is(f, crossingv1.Difference_REUSED)
}

// mended says that what two gateways stated otherwise has come since, and that both
// halves say the same: a claim stood alone, or an end was late.
func mended(f *controlv1.Finding, r *crossingv1.Record) bool {
	late := is(f, crossingv1.Difference_UNCLAIMED) || is(f, crossingv1.Difference_UNENDED) || is(f, crossingv1.Difference_UNOPENED)
	return f.GetKind() == controlv1.Finding_DIFFERENCE && late && r.GetState() == crossingv1.Record_JOINED
}

// is says of which kind a difference is.
func is(f *controlv1.Finding, kind crossingv1.Difference_Kind) bool { return f.GetDifference() == kind }

// underWay says that a crossing ended so lately that its other half may be on its way.
func (x *Explainer) underWay(h join.Halves) bool {
	a := h.Egress
	if a.Open == nil {
		a = h.Ingress
	}
	ended := a.Open.GetEnd().GetOpen().AsTime().Add(a.Close.GetDuration().AsDuration())
	return x.now.Sub(ended).Abs() < statements.Silence
}

// Record explains a record that is one-sided, or whose halves disagree.
func (x *Explainer) Record(h join.Halves) *controlv1.Finding {
	k, r := h.Key(), h.Record
	f := &controlv1.Finding{
		Crossing: r.GetId(), Transition: r.GetTransition(), Number: k.GetSequence(), Fields: r.GetDifferences(),
		Chain: statement.ChainOf(k).Message(),
	}
	if r.GetState() == crossingv1.Record_DISAGREE {
		f.Kind, f.Since, f.Cause = controlv1.Finding_DISAGREE, r.GetEgress().GetOpen(), disagree(h)
		return f
	}
	f.Kind, f.Gateway, f.Since = controlv1.Finding_ONE_SIDED, k.GetIngress(), r.GetEgress().GetOpen()
	if r.GetEgress() == nil {
		f.Gateway, f.Since = k.GetEgress(), r.GetIngress().GetOpen()
	}
	x.oneSided(f, h)
	return f
}

// oneSided says where the other half is.
func (x *Explainer) oneSided(f *controlv1.Finding, h join.Halves) {
	who, stopped := statements.Short(f.GetGateway()), stop(h)
	for _, known := range x.at[statements.PlaceOf(f)] {
		if lost := known.GetKind() == controlv1.Finding_LOST; apart(known) || lost && known.GetGateway() != f.GetGateway() {
			continue
		}
		x.stated(f, known, h)
		return
	}
	f.Uncertain = true
	if stopped != "" {
		stopped += "; "
	}
	switch last := x.book.Delivered(f.GetGateway()); {
	case last.IsZero():
		f.Cause = fmt.Sprintf("%s%s's half may still be in its spool: %s has delivered nothing yet", stopped, who, who)
	case x.now.Sub(last) > statements.Silence:
		f.Cause = fmt.Sprintf("%s%s's half is still in its spool: %s has not delivered since %s", stopped, who, who, clock(last, x.now))
	default:
		f.Cause = fmt.Sprintf("%s%s has delivered nothing of it yet, and stated nothing", stopped, who)
	}
}

// stated explains a missing half by what the gateways have stated.
func (x *Explainer) stated(f, known *controlv1.Finding, h join.Halves) {
	f.Epoch, f.Cause, f.Difference = known.GetEpoch(), known.GetCause(), known.GetDifference()
	switch {
	case known.GetKind() == controlv1.Finding_LOST:
		f.Kind = controlv1.Finding_LOST
	case is(known, crossingv1.Difference_UNSEEN):
		f.Cause = unseen(statements.Short(f.GetGateway()), h) + " (UNSEEN)"
	case is(known, crossingv1.Difference_UNRECORDED):
		f.Cause += x.outage(f.GetGateway())
	}
}

// unseen says why a crossing never came to the ingress gateway, by how it ended at the
// egress gateway.
func unseen(who string, h join.Halves) string {
	words := "it never came to " + who
	switch h.Egress.Close.GetCause() {
	case crossingv1.Cause_PEER_LOST:
		return words + ": the tunnel was lost as it opened"
	case crossingv1.Cause_CALLER_GONE:
		return words + ": its caller went away as it opened"
	case crossingv1.Cause_GATEWAY_STOPPED:
		return words + ": " + stop(h)
	}
	return words
}

// stop says which gateway was killed while the crossing was open; empty if none was.
func stop(h join.Halves) string {
	for _, a := range [...]struct {
		side  string
		close *crossingv1.Close
	}{{"egress", h.Egress.Close}, {"ingress", h.Ingress.Close}} {
		if a.close.GetCause() == crossingv1.Cause_GATEWAY_STOPPED {
			return "the " + a.side + " gateway was killed while it was open (GATEWAY_STOPPED)"
		}
	}
	return ""
}

// outage says when a gateway could not record last, and why.
func (x *Explainer) outage(gateway string) string {
	o := x.records.Outage(gateway)
	if o == nil {
		return ""
	}
	return fmt.Sprintf(": its disk was %s from %s to %s", o.GetCause(), clock(o.GetBegan().AsTime(), x.now), clock(o.GetEnded().AsTime(), x.now))
}

// clock is a time as a sentence has it: of today without its date.
func clock(t, now time.Time) string {
	t, now = t.UTC(), now.UTC()
	if t.Format(time.DateOnly) == now.Format(time.DateOnly) {
		return t.Format(time.TimeOnly)
	}
	return t.Format(time.RFC3339)
}
