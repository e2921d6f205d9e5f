package join

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sallyport-mesh/sallyport/controlplane/internal/join/jointest"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// numbers are the crossings that records are of, by their place in the test.
func numbers(records []*crossingv1.Record) []int {
	var ns []int
	for _, r := range records {
		ns = append(ns, int(r.GetEvidence().GetSequence())-1)
	}
	return ns
}

// four are crossings to list: one as it should be, one denied at ingress, one
// to aws, and one refused at egress.
func four(t *testing.T) *Joiner {
	j := New()
	crossings := []jointest.Trip{jointest.NewTrip(0), jointest.NewTrip(1), jointest.NewTrip(2), jointest.NewTrip(3)}
	crossings[1].Denied, crossings[2].Ingress, crossings[3].Ingress = true, jointest.AWS1, ""
	for _, c := range slices.Backward(crossings) {
		add(t, j, c.Frames()...)
	}
	return j
}

func TestMatch(t *testing.T) {
	trace := strings.Repeat("0", 31)
	tests := []struct {
		name string
		req  *controlv1.ListCrossingsRequest
		want []int
	}{
		{"all, oldest first", &controlv1.ListCrossingsRequest{}, []int{0, 1, 2, 3}},
		{"by id", &controlv1.ListCrossingsRequest{Id: jointest.NewTrip(2).ID}, []int{2}},
		{"by the beginning of an id", &controlv1.ListCrossingsRequest{Id: jointest.NewTrip(2).ID[:20]}, nil},
		{"by an unknown id", &controlv1.ListCrossingsRequest{Id: jointest.NewTrip(9).ID}, nil},
		{"by trace", &controlv1.ListCrossingsRequest{Trace: trace + "1"}, []int{0, 1}},
		{"by another trace", &controlv1.ListCrossingsRequest{Trace: trace + "2"}, []int{2, 3}},
		{"by an unknown trace", &controlv1.ListCrossingsRequest{Trace: trace + "9"}, nil},
		{"by id and another's trace", &controlv1.ListCrossingsRequest{Id: jointest.NewTrip(2).ID, Trace: trace + "1"}, nil},
		{"from", &controlv1.ListCrossingsRequest{From: "onprem"}, []int{0, 1, 2, 3}},
		{"from elsewhere", &controlv1.ListCrossingsRequest{From: "azure"}, nil},
		{"to", &controlv1.ListCrossingsRequest{To: "aws"}, []int{2}},
		{"by owner", &controlv1.ListCrossingsRequest{Owner: "owner-of-azure"}, []int{0, 1, 3}},
		{"by source", &controlv1.ListCrossingsRequest{Identity: "spiffe://onprem.example/orchestrator"}, []int{0, 1, 2, 3}},
		{"by destination", &controlv1.ListCrossingsRequest{Identity: "spiffe://aws.example/llm"}, []int{2}},
		{"by half an identity", &controlv1.ListCrossingsRequest{Identity: "spiffe://aws.example"}, nil},
		{"denied at either end", &controlv1.ListCrossingsRequest{Decision: crossingv1.Decision_DENY}, []int{1, 3}},
		{"allowed at both", &controlv1.ListCrossingsRequest{Decision: crossingv1.Decision_ALLOW}, []int{0, 2}},
		{"since", &controlv1.ListCrossingsRequest{Since: timestamppb.New(jointest.NewTrip(2).Opened())}, []int{2, 3}},
		{"since just after", &controlv1.ListCrossingsRequest{Since: timestamppb.New(jointest.NewTrip(2).Opened().Add(1))}, []int{3}},
		{"until", &controlv1.ListCrossingsRequest{Until: timestamppb.New(jointest.NewTrip(2).Opened())}, []int{0, 1}},
		{"until just after", &controlv1.ListCrossingsRequest{Until: timestamppb.New(jointest.NewTrip(2).Opened().Add(1))}, []int{0, 1, 2}},
		{"in no time", &controlv1.ListCrossingsRequest{Since: timestamppb.New(jointest.NewTrip(2).Opened()), Until: timestamppb.New(jointest.NewTrip(2).Opened())}, nil},
		{"joined", &controlv1.ListCrossingsRequest{State: crossingv1.Record_JOINED}, []int{0, 1, 2}},
		{"denied at the near gateway", &controlv1.ListCrossingsRequest{State: crossingv1.Record_DENIED}, []int{3}},
		{"in a state that there is not", &controlv1.ListCrossingsRequest{State: 99}, nil},
		{"all at once", &controlv1.ListCrossingsRequest{From: "onprem", To: "azure", Decision: crossingv1.Decision_DENY, Trace: trace + "1"}, []int{1}},
	}
	j := four(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := numbers(all(t, j, tt.req)); !slices.Equal(got, tt.want) {
				t.Errorf("Match = %v, want %v", got, tt.want)
			}
		})
	}
}

func TestFollowStopsWithItsReader(t *testing.T) {
	j, gone := four(t), errors.New("the reader is gone")
	_, f := j.Watch(&controlv1.ListCrossingsRequest{})
	add(t, j, jointest.NewTrip(4).EgressOpen(), jointest.NewTrip(5).EgressOpen())
	seen := 0
	err := f.Each(t.Context(), func(Halves) error {
		seen++
		return gone
	})
	if f.Stop(); !errors.Is(err, gone) || seen != 1 {
		t.Errorf("Each = %v after %d records", err, seen)
	}
	if len(j.followers) > 0 {
		t.Error("a follower who is gone was kept")
	}
}

func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := four(t)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		var seen []*crossingv1.Record
		before, f := j.Watch(&controlv1.ListCrossingsRequest{To: "azure"})
		if got := numbers(recordsOf(before)); !slices.Equal(got, []int{0, 1, 3}) {
			t.Errorf("before anything changed, the follower saw %v", got)
		}
		go func() {
			done <- f.Each(ctx, func(h Halves) error {
				seen = append(seen, h.Record)
				return nil
			})
		}()
		other := jointest.NewTrip(4)
		other.Ingress = jointest.AWS1
		add(t, j, other.Frames()...)
		next := jointest.NewTrip(5)
		add(t, j, next.Frames()...)
		add(t, j, next.Frames()...) // again: nothing changes
		quiet := jointest.NewTrip(6)
		add(t, j, quiet.EgressOpen(), quiet.EgressClose(), quiet.IngressClose()) // its opening is missing: it shows nothing
		synctest.Wait()
		if got := numbers(seen); !slices.Equal(got, []int{5, 5, 5, 5, 6, 6}) {
			t.Errorf("the follower saw %v, want each change of crossings 5 and 6", got)
		}
		if last := seen[3]; last.GetState() != crossingv1.Record_JOINED {
			t.Errorf("the last is %s", last.GetState())
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Each = %v, want %v", err, context.Canceled)
		}
	})
}

// TestSlowFollower: a follower who does not read holds up nobody. It is given
// what fits, in order and without a hole, and then told.
func TestSlowFollower(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := New()
		_, f := j.Watch(&controlv1.ListCrossingsRequest{})
		add(t, j, jointest.NewTrip(0).EgressOpen())
		resume, done := make(chan struct{}), make(chan error)
		var seen []*crossingv1.Record
		go func() {
			done <- f.Each(t.Context(), func(h Halves) error {
				<-resume
				seen = append(seen, h.Record)
				return nil
			})
		}()
		synctest.Wait() // it has one record and reads no further
		for n := range maxBehind + 5 {
			if err := j.Add(jointest.NewTrip(n + 1).EgressOpen()); err != nil {
				t.Fatal(err)
			}
		}
		close(resume)
		if err := <-done; !errors.Is(err, ErrSlow) {
			t.Errorf("Each = %v, want %v", err, ErrSlow)
		}
		if len(seen) != 1+maxBehind {
			t.Fatalf("the follower saw %d records, want %d", len(seen), 1+maxBehind)
		}
		for n, got := range numbers(seen) {
			if got != n {
				t.Fatalf("record %d is of crossing %d", n, got)
			}
		}
	})
}
