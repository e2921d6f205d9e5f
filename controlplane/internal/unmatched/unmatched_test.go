package unmatched

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sallyport-mesh/sallyport/controlplane/internal/join"
	"github.com/sallyport-mesh/sallyport/controlplane/internal/statements"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

const (
	onprem1 = "spiffe://onprem.demo/sallyport/gateway/onprem-1"
	azure1  = "spiffe://azure.demo/sallyport/gateway/azure-1"
	run     = "b41f0c9a7d5e43218f6a2b3c4d5e6f70"
)

// start is when the crossings open, and now when they are looked at.
var (
	start = time.Date(2026, 11, 23, 10, 10, 0, 0, time.UTC)
	now   = start.Add(10 * time.Minute)
)

// fakeBook stands for the statements.
type fakeBook struct {
	findings  []*controlv1.Finding
	delivered map[string]time.Time
	asOf      time.Time // zero: as asked
}

func (b *fakeBook) Findings(time.Time) []*controlv1.Finding {
	all := make([]*controlv1.Finding, len(b.findings))
	for i, f := range b.findings {
		all[i] = proto.CloneOf(f)
	}
	return all
}

func (b *fakeBook) Delivered(gateway string) time.Time { return b.delivered[gateway] }

func (b *fakeBook) AsOf(now time.Time) time.Time {
	if b.asOf.IsZero() {
		return now
	}
	return b.asOf
}

// newFakeBook is one in which both gateways deliver.
func newFakeBook(findings ...*controlv1.Finding) *fakeBook {
	return &fakeBook{findings: findings, delivered: map[string]time.Time{onprem1: now, azure1: now}}
}

func key(n uint64) *crossingv1.Key {
	return &crossingv1.Key{Egress: onprem1, Ingress: azure1, Run: run, Sequence: n}
}

func id(n uint64) string { return fmt.Sprintf("01a207e6-e4d8-7d3e-9a54-%012x", n) }

// half is one gateway's opening of the crossing with that number.
func half(n uint64, side crossingv1.Side) *crossingv1.Half {
	gateway := onprem1
	if side == crossingv1.Side_INGRESS {
		gateway = azure1
	}
	return &crossingv1.Half{
		Id: id(n), Key: key(n), Side: side, Source: "spiffe://onprem.demo/ai/orchestrator", Destination: "spiffe://azure.demo/ai/llm",
		Transition: &crossingv1.Transition{From: "onprem", To: "azure", Owner: "ml-platform", Sink: "siem"},
		End:        &crossingv1.End{Gateway: gateway, Decision: crossingv1.Decision_ALLOW, Open: timestamppb.New(start.Add(time.Duration(n) * time.Second))}, //nolint:gosec // small
	}
}

func end(n uint64, side crossingv1.Side, cause crossingv1.Cause, bytes uint64) *crossingv1.Close {
	return &crossingv1.Close{Id: id(n), Key: key(n), Side: side, Cause: cause, Status: 200, ResponseBytes: bytes, Duration: durationpb.New(time.Second)}
}

func frameOf(h *crossingv1.Half, c *crossingv1.Close) *crossingv1.Frame {
	return &crossingv1.Frame{Gateway: h.GetEnd().GetGateway(), Run: run, Open: h, Close: c}
}

// egressOnly is a crossing that only onprem-1 told of.
func egressOnly(t *testing.T, n uint64, cause crossingv1.Cause) *join.Joiner {
	t.Helper()
	j := join.New()
	add(t, j, frameOf(half(n, crossingv1.Side_EGRESS), nil), &crossingv1.Frame{Gateway: onprem1, Run: run, Close: end(n, crossingv1.Side_EGRESS, cause, 9433)})
	return j
}

func add(t *testing.T, j *join.Joiner, frames ...*crossingv1.Frame) {
	t.Helper()
	for _, f := range frames {
		if err := j.Add(f); err != nil {
			t.Fatal(err)
		}
	}
}

// both is a crossing that both told of, and of which they say so many bytes.
func both(t *testing.T, j *join.Joiner, n, egress, ingress uint64) {
	t.Helper()
	add(t, j, frameOf(half(n, crossingv1.Side_EGRESS), nil), frameOf(half(n, crossingv1.Side_INGRESS), nil),
		&crossingv1.Frame{Gateway: onprem1, Run: run, Close: end(n, crossingv1.Side_EGRESS, crossingv1.Cause_DONE, egress)},
		&crossingv1.Frame{Gateway: azure1, Run: run, Close: end(n, crossingv1.Side_INGRESS, crossingv1.Cause_DONE, ingress)})
}

// stated is a difference that both gateways have signed.
func stated(n uint64, kind crossingv1.Difference_Kind, words string) *controlv1.Finding {
	return &controlv1.Finding{
		Kind: controlv1.Finding_DIFFERENCE, Difference: kind, Number: n, Epoch: 3, Since: timestamppb.New(start),
		Chain: &crossingv1.Chain{Egress: onprem1, Ingress: azure1, Run: run}, Cause: words,
	}
}

func lost(n uint64, gateway string) *controlv1.Finding {
	f := stated(n, 0, "azure-1 states that it opened, in epoch 3, and its record of that never came")
	f.Kind, f.Gateway = controlv1.Finding_LOST, gateway
	return f
}

// A half that is missing is explained by what was stated, else by who was heard.
func TestOneSided(t *testing.T) {
	for _, test := range []struct {
		name      string
		cause     crossingv1.Cause
		known     *controlv1.Finding
		delivered time.Time
		want      string
		kind      controlv1.Finding_Kind
		uncertain bool
	}{
		{
			"the tunnel was lost", crossingv1.Cause_PEER_LOST, stated(1, crossingv1.Difference_UNSEEN, ""), now,
			"it never came to azure-1: the tunnel was lost as it opened (UNSEEN)", controlv1.Finding_ONE_SIDED, false,
		},
		{
			"the caller left", crossingv1.Cause_CALLER_GONE, stated(1, crossingv1.Difference_UNSEEN, ""), now,
			"it never came to azure-1: its caller went away as it opened (UNSEEN)", controlv1.Finding_ONE_SIDED, false,
		},
		{
			"the egress gateway was killed", crossingv1.Cause_GATEWAY_STOPPED, stated(1, crossingv1.Difference_UNSEEN, ""), now,
			"it never came to azure-1: the egress gateway was killed while it was open (GATEWAY_STOPPED) (UNSEEN)", controlv1.Finding_ONE_SIDED, false,
		},
		{
			"not recorded", crossingv1.Cause_REFUSED_BY_PEER, stated(1, crossingv1.Difference_UNRECORDED, "azure-1 could not record it (UNRECORDED)"), now,
			"azure-1 could not record it (UNRECORDED): its disk was FULL from 10:09:00 to 10:11:00", controlv1.Finding_ONE_SIDED, false,
		},
		{
			"lost", crossingv1.Cause_DONE, lost(1, azure1), now,
			"azure-1 states that it opened, in epoch 3, and its record of that never came", controlv1.Finding_LOST, false,
		},
		{
			"lost by the other one", crossingv1.Cause_DONE, lost(1, onprem1), now,
			"azure-1 has delivered nothing of it yet, and stated nothing", controlv1.Finding_ONE_SIDED, true,
		},
		{
			"still in the spool", crossingv1.Cause_DONE, nil, start.Add(295 * time.Second),
			"azure-1's half is still in its spool: azure-1 has not delivered since 10:14:55", controlv1.Finding_ONE_SIDED, true,
		},
		{
			"since yesterday", crossingv1.Cause_DONE, nil, start.Add(-24 * time.Hour),
			"azure-1's half is still in its spool: azure-1 has not delivered since 2026-11-22T10:10:00Z", controlv1.Finding_ONE_SIDED, true,
		},
		{
			"never delivered", crossingv1.Cause_GATEWAY_STOPPED, nil,
			time.Time{},
			"the egress gateway was killed while it was open (GATEWAY_STOPPED); azure-1's half may still be in its spool: azure-1 has delivered nothing yet", controlv1.Finding_ONE_SIDED, true,
		},
		{
			"another number's", crossingv1.Cause_DONE, stated(2, crossingv1.Difference_UNSEEN, ""), now,
			"azure-1 has delivered nothing of it yet, and stated nothing", controlv1.Finding_ONE_SIDED, true,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			j, book := egressOnly(t, 1, test.cause), newFakeBook()
			add(t, j, &crossingv1.Frame{Gateway: azure1, Run: run, Outage: &crossingv1.Outage{
				Began: timestamppb.New(start.Add(-time.Minute)), Ended: timestamppb.New(start.Add(time.Minute)), Cause: crossingv1.Outage_FULL,
			}})
			book.delivered[azure1] = test.delivered
			if test.known != nil {
				book.findings = append(book.findings, test.known)
			}
			got := Explain(j, book, now).Record(j.Unmatched()[0])
			if got.GetCause() != test.want || got.GetUncertain() != test.uncertain || got.GetKind() != test.kind {
				t.Errorf("%s %q, uncertain %t\nwant %s %q, uncertain %t", got.GetKind(), got.GetCause(), got.GetUncertain(), test.kind, test.want, test.uncertain)
			}
			if got.GetCrossing() != id(1) || got.GetNumber() != 1 || got.GetGateway() != azure1 || got.GetTransition().GetOwner() != "ml-platform" ||
				got.GetChain().GetRun() != run || !got.GetSince().AsTime().Equal(start.Add(time.Second)) {
				t.Errorf("it does not say of what it is: %v", got)
			}
		})
	}
}

// The ingress gateway's half alone is explained the same way round.
func TestOneSidedAtIngress(t *testing.T) {
	j := join.New()
	add(t, j, frameOf(half(1, crossingv1.Side_INGRESS), nil),
		&crossingv1.Frame{Gateway: azure1, Run: run, Close: end(1, crossingv1.Side_INGRESS, crossingv1.Cause_GATEWAY_STOPPED, 0)})
	got := Explain(j, newFakeBook(), now).Record(j.Unmatched()[0])
	const want = "the ingress gateway was killed while it was open (GATEWAY_STOPPED); onprem-1 has delivered nothing of it yet, and stated nothing"
	if got.GetCause() != want || got.GetGateway() != onprem1 {
		t.Errorf("%q of %s, want %q of %s", got.GetCause(), got.GetGateway(), want, onprem1)
	}
}

func TestDisagree(t *testing.T) {
	j := join.New()
	both(t, j, 1, 9433, 9434)
	got := Explain(j, newFakeBook(), now).List()
	want := []*controlv1.Finding{{
		Kind: controlv1.Finding_DISAGREE, Crossing: id(1), Number: 1, Fields: []string{"responseBytes"}, Since: timestamppb.New(start.Add(time.Second)),
		Transition: &crossingv1.Transition{From: "onprem", To: "azure", Owner: "ml-platform", Sink: "siem"},
		Chain:      &crossingv1.Chain{Egress: onprem1, Ingress: azure1, Run: run},
		Cause:      "both have it; they differ in responseBytes: 9433 at onprem-1, 9434 at azure-1",
	}}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Errorf("List() (-want +got):\n%s", diff)
	}
}

// Every field that two halves can differ in is shown with what either has.
func TestDisagreeShowsEveryField(t *testing.T) {
	j := join.New()
	e, i := half(1, crossingv1.Side_EGRESS), half(1, crossingv1.Side_INGRESS)
	i.Source, i.Destination, i.Trace = "spiffe://onprem.demo/other", "spiffe://azure.demo/other", strings.Repeat("1", 32)
	i.Transition = &crossingv1.Transition{From: "a", To: "b", Owner: "c"}
	i.Operation = &crossingv1.Operation{
		Service: "s", Name: "n", Authority: "h:1", Request: "POST /", ModelRequested: "m", ModelVersion: "2", Tool: "t", Agent: "a", DataClass: "d",
		DataClassSource: crossingv1.Operation_LABEL, Labeler: "spiffe://onprem.demo/labeler", MaxTokens: proto.Uint32(0), Session: "5c0ffee0c0ffee0c",
		Messages: []*crossingv1.Operation_Message{{Name: "call_tool", Tool: "search", Decision: crossingv1.Decision_DENY}, {Name: "ping"}},
		Artifact: &crossingv1.Artifact{Name: "org/llm", Reference: "v1", Kind: "model", Source: "org/base"},
	}
	e.End.Proof, i.End.Proof = "sha256:1", "sha256:2"
	ec, ic := end(1, crossingv1.Side_EGRESS, crossingv1.Cause_DONE, 1), end(1, crossingv1.Side_INGRESS, crossingv1.Cause_DONE, 2)
	ic.RequestBytes, ic.Status = 3, 500
	ec.Transfer = &crossingv1.Transfer{Id: "1", Extent: crossingv1.Transfer_WHOLE, ContentSha256: "aa", Digested: 5}
	ic.Transfer = &crossingv1.Transfer{Id: "2", Extent: crossingv1.Transfer_RANGE, First: 1, ContentSha256: "bb", Digested: 6}
	ec.Said = &crossingv1.Said{Id: "1", ModelServed: "m", FinishReason: "stop", Failed: true, Fault: "overloaded", Tokens: &crossingv1.Tokens{
		Input: proto.Uint32(0), Output: proto.Uint32(9), Source: crossingv1.Tokens_REPORTED,
	}}
	ic.Said = new(crossingv1.Said)
	ec.AnswerClass, ec.AnswerLabeler = "restricted", "spiffe://azure.demo/labeler"
	add(t, j, frameOf(e, nil), frameOf(i, nil), &crossingv1.Frame{Gateway: onprem1, Run: run, Close: ec}, &crossingv1.Frame{Gateway: azure1, Run: run, Close: ic})
	h := j.Unmatched()[0]
	words := disagree(h)
	for _, field := range h.Record.GetDifferences() {
		if value(h.Egress, field) == value(h.Ingress, field) || !strings.Contains(words, field+": "+value(h.Egress, field)+" at onprem-1") {
			t.Errorf("%q does not show what either has in %s", words, field)
		}
	}
	if n := len(h.Record.GetDifferences()); n < 36 {
		t.Errorf("the halves differ in %d fields only: %v", n, h.Record.GetDifferences())
	}
}

// What a record shows is not listed twice, and what has been mended not at all.
func TestListMerges(t *testing.T) {
	j := egressOnly(t, 1, crossingv1.Cause_PEER_LOST)
	both(t, j, 2, 7, 7)
	both(t, j, 3, 7, 7)
	both(t, j, 4, 7, 8)
	apart := stated(1, crossingv1.Difference_REUSED, "its number came twice")
	forked := stated(0, 0, "two statements of epoch 3 were signed")
	forked.Kind, forked.Number = controlv1.Finding_FORKED, 0
	book := newFakeBook(
		stated(1, crossingv1.Difference_UNSEEN, ""), apart, stated(2, crossingv1.Difference_UNCLAIMED, "mended"), stated(3, crossingv1.Difference_UNSEEN, "stays"),
		stated(4, crossingv1.Difference_ENDED_OTHERWISE, "shown by the record"), stated(99, crossingv1.Difference_UNOPENED, "of no record"), forked,
	)
	var got []string
	for _, f := range Explain(j, book, now).List() {
		got = append(got, fmt.Sprintf("%s %d %t %s", f.GetKind(), f.GetNumber(), f.GetCrossing() != "", f.GetCause()))
	}
	want := []string{
		"FORKED 0 false two statements of epoch 3 were signed",
		"DIFFERENCE 1 true its number came twice",
		"DIFFERENCE 3 true stays",
		"DIFFERENCE 99 false of no record",
		"ONE_SIDED 1 true it never came to azure-1: the tunnel was lost as it opened (UNSEEN)",
		"DISAGREE 4 true both have it; they differ in responseBytes: 7 at onprem-1, 8 at azure-1",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("List() (-want +got):\n%s", diff)
	}
}

// A crossing that has just ended is not one-sided: its other half is on its way. One of
// a clock that is far off is, and so is one of a stopped mesh, judged as of its end.
func TestUnderWay(t *testing.T) {
	j, book := egressOnly(t, 1, crossingv1.Cause_DONE), newFakeBook()
	ended := start.Add(2 * time.Second)
	for _, test := range []struct {
		name string
		now  time.Time
		want int
	}{
		{"just now", ended, 0},
		{"a moment ago", ended.Add(statements.Silence - time.Second), 0},
		{"two heartbeats ago", ended.Add(statements.Silence), 1},
		{"in an hour, by its clock", ended.Add(-time.Hour), 1},
	} {
		book.delivered[azure1] = test.now
		if got := Explain(j, book, test.now).List(); len(got) != test.want {
			t.Errorf("%s: List() = %v, want %d", test.name, got, test.want)
		}
	}
	book.asOf = ended
	book.delivered[azure1] = ended
	if got := Explain(j, book, now).List(); len(got) != 0 {
		t.Errorf("as of its end, long ago: List() = %v, want nothing", got)
	}
}
