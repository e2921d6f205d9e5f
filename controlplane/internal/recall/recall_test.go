package recall

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"github.com/sallyport-mesh/sallyport/controlplane/internal/join/jointest"
	"github.com/sallyport-mesh/sallyport/controlplane/internal/records"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

const remembered = time.Hour

// over makes records of what a store keeps, soon after the first crossing.
func over(store records.Keeper) *Records {
	r := Of(store, remembered)
	r.now = func() time.Time { return jointest.Start.Add(time.Hour) }
	return r
}

// stated is a book that knows of statements on every crossing, but for some.
type stated struct{ not map[uint64]bool }

func (b stated) Settled(k *crossingv1.Key) bool { return !b.not[k.GetSequence()] }

func (b stated) Findings(time.Time) []*controlv1.Finding {
	k := jointest.NewTrip(2).Key()
	return []*controlv1.Finding{{Chain: &crossingv1.Chain{Egress: k.GetEgress(), Ingress: k.GetIngress(), Run: k.GetRun()}, Number: k.GetSequence()}}
}

func open(t testing.TB, dir string) *records.SQLite {
	t.Helper()
	s, err := records.OpenSQLite(context.Background(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// fatal is what testing.T and rapid.T have in common here.
type fatal interface {
	Helper()
	Context() context.Context
	Fatal(...any)
}

func add(t fatal, r *Records, frames ...*crossingv1.Frame) {
	t.Helper()
	for _, f := range frames {
		if err := r.Add(f); err != nil {
			t.Fatal(err)
		}
	}
}

// put has the store keep what is joined, as it is now.
func put(t fatal, r *Records) {
	t.Helper()
	var all []records.Joined
	for _, h := range r.Match(&controlv1.ListCrossingsRequest{}) {
		all = append(all, RecordOf(h))
	}
	if err := r.store.Put(t.Context(), all); err != nil {
		t.Fatal(err)
	}
}

// listed are the records of an answer.
func listed(t fatal, r *Records, req *controlv1.ListCrossingsRequest) []records.Joined {
	t.Helper()
	var all []records.Joined
	if err := r.List(t.Context(), req, func(j records.Joined) error {
		all = append(all, j)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

// numbers of the crossings, by their place in the test.
func numbers(all []records.Joined) []int {
	var ns []int
	for _, j := range all {
		ns = append(ns, int(j.Record.GetEvidence().GetSequence())-1) //nolint:gosec // a few
	}
	return ns
}

// settle has all forgotten that may be.
func settle(t fatal, r *Records, b Book) {
	t.Helper()
	if _, err := r.Settle(t.Context(), b, jointest.Start.Add(1000*time.Hour)); err != nil {
		t.Fatal(err)
	}
}

// TestList asks of four crossings of which all is known, and one that is open: those that
// are kept alone, those that are joined now, and some of both.
func TestList(t *testing.T) {
	id := func(n int) string { return jointest.NewTrip(n).ID }
	opened := func(n int) *timestamppb.Timestamp { return timestamppb.New(jointest.NewTrip(n).Opened()) }
	for forgotten, b := range map[string]stated{"none": {map[uint64]bool{1: true, 2: true, 4: true}}, "some": {map[uint64]bool{2: true}}, "most": {}} {
		r := over(open(t, t.TempDir()))
		crossings := []jointest.Trip{jointest.NewTrip(0), jointest.NewTrip(1), jointest.NewTrip(2), jointest.NewTrip(3)}
		crossings[1].Denied, crossings[2].Ingress, crossings[3].Ingress = true, jointest.AWS1, ""
		for _, c := range slices.Backward(crossings) {
			add(t, r, c.Frames()...)
		}
		add(t, r, jointest.NewTrip(4).EgressOpen())
		put(t, r)
		add(t, r, jointest.NewTrip(4).IngressOpen())
		settle(t, r, b)
		for name, test := range map[string]struct {
			req  *controlv1.ListCrossingsRequest
			want []int
		}{
			"all, oldest first":    {&controlv1.ListCrossingsRequest{}, []int{0, 1, 2, 3, 4}},
			"by id":                {&controlv1.ListCrossingsRequest{Id: id(1)}, []int{1}},
			"by trace":             {&controlv1.ListCrossingsRequest{Trace: "00000000000000000000000000000001"}, []int{0, 1}},
			"to":                   {&controlv1.ListCrossingsRequest{To: "aws"}, []int{2}},
			"by owner":             {&controlv1.ListCrossingsRequest{Owner: "owner-of-azure"}, []int{0, 1, 3, 4}},
			"by identity":          {&controlv1.ListCrossingsRequest{Identity: "spiffe://aws.example/llm"}, []int{2}},
			"denied at either end": {&controlv1.ListCrossingsRequest{Decision: crossingv1.Decision_DENY}, []int{1, 3}},
			"allowed at both":      {&controlv1.ListCrossingsRequest{Decision: crossingv1.Decision_ALLOW}, []int{0, 2, 4}},
			"joined":               {&controlv1.ListCrossingsRequest{State: crossingv1.Record_JOINED}, []int{0, 1, 2}},
			"in no such state":     {&controlv1.ListCrossingsRequest{State: 99}, nil},
			"in a time":            {&controlv1.ListCrossingsRequest{Since: opened(1), Until: opened(3)}, []int{1, 2}},
			"the newest":           {&controlv1.ListCrossingsRequest{Limit: 2}, []int{3, 4}},
			"the newest of some":   {&controlv1.ListCrossingsRequest{Limit: 2, Owner: "owner-of-azure"}, []int{3, 4}},
			"a page":               {&controlv1.ListCrossingsRequest{Before: id(3), Limit: 2}, []int{1, 2}},
			"the page before it":   {&controlv1.ListCrossingsRequest{Before: id(1), Limit: 2}, []int{0}},
			"before all":           {&controlv1.ListCrossingsRequest{Before: id(0)}, nil},
			"before what is not":   {&controlv1.ListCrossingsRequest{Before: id(9), Limit: 1}, []int{4}},
		} {
			if got := numbers(listed(t, r, test.req)); !slices.Equal(got, test.want) {
				t.Errorf("%s forgotten, %s: %v, want %v", forgotten, name, got, test.want)
			}
		}
	}
}

// TestForgettingShowsNothing: whatever comes in whatever order, what is answered by one who
// forgets is what one says who does not, also after a restart over what is kept.
func TestForgettingShowsNothing(t *testing.T) {
	store := open(t, t.TempDir())
	next := 0 // each history has crossings of its own
	rapid.Check(t, func(t *rapid.T) {
		first := next
		var frames, told []*crossingv1.Frame
		for range rapid.IntRange(1, 8).Draw(t, "crossings") {
			c := jointest.NewTrip(next)
			c.Denied = rapid.Bool().Draw(t, "denied")
			c.Ingress = rapid.SampledFrom([]string{jointest.Azure1, jointest.AWS1, ""}).Draw(t, "ingress")
			all := c.Frames()
			frames = append(frames, all[:rapid.IntRange(1, len(all)).Draw(t, "frames")]...)
			next++
		}
		frames = append(frames, frames...) // each comes twice
		book := stated{map[uint64]bool{uint64(first + rapid.IntRange(1, 8).Draw(t, "unstated")): true}}
		want, have := Of(nil, 0), over(store)
		for _, f := range rapid.Permutation(frames).Draw(t, "order") {
			switch rapid.IntRange(0, 3).Draw(t, "then") {
			case 0:
				put(t, have)
			case 1:
				settle(t, have, book)
			case 2:
				have = over(store)
				add(t, have, told...)
			}
			add(t, want, f)
			add(t, have, f)
			told = append(told, f)
		}
		settle(t, have, book)
		since := timestamppb.New(jointest.NewTrip(first).Opened())
		for _, req := range []*controlv1.ListCrossingsRequest{
			{Since: since},
			{Since: since, Limit: 3},
			{Since: since, Before: jointest.NewTrip(first + 3).ID, Limit: 2},
			{Since: since, State: crossingv1.Record_JOINED, To: "azure"},
			{Since: since, State: crossingv1.Record_OPEN},
			{Id: jointest.NewTrip(first).ID},
		} {
			if d := cmp.Diff(listed(t, want, req), listed(t, have, req), protocmp.Transform()); d != "" {
				t.Fatalf("%v (- want, + have):\n%s", req, d)
			}
		}
		if d := cmp.Diff(want.Counts(), have.Counts()); d != "" {
			t.Fatalf("counts (- want, + have):\n%s", d)
		}
	})
}

// TestForgottenWhileListed: what is forgotten while an answer is given is in it once.
func TestForgottenWhileListed(t *testing.T) {
	r := over(open(t, t.TempDir()))
	add(t, r, jointest.NewTrip(0).Frames()...)
	settle(t, r, stated{})
	for n := range 4 {
		add(t, r, jointest.NewTrip(n+1).Frames()...)
	}
	put(t, r)
	var seen []records.Joined
	if err := r.List(t.Context(), &controlv1.ListCrossingsRequest{}, func(j records.Joined) error {
		seen = append(seen, j)
		settle(t, r, stated{})
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if got := numbers(seen); !slices.Equal(got, []int{0, 1, 2, 3, 4}) {
		t.Errorf("List gave %v", got)
	}
}

// TestFollowIsOfBoth: first what is kept and what is joined, and then each that changes.
func TestFollowIsOfBoth(t *testing.T) {
	r := over(open(t, t.TempDir()))
	add(t, r, jointest.NewTrip(0).Frames()...)
	settle(t, r, stated{})
	add(t, r, jointest.NewTrip(1).Frames()...)
	var seen []records.Joined
	enough := errors.New("enough")
	err := r.List(t.Context(), &controlv1.ListCrossingsRequest{Follow: true}, func(j records.Joined) error {
		if seen = append(seen, j); len(seen) == 2 {
			add(t, r, jointest.NewTrip(4).EgressOpen())
		}
		if len(seen) == 3 {
			return enough
		}
		return nil
	})
	if got := numbers(seen); !errors.Is(err, enough) || !slices.Equal(got, []int{0, 1, 4}) {
		t.Errorf("List = %v, and gave %v", err, got)
	}
}

// TestBadQuestions are the fault of who asks.
func TestBadQuestions(t *testing.T) {
	for name, store := range map[string]records.Keeper{"in memory": nil, "kept": open(t, t.TempDir())} {
		for _, req := range []*controlv1.ListCrossingsRequest{{Limit: records.MaxLimit + 1}, {Before: "yesterday"}} {
			if err := over(store).List(t.Context(), req, nil); !errors.Is(err, records.ErrInvalid) {
				t.Errorf("%s, %v: %v, want %v", name, req, err, records.ErrInvalid)
			}
		}
	}
}

// TestRetentionIsOver: what is too old is forgotten, and does not come to the store again.
func TestRetentionIsOver(t *testing.T) {
	store := open(t, t.TempDir())
	r := over(store)
	r.now = func() time.Time { return jointest.Start.Add(200 * 24 * time.Hour) }
	add(t, r, jointest.NewTrip(0).Frames()...)
	held := jointest.NewTrip(1)
	held.Ingress = jointest.AWS1
	add(t, r, held.Frames()...)
	if err := store.Hold(t.Context(), records.Hold{Name: "case", Owner: "owner-of-aws"}); err != nil {
		t.Fatal(err)
	}
	settle(t, r, stated{})
	if got := numbers(listed(t, r, &controlv1.ListCrossingsRequest{})); !slices.Equal(got, []int{1}) {
		t.Errorf("it lists %v, want what is held", got)
	}
	if n := r.Counts(); len(n) != 2 {
		t.Errorf("counts %v", n)
	}
}

// TestWhatIsNotKeptIsNotForgotten: a store that fails loses nothing.
func TestWhatIsNotKeptIsNotForgotten(t *testing.T) {
	store := open(t, t.TempDir())
	r := over(store)
	add(t, r, jointest.NewTrip(0).Frames()...)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if n, err := r.Settle(ctx, stated{}, jointest.Start.Add(2*remembered)); n != 0 || !errors.Is(err, context.Canceled) {
		t.Errorf("Settle = %d, %v", n, err)
	}
	if h := r.Match(&controlv1.ListCrossingsRequest{}); len(h) != 1 {
		t.Errorf("it knows %d crossings", len(h))
	}
}
