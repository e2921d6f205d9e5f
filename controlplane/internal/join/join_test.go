package join

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

const (
	onprem1    = "spiffe://onprem.example/sallyport/gateway/onprem-1"
	azure1     = "spiffe://azure.example/sallyport/gateway/azure-1"
	aws1       = "spiffe://aws.example/sallyport/gateway/aws-1"
	onpremRun  = "b41f0c9a7d5e43218f6a2b3c4d5e6f70"
	ingressRun = "5c0ffee0c0ffee0c0ffee0c0ffee0c0f"
)

// start is when the first crossing of every test opens.
var start = time.Date(2026, 11, 23, 10, 15, 0, 0, time.UTC)

// trip is a crossing and what its gateways say of it.
type trip struct {
	n       int // opened n seconds after start, with n+1 for its sequence
	id      string
	ingress string // the gateway; none if it was refused at egress
	denied  bool   // at ingress
}

// newTrip is the n-th crossing from onprem to azure.
func newTrip(n int) trip {
	return trip{n: n, id: fmt.Sprintf("%s-7000-8000-%012x", idTime(n), n), ingress: azure1}
}

// idTime is the part of a UUIDv7 that is its time.
func idTime(n int) string {
	ms := fmt.Sprintf("%012x", start.Add(time.Duration(n)*time.Second).UnixMilli())
	return ms[:8] + "-" + ms[8:]
}

func (c trip) opened() time.Time { return start.Add(time.Duration(c.n) * time.Second) }

func (c trip) key() *crossingv1.Key {
	return &crossingv1.Key{Egress: onprem1, Ingress: c.ingress, Run: onpremRun, Sequence: uint64(c.n) + 1}
}

func (c trip) half(side crossingv1.Side, gateway string) *crossingv1.Half {
	to := "azure"
	if c.ingress == aws1 {
		to = "aws"
	}
	return &crossingv1.Half{
		Id: c.id, Key: c.key(), Side: side,
		Transition:  &crossingv1.Transition{From: "onprem", To: to, Owner: "owner-of-" + to},
		Source:      "spiffe://onprem.example/orchestrator",
		Destination: "spiffe://" + to + ".example/llm",
		Trace:       fmt.Sprintf("%032x", c.n/2+1), // two crossings to a trace
		Span:        fmt.Sprintf("%016x", c.n+1),
		Operation:   &crossingv1.Operation{Service: "chat"},
		End: &crossingv1.End{
			Gateway: gateway, Decision: crossingv1.Decision_ALLOW,
			Policy: &crossingv1.PolicyRef{Serial: 1, Revision: "sha256:" + strings.Repeat("9", 64)},
			Open:   timestamppb.New(c.opened()),
		},
	}
}

func frame(gateway string, h *crossingv1.Half, c *crossingv1.Close) *crossingv1.Frame {
	run := ingressRun
	if gateway == onprem1 {
		run = onpremRun
	}
	return &crossingv1.Frame{Gateway: gateway, Run: run, Open: h, Close: c}
}

func (c trip) egressOpen() *crossingv1.Frame {
	h := c.half(crossingv1.Side_EGRESS, onprem1)
	if c.ingress == "" {
		h.End.Decision, h.End.Reason = crossingv1.Decision_DENY, crossingv1.Reason_NO_INTENT
		h.End.Close = crossingv1.Cause_REFUSED
	}
	return frame(onprem1, h, nil)
}

func (c trip) ingressOpen() *crossingv1.Frame {
	h := c.half(crossingv1.Side_INGRESS, c.ingress)
	if c.denied {
		h.End.Decision, h.End.Reason = crossingv1.Decision_DENY, crossingv1.Reason_POLICY_MISMATCH
	}
	return frame(c.ingress, h, nil)
}

func (c trip) end(side crossingv1.Side) *crossingv1.Close {
	return &crossingv1.Close{
		Id: c.id, Key: c.key(), Side: side, Duration: durationpb.New(time.Second),
		RequestBytes: 10, ResponseBytes: 20, Status: 200, Cause: crossingv1.Cause_DONE,
	}
}

func (c trip) egressClose() *crossingv1.Frame {
	end := c.end(crossingv1.Side_EGRESS)
	if c.denied {
		end.Cause, end.Reason = crossingv1.Cause_REFUSED_BY_PEER, crossingv1.Reason_POLICY_MISMATCH
	}
	return frame(onprem1, nil, end)
}

func (c trip) ingressClose() *crossingv1.Frame {
	end := c.end(crossingv1.Side_INGRESS)
	if c.denied {
		end.Cause, end.Reason = crossingv1.Cause_REFUSED, crossingv1.Reason_POLICY_MISMATCH
	}
	return frame(c.ingress, nil, end)
}

// frames are all that its gateways say of it.
func (c trip) frames() []*crossingv1.Frame {
	if c.ingress == "" {
		return []*crossingv1.Frame{c.egressOpen()}
	}
	return []*crossingv1.Frame{c.egressOpen(), c.ingressOpen(), c.ingressClose(), c.egressClose()}
}

// fatal is what testing.T and rapid.T have in common here.
type fatal interface {
	Helper()
	Context() context.Context
	Fatal(...any)
	Fatalf(string, ...any)
}

// add delivers frames that a control plane would have accepted.
func add(t fatal, j *Joiner, frames ...*crossingv1.Frame) {
	t.Helper()
	for _, f := range frames {
		if err := crossing.CheckFrame(f, spiffeid.RequireFromString(f.GetGateway())); err != nil {
			t.Fatalf("a frame of this test is none: %v", err)
		}
		if err := j.Add(f); err != nil {
			t.Fatal(err)
		}
	}
}

// all are the joiner's records, in order.
func all(t fatal, j *Joiner, req *controlv1.ListCrossingsRequest) []*crossingv1.Record {
	t.Helper()
	var records []*crossingv1.Record
	err := j.List(t.Context(), req, func(r *crossingv1.Record) error {
		records = append(records, r)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return records
}

// state is everything that a joiner can be asked.
func state(t fatal, j *Joiner) (s struct {
	Records  []*crossingv1.Record
	Refusals []*controlv1.GatewayRefusal
	Counts   map[Transition]Counts
},
) {
	s.Records, s.Refusals, s.Counts = all(t, j, &controlv1.ListCrossingsRequest{}), j.Refusals(time.Time{}), j.Counts()
	return s
}

func TestAddJoins(t *testing.T) {
	j, c := New(), newTrip(0)
	states := []crossingv1.Record_State{
		crossingv1.Record_OPEN, crossingv1.Record_OPEN, crossingv1.Record_OPEN, crossingv1.Record_JOINED,
	}
	for i, f := range c.frames() {
		add(t, j, f)
		records := all(t, j, &controlv1.ListCrossingsRequest{})
		if len(records) != 1 || records[0].GetState() != states[i] {
			t.Fatalf("after frame %d: %v, want one record in state %s", i, records, states[i])
		}
	}
	want := crossing.Join(
		&crossing.Account{Open: c.egressOpen().GetOpen(), Close: c.egressClose().GetClose()},
		&crossing.Account{Open: c.ingressOpen().GetOpen(), Close: c.ingressClose().GetClose()},
	)
	if d := cmp.Diff(want, all(t, j, &controlv1.ListCrossingsRequest{Id: c.id})[0], protocmp.Transform()); d != "" {
		t.Errorf("record (-want +got):\n%s", d)
	}
}

func TestAddIsIdempotent(t *testing.T) {
	j := New()
	denied, refused := newTrip(1), newTrip(2)
	denied.denied, refused.ingress = true, ""
	var frames []*crossingv1.Frame
	for _, c := range []trip{newTrip(0), denied, refused} {
		frames = append(frames, c.frames()...)
	}
	frames = append(frames, counting(onprem1, ingressRun, 0, 3))
	add(t, j, frames...)
	want := state(t, j)
	for _, f := range frames {
		add(t, j, proto.CloneOf(f))
	}
	if d := cmp.Diff(want, state(t, j), protocmp.Transform()); d != "" {
		t.Errorf("the same frames again changed something:\n%s", d)
	}
}

func TestAddAnEndFirst(t *testing.T) {
	j, c := New(), newTrip(0)
	add(t, j, c.ingressClose(), c.egressClose())
	if s := state(t, j); len(s.Records) > 0 || len(s.Counts) > 0 {
		t.Errorf("ends alone show %v", s)
	}
	if found := all(t, j, &controlv1.ListCrossingsRequest{Id: c.id}); len(found) > 0 {
		t.Errorf("ends alone are found as %v", found)
	}
	add(t, j, c.ingressOpen(), c.egressOpen())
	if r := all(t, j, &controlv1.ListCrossingsRequest{})[0]; r.GetState() != crossingv1.Record_JOINED {
		t.Errorf("record is %s", r.GetState())
	}
}

func TestAddConflicts(t *testing.T) {
	c := newTrip(0)
	change := func(f *crossingv1.Frame, change func(*crossingv1.Frame)) *crossingv1.Frame {
		change(f)
		return f
	}
	tests := []struct {
		name   string
		before []*crossingv1.Frame
		frame  *crossingv1.Frame
	}{
		{"another opening", c.frames(), change(c.egressOpen(), func(f *crossingv1.Frame) { f.Open.End.Intent = "another" })},
		{"another opening at ingress", c.frames(), change(c.ingressOpen(), func(f *crossingv1.Frame) { f.Open.Trace = onpremRun })},
		{"another end", c.frames(), change(c.egressClose(), func(f *crossingv1.Frame) { f.Close.Status = 500 })},
		{"another end at ingress", c.frames(), change(c.ingressClose(), func(f *crossingv1.Frame) { f.Close.ResponseBytes++ })},
		{"an end with another number", []*crossingv1.Frame{c.egressOpen()}, change(c.egressClose(), func(f *crossingv1.Frame) { f.Close.Key.Sequence++ })},
		{"an end of another run", []*crossingv1.Frame{c.ingressOpen()}, change(c.ingressClose(), func(f *crossingv1.Frame) { f.Close.Key.Run = ingressRun })},
		{"an opening with another number than its end", []*crossingv1.Frame{c.egressClose()}, change(c.egressOpen(), func(f *crossingv1.Frame) { f.Open.Key.Sequence++ })},
		{"a number used twice", c.frames(), change(c.egressOpen(), func(f *crossingv1.Frame) { f.Open.Id = newTrip(1).id })},
		{"a number used twice at ingress", c.frames(), change(c.ingressOpen(), func(f *crossingv1.Frame) { f.Open.Id = newTrip(1).id })},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			j := New()
			add(t, j, tt.before...)
			before := state(t, j)
			if err := j.Add(tt.frame); !errors.Is(err, ErrConflict) {
				t.Errorf("Add = %v, want %v", err, ErrConflict)
			}
			if d := cmp.Diff(before, state(t, j), protocmp.Transform()); d != "" {
				t.Errorf("a refused frame changed something:\n%s", d)
			}
			add(t, j, c.frames()...) // what is true is still welcome
		})
	}
}

// TestAnIDUsedTwice: an egress gateway that gives two crossings one id cannot
// make either of its honest peers a liar, nor hide a crossing.
func TestAnIDUsedTwice(t *testing.T) {
	j := New()
	first, second := newTrip(0), newTrip(1)
	second.id, second.ingress = first.id, aws1
	add(t, j, first.frames()...)
	add(t, j, second.ingressOpen(), second.ingressClose())
	records := all(t, j, &controlv1.ListCrossingsRequest{Id: first.id})
	var states []crossingv1.Record_State
	for _, r := range records {
		states = append(states, r.GetState())
	}
	slices.Sort(states)
	if want := []crossingv1.Record_State{crossingv1.Record_JOINED, crossingv1.Record_ONE_SIDED}; !slices.Equal(states, want) {
		t.Errorf("records are %v, want %v", states, want)
	}
}

func TestCounts(t *testing.T) {
	j := New()
	toAzure, toAWS := Transition{"onprem", "azure"}, Transition{"onprem", "aws"}
	refused, denied, disagree, oneSided, aws, nowhere := newTrip(1), newTrip(2), newTrip(3), newTrip(4), newTrip(5), newTrip(6)
	refused.ingress, denied.denied, aws.ingress, nowhere.ingress = "", true, aws1, ""
	add(t, j, newTrip(0).frames()...)
	add(t, j, refused.frames()...)
	add(t, j, denied.frames()...)
	end := disagree.ingressClose()
	end.Close.Status = 500
	add(t, j, disagree.egressOpen(), disagree.egressClose(), disagree.ingressOpen(), end)
	add(t, j, oneSided.egressOpen(), oneSided.egressClose())
	lost := aws.egressClose()
	lost.Close.Cause, lost.Close.Reason = crossingv1.Cause_PEER_LOST, crossingv1.Reason_UNREACHABLE
	add(t, j, aws.egressOpen(), lost)
	unknown := nowhere.egressOpen()
	unknown.Open.Transition.To, unknown.Open.Destination = "", ""
	unknown.Open.End.Reason = crossingv1.Reason_UNKNOWN_DESTINATION
	add(t, j, unknown)
	outage := newTrip(7)
	outage.ingress = ""
	noWay := outage.egressOpen()
	noWay.Open.End.Decision, noWay.Open.End.Reason = crossingv1.Decision_ALLOW, crossingv1.Reason_UNREACHABLE
	stranger := newTrip(8).ingressOpen()
	stranger.Open.Transition.From, stranger.Open.End.Decision, stranger.Open.End.Reason = "", crossingv1.Decision_DENY, crossingv1.Reason_UNKNOWN_PEER
	add(t, j, noWay, stranger)
	want := map[Transition]Counts{
		toAzure: {Allowed: 4, Denied: 2, Unmatched: 2, Failed: 1},
		toAWS:   {Allowed: 1, Unmatched: 1, Failed: 1},
	}
	if d := cmp.Diff(want, j.Counts()); d != "" {
		t.Errorf("counts (-want +got):\n%s", d)
	}
	add(t, j, oneSided.ingressOpen(), oneSided.ingressClose()) // late, it mends
	want[toAzure] = Counts{Allowed: 4, Denied: 2, Unmatched: 1, Failed: 1}
	if d := cmp.Diff(want, j.Counts()); d != "" {
		t.Errorf("counts after a late half (-want +got):\n%s", d)
	}
}

// TestCountsMove: the egress gateway's half decides which transition it was,
// even if it comes last.
func TestCountsMove(t *testing.T) {
	j, c := New(), newTrip(0)
	other := c.ingressOpen()
	other.Open.Transition.From, other.Open.Trace = "elsewhere", onpremRun
	add(t, j, other, c.egressOpen())
	if d := cmp.Diff(map[Transition]Counts{{"onprem", "azure"}: {Allowed: 1}}, j.Counts()); d != "" {
		t.Errorf("counts (-want +got):\n%s", d)
	}
	if found := all(t, j, &controlv1.ListCrossingsRequest{Trace: onpremRun}); len(found) > 0 {
		t.Errorf("found %v by the ingress gateway's trace", found)
	}
	if found := all(t, j, &controlv1.ListCrossingsRequest{Trace: c.egressOpen().GetOpen().GetTrace()}); len(found) != 1 {
		t.Errorf("found %v by the egress gateway's trace", found)
	}
}

// TestOrderOfArrival: the same frames, in any order and any number of times,
// give the same answers.
func TestOrderOfArrival(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var frames []*crossingv1.Frame
		for n := range rapid.IntRange(1, 5).Draw(t, "crossings") {
			frames = append(frames, anyFrames(t, n)...)
		}
		for n := range rapid.IntRange(0, 3).Draw(t, "refusals") {
			frames = append(frames, counting(onprem1, ingressRun, n/2, uint64(n)+1))
		}
		once := New()
		add(t, once, frames...)
		shuffled := New()
		again := rapid.SliceOfN(rapid.SampledFrom(append(frames, counting(azure1, ingressRun, 0, 1))), 0, 5).Draw(t, "again")
		for _, f := range again {
			if f.GetGateway() == azure1 && f.GetRefusal() != nil {
				add(t, once, f)
			}
		}
		for _, f := range rapid.Permutation(append(frames, again...)).Draw(t, "order") {
			add(t, shuffled, f)
		}
		if d := cmp.Diff(state(t, once), state(t, shuffled), protocmp.Transform()); d != "" {
			t.Fatalf("(-in order +shuffled):\n%s", d)
		}
		for n := range 5 {
			req := &controlv1.ListCrossingsRequest{Trace: fmt.Sprintf("%032x", n+1)}
			if d := cmp.Diff(all(t, once, req), all(t, shuffled, req), protocmp.Transform()); d != "" {
				t.Fatalf("by trace (-in order +shuffled):\n%s", d)
			}
		}
	})
}

// anyFrames are some of the frames of a crossing, which may disagree.
func anyFrames(t *rapid.T, n int) []*crossingv1.Frame {
	c := newTrip(n)
	c.ingress = rapid.SampledFrom([]string{azure1, aws1, ""}).Draw(t, "ingress")
	c.denied = rapid.Bool().Draw(t, "denied")
	if rapid.Bool().Draw(t, "id of the one before") && n > 0 {
		c.id = newTrip(n - 1).id
		c.ingress = "spiffe://gcp.example/sallyport/gateway/" + fmt.Sprint(n)
	}
	var some []*crossingv1.Frame
	for _, f := range c.frames() {
		if rapid.IntRange(0, 3).Draw(t, "missing") == 0 {
			continue
		}
		if f.GetClose() != nil && rapid.Bool().Draw(t, "differs") {
			f.Close.Status++
		}
		if f.GetOpen().GetSide() == crossingv1.Side_INGRESS && rapid.Bool().Draw(t, "elsewhere") {
			f.Open.Transition.From, f.Open.Trace = "elsewhere", fmt.Sprintf("%032x", n+2)
		}
		some = append(some, f)
	}
	return some
}

func TestConcurrentUse(t *testing.T) {
	j := New()
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() {
			for _, f := range newTrip(n).frames() {
				if err := j.Add(f); err != nil {
					t.Error(err)
				}
				j.Counts()
				all(t, j, &controlv1.ListCrossingsRequest{Limit: 3})
				j.Refusals(time.Time{})
			}
		})
	}
	wg.Wait()
	if got := j.Counts()[Transition{"onprem", "azure"}]; got != (Counts{Allowed: 8}) {
		t.Errorf("counts are %+v", got)
	}
}

func BenchmarkAddCrossing(b *testing.B) {
	j := New()
	for n := 0; b.Loop(); n++ {
		for _, f := range newTrip(n).frames() {
			if err := j.Add(f); err != nil {
				b.Fatal(err)
			}
		}
	}
}
