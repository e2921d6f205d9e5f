package join

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/sallyport-mesh/sallyport/controlplane/internal/join/jointest"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// shelf is where what is forgotten is kept.
type shelf struct {
	kept  map[handle]*crossingv1.Record
	fails error
	asked int
}

func (s *shelf) of(id, egress, ingress string) (*crossingv1.Evidence, error) {
	s.asked++
	r := s.kept[handle(id+" "+egress+" "+ingress)]
	if r == nil || s.fails != nil {
		return nil, s.fails
	}
	return r.GetEvidence(), nil
}

// forgetful is a joiner that has forgotten what it can of four crossings, and two more: one
// that is open, and one of which one half came.
func forgetful(t *testing.T) (*Joiner, *shelf) {
	s := &shelf{kept: map[handle]*crossingv1.Record{}}
	j := Forgetting(s.of)
	crossings := []jointest.Trip{jointest.NewTrip(0), jointest.NewTrip(1), jointest.NewTrip(2), jointest.NewTrip(3)}
	crossings[1].Denied, crossings[2].Ingress, crossings[3].Ingress = true, jointest.AWS1, ""
	for _, c := range crossings {
		add(t, j, c.Frames()...)
	}
	add(t, j, jointest.NewTrip(4).EgressOpen(), jointest.NewTrip(4).IngressOpen())
	add(t, j, jointest.NewTrip(5).EgressOpen(), jointest.NewTrip(5).EgressClose())
	forget(j, s, jointest.Start.Add(time.Hour))
	return j, s
}

func forget(j *Joiner, s *shelf, before time.Time) {
	all := j.Settled(before, 100, func(Halves) bool { return true })
	for _, h := range all {
		s.kept[handleOf(h.Record.GetId(), h.Key())] = h.Record
	}
	j.Forget(before, all)
}

// TestForget: what is settled is gone, what is not has stayed, and the counts are as they
// were.
func TestForget(t *testing.T) {
	want := four(t)
	add(t, want, jointest.NewTrip(4).EgressOpen(), jointest.NewTrip(4).IngressOpen())
	add(t, want, jointest.NewTrip(5).EgressOpen(), jointest.NewTrip(5).EgressClose())
	j, s := forgetful(t)
	if got := numbers(all(t, j, &controlv1.ListCrossingsRequest{})); !slices.Equal(got, []int{4, 5}) || len(s.kept) != 4 {
		t.Errorf("it knows %v, and %d are kept", got, len(s.kept))
	}
	if d := cmp.Diff(want.Counts(), j.Counts()); d != "" {
		t.Errorf("counts (- want, + have):\n%s", d)
	}
	for n := range 6 {
		if is := j.Knows(jointest.NewTrip(n).ID, jointest.Onprem1, jointest.Azure1); is != (n > 3) {
			t.Errorf("Knows crossing %d: %t", n, is)
		}
	}
	if len(j.slots) != 3 || len(j.traces) != 1 {
		t.Errorf("it has %d numbers and %d traces still", len(j.slots), len(j.traces))
	}
}

// TestSettled: only what is old enough and asked for, and no more than that.
func TestSettled(t *testing.T) {
	j := four(t)
	yes := func(Halves) bool { return true }
	for _, test := range []struct {
		before time.Time
		most   int
		meant  func(Halves) bool
		want   []int
	}{
		{jointest.Start.Add(time.Hour), 9, yes, []int{0, 1, 2, 3}},
		{jointest.Start.Add(time.Hour), 3, yes, []int{0, 1, 2}},
		{jointest.Start.Add(2 * time.Second), 9, yes, []int{0, 1}},
		{jointest.Start, 9, yes, nil},
		{jointest.Start.Add(time.Hour), 2, func(h Halves) bool { return h.Key().GetIngress() != jointest.Azure1 }, []int{2, 3}},
	} {
		if got := numbers(recordsOf(j.Settled(test.before, test.most, test.meant))); !slices.Equal(got, test.want) {
			t.Errorf("Settled(%s, %d) = %v, want %v", test.before, test.most, got, test.want)
		}
	}
}

// TestForgottenStaysAsItIs: no frame that comes later changes it, or takes its number or
// its id.
func TestForgottenStaysAsItIs(t *testing.T) {
	j, s := forgetful(t)
	before := state(t, j)
	again := jointest.NewTrip(0)
	add(t, j, again.Frames()...)
	other := again.EgressClose()
	other.Close.RequestBytes++
	add(t, j, other) // it contradicts what was forgotten, and comes too late to be told so
	sameNumber, sameID := jointest.NewTrip(0), jointest.NewTrip(7)
	sameNumber.ID, sameID.ID = jointest.NewTrip(9).ID, jointest.NewTrip(0).ID
	for name, f := range map[string]*crossingv1.Frame{"number": sameNumber.EgressOpen(), "id": sameID.EgressOpen(), "id of an end": sameID.EgressClose()} {
		if err := j.Add(f); !errors.Is(err, ErrConflict) {
			t.Errorf("another crossing with its %s: %v, want %v", name, err, ErrConflict)
		}
	}
	if d := cmp.Diff(before, state(t, j), protocmp.Transform()); d != "" {
		t.Errorf("it changed (- before, + after):\n%s", d)
	}
	s.fails = errors.New("the disk is gone")
	if err := j.Add(again.EgressOpen()); !errors.Is(err, s.fails) {
		t.Errorf("where it cannot be told: %v, want %v", err, s.fails)
	}
}

// TestLateIsNotForgotten: a crossing that opened long ago and comes now is joined, and one
// that is new is asked nothing about.
func TestLateIsNotForgotten(t *testing.T) {
	j, s := forgetful(t)
	add(t, j, jointest.NewTrip(6).Frames()...)
	add(t, j, jointest.NewTrip(5).IngressOpen(), jointest.NewTrip(5).IngressClose())
	if got := all(t, j, &controlv1.ListCrossingsRequest{State: crossingv1.Record_JOINED}); !slices.Equal(numbers(got), []int{5, 6}) {
		t.Errorf("joined: %v", numbers(got))
	}
	s.asked = 0
	add(t, j, jointest.NewTrip(3601).Frames()...)
	if s.asked > 0 {
		t.Errorf("%d questions about a new crossing", s.asked)
	}
}
