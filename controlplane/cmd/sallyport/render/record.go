package render

import (
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// Opened is when a record's crossing opened: by the egress gateway's clock, or by
// the other's if its half is missing. It is zero if neither half is there.
func Opened(r *crossingv1.Record) time.Time {
	for _, e := range []*crossingv1.End{r.GetEgress(), r.GetIngress()} {
		if e.GetOpen() != nil {
			return e.GetOpen().AsTime()
		}
	}
	return time.Time{}
}

// Closed is when a record's crossing ended, by the clock that Opened is by; zero
// if that half does not say so.
func Closed(r *crossingv1.Record) time.Time {
	for _, e := range ends(r) {
		if e.GetOpen() != nil {
			return e.GetOpen().AsTime().Add(e.GetDuration().AsDuration())
		}
	}
	return time.Time{}
}

// Sort puts records into the order in which their crossings opened; crossings of
// one instant are ordered by id.
func Sort(records []*crossingv1.Record) {
	slices.SortStableFunc(records, func(a, b *crossingv1.Record) int {
		if c := Opened(a).Compare(Opened(b)); c != 0 {
			return c
		}
		return strings.Compare(a.GetId(), b.GetId())
	})
}

// Trace writes one line for each record: from where to where, what, the decision,
// how it ended, what the halves say of one another, who answers for it, and under
// which policy; with ids also which crossing it is.
func Trace(w io.Writer, records []*crossingv1.Record, ids bool) error {
	wFrom, wTo := 0, 0
	for _, r := range records {
		wFrom = max(wFrom, columns(orQuestion(r.GetTransition().GetFrom())))
		wTo = max(wTo, columns(orQuestion(r.GetTransition().GetTo())))
	}
	g := NewGrid().Indent()
	for _, r := range records {
		t := r.GetTransition()
		cells := []string{
			Padded(t.GetFrom(), t.GetTo(), wFrom, wTo), operation(r), decision(Decision(r)), Ending(r), halves(r),
			"owner " + orQuestion(t.GetOwner()), "policy " + Ref(decider(r).GetPolicy()),
		}
		if ids {
			cells = append(cells, r.GetId())
		}
		g.Row(cells...)
	}
	return g.Flush(w)
}

// Crossings is the table of `crossings`.
func Crossings() *Grid {
	return NewGrid("OPENED", "CROSSING", "TRANSITION", "FROM", "TO", "OPERATION", "DECISION", "END", "RECORD", "OWNER")
}

// LiveCrossings is the same for rows that come one by one.
func LiveCrossings() *Grid {
	return Crossings().Least(24, 36, 16, 12, 12, 24, 8, 15, 15)
}

// CrossingRow adds a record to the table of `crossings`.
func CrossingRow(g *Grid, r *crossingv1.Record) {
	t := r.GetTransition()
	g.Row(instant(Opened(r)), r.GetId(), Pair(t.GetFrom(), t.GetTo()), Name(r.GetSource()), callee(r),
		operation(r), decision(Decision(r)), Ending(r), halves(r), t.GetOwner())
}

// callee is the destination or, where there is no such one, what was asked for.
func callee(r *crossingv1.Record) string {
	if r.GetDestination() == "" {
		return r.GetOperation().GetAuthority()
	}
	return Name(r.GetDestination())
}

// Decision on a record's crossing: DENY if either gateway denied it, unspecified
// if no half is there.
func Decision(r *crossingv1.Record) crossingv1.Decision {
	all := ends(r)
	if len(all) == 0 {
		return crossingv1.Decision_DECISION_UNSPECIFIED
	}
	for _, e := range all {
		if e.GetDecision() != crossingv1.Decision_ALLOW { // unspecified counts as a denial
			return crossingv1.Decision_DENY
		}
	}
	return crossingv1.Decision_ALLOW
}

// Ending is how a crossing ended, as its caller saw it: the status that it got,
// and what went wrong if something did, or that its content is not what was declared
// of it; "" while it is open. That it was allowed does not say that it arrived.
func Ending(r *crossingv1.Record) string {
	all := ends(r)
	if r.GetState() == crossingv1.Record_OPEN || len(all) == 0 || all[0].GetClose() == crossingv1.Cause_CAUSE_UNSPECIFIED {
		return ""
	}
	var words []string
	if s := all[0].GetStatus(); s != 0 {
		words = append(words, strconv.FormatUint(uint64(s), 10))
	}
	if Decision(r) == crossingv1.Decision_DENY {
		return strings.Join(words, "") // why is what the decision says
	}
	if cause := all[0].GetClose(); cause != crossingv1.Cause_DONE {
		words = append(words, wentWrong(all, cause))
	}
	if altered(all) {
		words = append(words, crossingv1.Transfer_MISMATCH.String())
	}
	if len(words) == 0 {
		return "done"
	}
	return strings.Join(words, " ")
}

// wentWrong is the reason that a gateway gave, else the cause.
func wentWrong(all []*crossingv1.End, cause crossingv1.Cause) string {
	for _, e := range all {
		if e.GetReason() != crossingv1.Reason_REASON_UNSPECIFIED {
			return e.GetReason().String()
		}
	}
	return cause.String()
}

func decision(d crossingv1.Decision) string {
	if d == crossingv1.Decision_DECISION_UNSPECIFIED {
		return "?"
	}
	return d.String()
}

// ends are the halves that are there.
func ends(r *crossingv1.Record) []*crossingv1.End {
	var ends []*crossingv1.End
	for _, e := range []*crossingv1.End{r.GetEgress(), r.GetIngress()} {
		if e != nil {
			ends = append(ends, e)
		}
	}
	return ends
}

// decider is the end whose policy speaks for the crossing: the one that denied
// it, else the egress gateway, else whichever is there.
func decider(r *crossingv1.Record) *crossingv1.End {
	all := ends(r)
	for _, e := range all {
		if e.GetDecision() != crossingv1.Decision_ALLOW {
			return e
		}
	}
	if len(all) == 0 {
		return nil
	}
	return all[0]
}

// operation is what was asked for: "openai chat gpt-oss-20b, streamed".
func operation(r *crossingv1.Record) string {
	op := r.GetOperation()
	words := []string{op.GetProtocol(), op.GetName(), op.GetModelRequested(), version(op), op.GetTool(), op.GetAgent(), several(op), artifactName(op)}
	text := strings.Join(slices.DeleteFunc(words, func(s string) bool { return s == "" }), " ")
	if op.GetStreamed() {
		text += ", streamed"
	}
	return text
}

// halves is what a record's halves say of one another.
func halves(r *crossingv1.Record) string {
	switch r.GetState() {
	case crossingv1.Record_OPEN:
		return "still open"
	case crossingv1.Record_JOINED:
		return "both ends agree"
	case crossingv1.Record_DENIED:
		return "at the near gateway"
	case crossingv1.Record_REFUSED:
		return "no way from the near gateway"
	case crossingv1.Record_ONE_SIDED:
		return oneSided(r)
	case crossingv1.Record_DISAGREE:
		return "the ends disagree: " + strings.Join(r.GetDifferences(), ", ")
	}
	return "unknown state " + strconv.Itoa(int(r.GetState()))
}

func oneSided(r *crossingv1.Record) string {
	all := ends(r)
	if len(all) == 0 {
		return "no half"
	}
	return "only " + Name(all[0].GetGateway()) + " told of it"
}

// instant is a time as the tables write it; milliseconds are enough to tell rows apart.
func instant(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05.000Z")
}
