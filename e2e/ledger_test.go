package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// ledger is what clients know of their calls, to hold the control plane's records to.
type ledger struct {
	attempts []*attempt
	kills    []kill
}

// faults are what is wrong with all records that there are.
func (l *ledger) faults(records []*crossingv1.Record) []string {
	var faults []string
	ids, numbers := map[string]bool{}, map[string]bool{}
	byTrace := map[string][]*crossingv1.Record{}
	for _, r := range records {
		number := fmt.Sprint(r.GetEvidence().GetPair(), r.GetEvidence().GetRun(), r.GetEvidence().GetSequence())
		if ids[r.GetId()] || numbers[number] {
			faults = append(faults, fmt.Sprintf("there are two records of it: %v", r))
		}
		ids[r.GetId()], numbers[number] = true, true
		byTrace[r.GetTrace()] = append(byTrace[r.GetTrace()], r)
	}
	for _, a := range l.attempts {
		if why := l.fault(a, byTrace[a.trace]); why != "" {
			faults = append(faults, fmt.Sprintf("%s: %s: %v", a, why, byTrace[a.trace]))
		}
		delete(byTrace, a.trace)
	}
	for _, invented := range byTrace {
		faults = append(faults, fmt.Sprintf("nobody sent it: %v", invented))
	}
	return faults
}

// fault is what is wrong with the records of one attempt; empty if nothing is.
func (l *ledger) fault(a *attempt, records []*crossingv1.Record) string {
	answered := slices.IndexFunc(records, func(r *crossingv1.Record) bool { return r.GetId() == a.id })
	switch {
	case a.wrong != "":
		return "the answer is not what was sent: " + a.wrong
	case a.id == "" && a.status != 0:
		return "the answer names no crossing"
	case len(records) > int(a.sent.Load()):
		return "it has more records than it was sent"
	case a.id != "" && answered < 0 && a.reason != crossingv1.Reason_NOT_RECORDED.String():
		return "the crossing that was answered has no record"
	}
	for _, r := range records {
		if why := l.wrong(a, r); why != "" {
			return why
		}
	}
	if a.id == "" || !a.whole {
		return ""
	}
	want := crossingv1.Record_JOINED
	if a.kind == "denied" {
		want = crossingv1.Record_DENIED
	}
	if got := records[answered].GetState(); got != want {
		return fmt.Sprintf("the whole answer's record is %s, want %s", got, want)
	}
	return ""
}

// wrong is what is wrong with any record of an attempt.
func (l *ledger) wrong(a *attempt, r *crossingv1.Record) string {
	killed := slices.ContainsFunc(l.kills, func(k kill) bool { return k.over(a) && strings.Contains(r.GetEvidence().GetPair(), k.gateway) })
	switch {
	case r.GetSource() != a.source:
		return "another caller's record"
	case r.GetState() == crossingv1.Record_OPEN:
		return "nothing says how it ended"
	case r.GetState() == crossingv1.Record_DISAGREE:
		return "the two gateways disagree"
	case r.GetState() == crossingv1.Record_ONE_SIDED && !killed && a.reason != crossingv1.Reason_NOT_RECORDED.String():
		return "one half is missing, and no gateway of it was killed"
	case stoppedIn(r) && !killed:
		return "a gateway stopped in it, and none was killed"
	}
	return ""
}

// TestLedger: each fault is seen, and what a kill may do is none.
func TestLedger(t *testing.T) {
	t.Parallel()
	began := time.Now()
	during := kill{"azure-1", began.Add(time.Second), began.Add(2 * time.Second)}
	record := func(id, trace string, state crossingv1.Record_State) *crossingv1.Record {
		return &crossingv1.Record{
			Id: id, Trace: trace, State: state, Source: "spiffe://onprem.demo/x",
			Evidence: &crossingv1.Evidence{Pair: "onprem-1 azure-1", Sequence: uint64(len(id))},
		}
	}
	stopped := record("a", "t", crossingv1.Record_JOINED)
	stopped.Ingress = &crossingv1.End{Close: crossingv1.Cause_GATEWAY_STOPPED}
	stranger := record("a", "t", crossingv1.Record_JOINED)
	stranger.Source = "spiffe://onprem.demo/y"
	joined := record("a", "t", crossingv1.Record_JOINED)
	for _, c := range []struct {
		name    string
		change  func(*attempt)
		kills   []kill
		records []*crossingv1.Record
		want    string // of the fault; "" for none
	}{
		{name: "joined", records: []*crossingv1.Record{joined}},
		{name: "no record", want: "has no record"},
		{name: "another's id", records: []*crossingv1.Record{record("bb", "t", crossingv1.Record_JOINED)}, want: "has no record"},
		{name: "twice", records: []*crossingv1.Record{joined, joined}, want: "two records"},
		{name: "recorded more than sent", records: []*crossingv1.Record{joined, record("bb", "t", crossingv1.Record_JOINED)}, want: "more records"},
		{name: "said again", change: func(a *attempt) { a.sent.Add(1) }, records: []*crossingv1.Record{joined, record("bb", "t", crossingv1.Record_JOINED)}},
		{name: "invented", records: []*crossingv1.Record{joined, record("bb", "u", crossingv1.Record_JOINED)}, want: "nobody sent it"},
		{name: "another caller", records: []*crossingv1.Record{stranger}, want: "another caller"},
		{name: "open", records: []*crossingv1.Record{record("a", "t", crossingv1.Record_OPEN)}, want: "how it ended"},
		{name: "disagree", records: []*crossingv1.Record{record("a", "t", crossingv1.Record_DISAGREE)}, want: "disagree"},
		{name: "one-sided", records: []*crossingv1.Record{record("a", "t", crossingv1.Record_ONE_SIDED)}, change: broken, want: "no gateway of it was killed"},
		{name: "one-sided by a kill", records: []*crossingv1.Record{record("a", "t", crossingv1.Record_ONE_SIDED)}, change: broken, kills: []kill{during}},
		{name: "another's kill", records: []*crossingv1.Record{record("a", "t", crossingv1.Record_ONE_SIDED)}, change: broken, kills: []kill{{"aws-1", during.at, during.back}}, want: "no gateway"},
		{name: "an earlier kill", records: []*crossingv1.Record{record("a", "t", crossingv1.Record_ONE_SIDED)}, change: broken, kills: []kill{{"azure-1", began.Add(-time.Hour), began.Add(-time.Minute)}}, want: "no gateway"},
		{name: "whole and one-sided", records: []*crossingv1.Record{record("a", "t", crossingv1.Record_ONE_SIDED)}, kills: []kill{during}, want: "want JOINED"},
		{name: "stopped", records: []*crossingv1.Record{stopped}, want: "none was killed"},
		{name: "stopped by a kill", records: []*crossingv1.Record{stopped}, kills: []kill{during}},
		{name: "no answer", change: func(a *attempt) { a.id, a.status, a.whole = "", 0, false }},
		{name: "an answer of no crossing", change: func(a *attempt) { a.id = "" }, want: "names no crossing"},
		{name: "a full disk", change: full},
		{name: "a full disk at ingress", change: full, records: []*crossingv1.Record{record("a", "t", crossingv1.Record_ONE_SIDED)}},
		{name: "a wrong answer", change: func(a *attempt) { a.wrong = "half" }, records: []*crossingv1.Record{joined}, want: "not what was sent"},
		{name: "a denial that crossed", change: func(a *attempt) { a.kind = "denied" }, records: []*crossingv1.Record{joined}, want: "want DENIED"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := &attempt{kind: "MCP", source: "spiffe://onprem.demo/x", trace: "t", id: "a", status: 200, whole: true, began: began, ended: began.Add(90 * time.Second)}
			a.sent.Store(1)
			if c.change != nil {
				c.change(a)
			}
			l := &ledger{attempts: []*attempt{a}, kills: c.kills}
			got := strings.Join(l.faults(c.records), "\n")
			if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
				t.Errorf("faults = %q, want %q", got, c.want)
			}
		})
	}
}

func full(a *attempt) { a.whole, a.status, a.reason = false, 503, "NOT_RECORDED" }

func broken(a *attempt) { a.whole = false }
