package join

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

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
	crossings := []trip{newTrip(0), newTrip(1), newTrip(2), newTrip(3)}
	crossings[1].denied, crossings[2].ingress, crossings[3].ingress = true, aws1, ""
	for _, c := range slices.Backward(crossings) {
		add(t, j, c.frames()...)
	}
	return j
}

func TestList(t *testing.T) {
	trace := strings.Repeat("0", 31)
	tests := []struct {
		name string
		req  *controlv1.ListCrossingsRequest
		want []int
	}{
		{"all, oldest first", &controlv1.ListCrossingsRequest{}, []int{0, 1, 2, 3}},
		{"by id", &controlv1.ListCrossingsRequest{Id: newTrip(2).id}, []int{2}},
		{"by the beginning of an id", &controlv1.ListCrossingsRequest{Id: newTrip(2).id[:20]}, nil},
		{"by an unknown id", &controlv1.ListCrossingsRequest{Id: newTrip(9).id}, nil},
		{"by trace", &controlv1.ListCrossingsRequest{Trace: trace + "1"}, []int{0, 1}},
		{"by another trace", &controlv1.ListCrossingsRequest{Trace: trace + "2"}, []int{2, 3}},
		{"by an unknown trace", &controlv1.ListCrossingsRequest{Trace: trace + "9"}, nil},
		{"by id and another's trace", &controlv1.ListCrossingsRequest{Id: newTrip(2).id, Trace: trace + "1"}, nil},
		{"from", &controlv1.ListCrossingsRequest{From: "onprem"}, []int{0, 1, 2, 3}},
		{"from elsewhere", &controlv1.ListCrossingsRequest{From: "azure"}, nil},
		{"to", &controlv1.ListCrossingsRequest{To: "aws"}, []int{2}},
		{"by owner", &controlv1.ListCrossingsRequest{Owner: "owner-of-azure"}, []int{0, 1, 3}},
		{"by source", &controlv1.ListCrossingsRequest{Identity: "spiffe://onprem.example/orchestrator"}, []int{0, 1, 2, 3}},
		{"by destination", &controlv1.ListCrossingsRequest{Identity: "spiffe://aws.example/llm"}, []int{2}},
		{"by half an identity", &controlv1.ListCrossingsRequest{Identity: "spiffe://aws.example"}, nil},
		{"denied at either end", &controlv1.ListCrossingsRequest{Decision: crossingv1.Decision_DENY}, []int{1, 3}},
		{"allowed at both", &controlv1.ListCrossingsRequest{Decision: crossingv1.Decision_ALLOW}, []int{0, 2}},
		{"since", &controlv1.ListCrossingsRequest{Since: timestamppb.New(newTrip(2).opened())}, []int{2, 3}},
		{"since just after", &controlv1.ListCrossingsRequest{Since: timestamppb.New(newTrip(2).opened().Add(1))}, []int{3}},
		{"until", &controlv1.ListCrossingsRequest{Until: timestamppb.New(newTrip(2).opened())}, []int{0, 1}},
		{"until just after", &controlv1.ListCrossingsRequest{Until: timestamppb.New(newTrip(2).opened().Add(1))}, []int{0, 1, 2}},
		{"in no time", &controlv1.ListCrossingsRequest{Since: timestamppb.New(newTrip(2).opened()), Until: timestamppb.New(newTrip(2).opened())}, nil},
		{"joined", &controlv1.ListCrossingsRequest{State: crossingv1.Record_JOINED}, []int{0, 1, 2}},
		{"denied at the near gateway", &controlv1.ListCrossingsRequest{State: crossingv1.Record_DENIED}, []int{3}},
		{"in a state that there is not", &controlv1.ListCrossingsRequest{State: 99}, nil},
		{"a page", &controlv1.ListCrossingsRequest{Before: newTrip(3).id, Limit: 2}, []int{1, 2}},
		{"the page before it", &controlv1.ListCrossingsRequest{Before: newTrip(1).id, Limit: 2}, []int{0}},
		{"before all", &controlv1.ListCrossingsRequest{Before: newTrip(0).id, Limit: 2}, nil},
		{"the newest", &controlv1.ListCrossingsRequest{Limit: 2}, []int{2, 3}},
		{"the newest that match", &controlv1.ListCrossingsRequest{Limit: 2, Owner: "owner-of-azure"}, []int{1, 3}},
		{"more than there are", &controlv1.ListCrossingsRequest{Limit: 1 << 31}, []int{0, 1, 2, 3}},
		{"all at once", &controlv1.ListCrossingsRequest{From: "onprem", To: "azure", Decision: crossingv1.Decision_DENY, Limit: 1, Trace: trace + "1"}, []int{1}},
	}
	j := four(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := numbers(all(t, j, tt.req)); !slices.Equal(got, tt.want) {
				t.Errorf("List = %v, want %v", got, tt.want)
			}
		})
	}
}

func TestListStopsWithItsReader(t *testing.T) {
	j, gone := four(t), errors.New("the reader is gone")
	for _, follow := range []bool{false, true} {
		seen := 0
		err := j.List(t.Context(), &controlv1.ListCrossingsRequest{Follow: follow}, func(*crossingv1.Record) error {
			seen++
			return gone
		})
		if !errors.Is(err, gone) || seen != 1 {
			t.Errorf("follow %t: List = %v after %d records", follow, err, seen)
		}
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
		go func() {
			done <- j.List(ctx, &controlv1.ListCrossingsRequest{Follow: true, To: "azure", Limit: 1}, func(r *crossingv1.Record) error {
				seen = append(seen, r)
				return nil
			})
		}()
		synctest.Wait()
		if got := numbers(seen); !slices.Equal(got, []int{3}) {
			t.Errorf("before anything changed, the follower saw %v", got)
		}
		seen = nil
		other := newTrip(4)
		other.ingress = aws1
		add(t, j, other.frames()...)
		next := newTrip(5)
		add(t, j, next.frames()...)
		add(t, j, next.frames()...) // again: nothing changes
		quiet := newTrip(6)
		add(t, j, quiet.egressOpen(), quiet.egressClose(), quiet.ingressClose()) // its opening is missing: it shows nothing
		synctest.Wait()
		if got := numbers(seen); !slices.Equal(got, []int{5, 5, 5, 5, 6, 6}) {
			t.Errorf("the follower saw %v, want each change of crossings 5 and 6", got)
		}
		if last := seen[3]; last.GetState() != crossingv1.Record_JOINED {
			t.Errorf("the last is %s", last.GetState())
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("List = %v, want %v", err, context.Canceled)
		}
		if len(j.followers) > 0 {
			t.Error("a follower who is gone was kept")
		}
	})
}

// TestFollowMissesNothing: what changes while the records of before are still
// being read comes after them.
func TestFollowMissesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := four(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var seen []*crossingv1.Record
		err := j.List(ctx, &controlv1.ListCrossingsRequest{Follow: true}, func(r *crossingv1.Record) error {
			if seen = append(seen, r); len(seen) == 2 {
				add(t, j, newTrip(4).egressOpen())
			}
			return nil
		})
		if got := numbers(seen); !errors.Is(err, context.DeadlineExceeded) || !slices.Equal(got, []int{0, 1, 2, 3, 4}) {
			t.Errorf("List = %v, and saw %v", err, got)
		}
	})
}

// TestSlowFollower: a follower who does not read holds up nobody. It is given
// what fits, in order and without a hole, and then told.
func TestSlowFollower(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := New()
		add(t, j, newTrip(0).egressOpen())
		resume, done := make(chan struct{}), make(chan error)
		var seen []*crossingv1.Record
		go func() {
			done <- j.List(t.Context(), &controlv1.ListCrossingsRequest{Follow: true}, func(r *crossingv1.Record) error {
				<-resume
				seen = append(seen, r)
				return nil
			})
		}()
		synctest.Wait() // it has one record and reads no further
		for n := range maxBehind + 5 {
			if err := j.Add(newTrip(n + 1).egressOpen()); err != nil {
				t.Fatal(err)
			}
		}
		close(resume)
		if err := <-done; !errors.Is(err, ErrSlow) {
			t.Errorf("List = %v, want %v", err, ErrSlow)
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
