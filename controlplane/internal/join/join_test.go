package join

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"pgregory.net/rapid"

	"github.com/sallyport-mesh/sallyport/controlplane/internal/join/jointest"
	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

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
	return recordsOf(j.Match(req))
}

func recordsOf(found []Halves) []*crossingv1.Record {
	var records []*crossingv1.Record
	for _, h := range found {
		records = append(records, h.Record)
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
	j, c := New(), jointest.NewTrip(0)
	states := []crossingv1.Record_State{
		crossingv1.Record_OPEN, crossingv1.Record_OPEN, crossingv1.Record_OPEN, crossingv1.Record_JOINED,
	}
	for i, f := range c.Frames() {
		add(t, j, f)
		records := all(t, j, &controlv1.ListCrossingsRequest{})
		if len(records) != 1 || records[0].GetState() != states[i] {
			t.Fatalf("after frame %d: %v, want one record in state %s", i, records, states[i])
		}
	}
	want := crossing.Join(
		&crossing.Account{Open: c.EgressOpen().GetOpen(), Close: c.EgressClose().GetClose()},
		&crossing.Account{Open: c.IngressOpen().GetOpen(), Close: c.IngressClose().GetClose()},
	)
	if d := cmp.Diff(want, all(t, j, &controlv1.ListCrossingsRequest{Id: c.ID})[0], protocmp.Transform()); d != "" {
		t.Errorf("record (-want +got):\n%s", d)
	}
}

func TestAddIsIdempotent(t *testing.T) {
	j := New()
	denied, refused := jointest.NewTrip(1), jointest.NewTrip(2)
	denied.Denied, refused.Ingress = true, ""
	var frames []*crossingv1.Frame
	for _, c := range []jointest.Trip{jointest.NewTrip(0), denied, refused} {
		frames = append(frames, c.Frames()...)
	}
	frames = append(frames, counting(jointest.Onprem1, jointest.IngressRun, 0, 3))
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
	j, c := New(), jointest.NewTrip(0)
	add(t, j, c.IngressClose(), c.EgressClose())
	if s := state(t, j); len(s.Records) > 0 || len(s.Counts) > 0 {
		t.Errorf("ends alone show %v", s)
	}
	if found := all(t, j, &controlv1.ListCrossingsRequest{Id: c.ID}); len(found) > 0 {
		t.Errorf("ends alone are found as %v", found)
	}
	add(t, j, c.IngressOpen(), c.EgressOpen())
	if r := all(t, j, &controlv1.ListCrossingsRequest{})[0]; r.GetState() != crossingv1.Record_JOINED {
		t.Errorf("record is %s", r.GetState())
	}
}

func TestAddConflicts(t *testing.T) {
	c := jointest.NewTrip(0)
	change := func(f *crossingv1.Frame, change func(*crossingv1.Frame)) *crossingv1.Frame {
		change(f)
		return f
	}
	tests := []struct {
		name   string
		before []*crossingv1.Frame
		frame  *crossingv1.Frame
	}{
		{"another opening", c.Frames(), change(c.EgressOpen(), func(f *crossingv1.Frame) { f.Open.End.Intent = "another" })},
		{"another opening at ingress", c.Frames(), change(c.IngressOpen(), func(f *crossingv1.Frame) { f.Open.Trace = jointest.Run })},
		{"another end", c.Frames(), change(c.EgressClose(), func(f *crossingv1.Frame) { f.Close.Status = 500 })},
		{"another end at ingress", c.Frames(), change(c.IngressClose(), func(f *crossingv1.Frame) { f.Close.ResponseBytes++ })},
		{"an end with another number", []*crossingv1.Frame{c.EgressOpen()}, change(c.EgressClose(), func(f *crossingv1.Frame) { f.Close.Key.Sequence++ })},
		{"an end of another run", []*crossingv1.Frame{c.IngressOpen()}, change(c.IngressClose(), func(f *crossingv1.Frame) { f.Close.Key.Run = jointest.IngressRun })},
		{"an opening with another number than its end", []*crossingv1.Frame{c.EgressClose()}, change(c.EgressOpen(), func(f *crossingv1.Frame) { f.Open.Key.Sequence++ })},
		{"a number used twice", c.Frames(), change(c.EgressOpen(), func(f *crossingv1.Frame) { f.Open.Id = jointest.NewTrip(1).ID })},
		{"a number used twice at ingress", c.Frames(), change(c.IngressOpen(), func(f *crossingv1.Frame) { f.Open.Id = jointest.NewTrip(1).ID })},
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
			add(t, j, c.Frames()...) // what is true is still welcome
		})
	}
}

// TestAnIDUsedTwice: an egress gateway that gives two crossings one id cannot
// make either of its honest peers a liar, nor hide a crossing.
func TestAnIDUsedTwice(t *testing.T) {
	j := New()
	first, second := jointest.NewTrip(0), jointest.NewTrip(1)
	second.ID, second.Ingress = first.ID, jointest.AWS1
	add(t, j, first.Frames()...)
	add(t, j, second.IngressOpen(), second.IngressClose())
	records := all(t, j, &controlv1.ListCrossingsRequest{Id: first.ID})
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
	refused, denied, disagree, oneSided, aws, nowhere := jointest.NewTrip(1), jointest.NewTrip(2), jointest.NewTrip(3), jointest.NewTrip(4), jointest.NewTrip(5), jointest.NewTrip(6)
	refused.Ingress, denied.Denied, aws.Ingress, nowhere.Ingress = "", true, jointest.AWS1, ""
	add(t, j, jointest.NewTrip(0).Frames()...)
	add(t, j, refused.Frames()...)
	add(t, j, denied.Frames()...)
	end := disagree.IngressClose()
	end.Close.Status = 500
	add(t, j, disagree.EgressOpen(), disagree.EgressClose(), disagree.IngressOpen(), end)
	add(t, j, oneSided.EgressOpen(), oneSided.EgressClose())
	lost := aws.EgressClose()
	lost.Close.Cause, lost.Close.Reason = crossingv1.Cause_PEER_LOST, crossingv1.Reason_UNREACHABLE
	add(t, j, aws.EgressOpen(), lost)
	unknown := nowhere.EgressOpen()
	unknown.Open.Transition.To, unknown.Open.Destination = "", ""
	unknown.Open.End.Reason = crossingv1.Reason_UNKNOWN_DESTINATION
	add(t, j, unknown)
	outage := jointest.NewTrip(7)
	outage.Ingress = ""
	noWay := outage.EgressOpen()
	noWay.Open.End.Decision, noWay.Open.End.Reason = crossingv1.Decision_ALLOW, crossingv1.Reason_UNREACHABLE
	stranger := jointest.NewTrip(8).IngressOpen()
	stranger.Open.Transition.From, stranger.Open.End.Decision, stranger.Open.End.Reason = "", crossingv1.Decision_DENY, crossingv1.Reason_UNKNOWN_PEER
	add(t, j, noWay, stranger)
	want := map[Transition]Counts{
		toAzure: {Allowed: 4, Denied: 2, Unmatched: 2, Failed: 1},
		toAWS:   {Allowed: 1, Unmatched: 1, Failed: 1},
	}
	if d := cmp.Diff(want, j.Counts()); d != "" {
		t.Errorf("counts (-want +got):\n%s", d)
	}
	add(t, j, oneSided.IngressOpen(), oneSided.IngressClose()) // late, it mends
	want[toAzure] = Counts{Allowed: 4, Denied: 2, Unmatched: 1, Failed: 1}
	if d := cmp.Diff(want, j.Counts()); d != "" {
		t.Errorf("counts after a late half (-want +got):\n%s", d)
	}
}

// TestCountsMove: the egress gateway's half decides which transition it was,
// even if it comes last.
func TestCountsMove(t *testing.T) {
	j, c := New(), jointest.NewTrip(0)
	other := c.IngressOpen()
	other.Open.Transition.From, other.Open.Trace = "elsewhere", jointest.Run
	add(t, j, other, c.EgressOpen())
	if d := cmp.Diff(map[Transition]Counts{{"onprem", "azure"}: {Allowed: 1}}, j.Counts()); d != "" {
		t.Errorf("counts (-want +got):\n%s", d)
	}
	if found := all(t, j, &controlv1.ListCrossingsRequest{Trace: jointest.Run}); len(found) > 0 {
		t.Errorf("found %v by the ingress gateway's trace", found)
	}
	if found := all(t, j, &controlv1.ListCrossingsRequest{Trace: c.EgressOpen().GetOpen().GetTrace()}); len(found) != 1 {
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
			frames = append(frames, counting(jointest.Onprem1, jointest.IngressRun, n/2, uint64(n)+1))
		}
		once := New()
		add(t, once, frames...)
		shuffled := New()
		again := rapid.SliceOfN(rapid.SampledFrom(append(frames, counting(jointest.Azure1, jointest.IngressRun, 0, 1))), 0, 5).Draw(t, "again")
		for _, f := range again {
			if f.GetGateway() == jointest.Azure1 && f.GetRefusal() != nil {
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
	c := jointest.NewTrip(n)
	c.Ingress = rapid.SampledFrom([]string{jointest.Azure1, jointest.AWS1, ""}).Draw(t, "ingress")
	c.Denied = rapid.Bool().Draw(t, "denied")
	if rapid.Bool().Draw(t, "id of the one before") && n > 0 {
		c.ID = jointest.NewTrip(n - 1).ID
		c.Ingress = "spiffe://gcp.example/sallyport/gateway/" + fmt.Sprint(n)
	}
	var some []*crossingv1.Frame
	for _, f := range c.Frames() {
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
			for _, f := range jointest.NewTrip(n).Frames() {
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
		for _, f := range jointest.NewTrip(n).Frames() {
			if err := j.Add(f); err != nil {
				b.Fatal(err)
			}
		}
	}
}
