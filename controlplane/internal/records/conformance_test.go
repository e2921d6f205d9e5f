package records

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// stores are what must pass this file.
var stores = map[string]func(t *testing.T) Store{
	"memory": func(*testing.T) Store { return newMemory() },
	"sqlite": func(t *testing.T) Store { return openIn(t, t.TempDir()) },
	"sqlite, cold": func(t *testing.T) Store {
		return upkept{openFor(t, t.TempDir(), Config{Hot: time.Nanosecond})}
	},
	"memory, upkept": func(*testing.T) Store { return upkept{newMemory()} },
}

// upkept is a store that is maintained after each put, long after the records opened:
// they are in the archive alone as soon as they are there.
type upkept struct{ Keeper }

func (u upkept) Put(ctx context.Context, all []Joined) error {
	if err := u.Keeper.Put(ctx, all); err != nil {
		return err
	}
	_, err := u.Maintain(ctx, noon.Add(100*24*time.Hour))
	return err
}

func openIn(t testing.TB, dir string) *SQLite { t.Helper(); return openFor(t, dir, Config{}) }

func openFor(t testing.TB, dir string, c Config) *SQLite {
	t.Helper()
	s, err := c.Open(context.Background(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func onEach(t *testing.T, test func(t *testing.T, s Store)) {
	for name, open := range stores {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

// windows of the made-up day: none, one hour, within an hour, over the edge of one, and
// one with a bound inside a minute.
var windows = []Window{
	{},
	{noon.Add(-time.Hour), noon},
	{noon.Add(-50 * time.Minute), noon.Add(-10 * time.Minute)},
	{noon.Add(-70 * time.Minute), noon.Add(-55 * time.Minute)},
	{noon.Add(-23*time.Hour - 7*time.Minute - 1234*time.Microsecond), noon.Add(-61*time.Minute + 1)},
	{Since: noon.Add(-time.Hour)},
	{Until: noon.Add(-23 * time.Hour)},
	{noon, noon},
}

// TestAnswersAreTheReferences asks every kind of question of both: of the database, of
// one half in the archive, and of all in the archive. With few records there are hours of
// which all that changes is what leaves them.
func TestAnswersAreTheReferences(t *testing.T) {
	for name, upkeep := range map[string][]time.Duration{"hot": nil, "half cold": {-6 * time.Hour}, "cold, in steps": {-20 * time.Hour, 2 * time.Hour}} {
		if few > 1 && name == "half cold" {
			continue // it is among the histories, too
		}
		for _, n := range slices.Compact([]int{150, 600 / few}) {
			t.Run(fmt.Sprintf("%s, %d records", name, n), func(t *testing.T) {
				all := day(n)
				want, have := newMemory(), openFor(t, t.TempDir(), Config{Hot: time.Hour})
				for _, s := range []Keeper{want, have} {
					for batch := range slices.Chunk(all, 250) {
						putUpkept(t, s, upkeep, batch...)
					}
					putUpkept(t, s, upkeep, slices.Concat(changed(all), all[7:8])...)
				}
				sameAnswers(t, want, have, all)
			})
		}
	}
}

func putUpkept(t *testing.T, s Keeper, upkeep []time.Duration, all ...Joined) {
	t.Helper()
	put(t, s, all...)
	for _, at := range upkeep {
		maintain(t, s, noon.Add(at))
	}
}

func maintain(t testing.TB, s Keeper, now time.Time) Upkeep {
	t.Helper()
	done, err := s.Maintain(t.Context(), now)
	if err != nil {
		t.Fatal(err)
	}
	return done
}

// sameAnswers asks each question of each window; under the race detector, of one of them.
func sameAnswers(t *testing.T, want, have Store, all []Joined) {
	t.Helper()
	for i, w := range windows {
		for n, q := range questions(all) {
			if few > 1 && n%len(windows) != i {
				continue
			}
			q.Window = w
			sameRecords(t, q, find(t, want, q), find(t, have, q))
		}
		sameCounts(t, want, have, w)
	}
}

func sameRecords(t *testing.T, q Query, want, have []Joined) {
	t.Helper()
	same := func(a, b Joined) bool {
		return a.Egress == b.Egress && a.Ingress == b.Ingress && proto.Equal(a.Record, b.Record)
	}
	if !slices.EqualFunc(want, have, same) {
		q.Without = nil // it has no words
		t.Errorf("%+v:\n%s", q, cmp.Diff(want, have, protocmp.Transform()))
	}
}

func questions(all []Joined) []Query {
	r := all[77].Record
	return []Query{
		{},
		{ID: r.GetId()},
		{Trace: r.GetTrace()},
		{Identity: r.GetSource()},
		{Identity: r.GetDestination(), Owner: r.GetTransition().GetOwner()},
		{Owner: "team-1", Limit: 10},
		{From: "aws", To: "azure"},
		{To: "gcp", Limit: 1},
		{Service: r.GetOperation().GetService()},
		{Denied: true},
		{Allowed: true, From: "aws", Limit: 20},
		{Denied: true, Allowed: true},
		{Unmatched: true},
		{State: crossingv1.Record_JOINED, Limit: 7},
		{State: crossingv1.Record_DISAGREE},
		{State: crossingv1.Record_OPEN, Unmatched: true},
		{Before: PlaceOf(all[77])},
		{Before: PlaceOf(all[77]), Limit: 11},
		{Before: PlaceOf(all[91]), State: crossingv1.Record_ONE_SIDED, Limit: 4},
		{Before: PlaceAt(noon.Add(-90*time.Minute), "x"), To: "gcp", Limit: 2},
		{Without: func(j Joined) bool { return j.Record.GetTransition().GetOwner() == "team-1" }, Limit: 30},
		{Without: func(j Joined) bool { return PlaceOf(j).Compare(PlaceOf(all[60])) > 0 }},
		{Unmatched: true, From: "edge", Limit: 3},
		{Limit: MaxLimit},
	}
}

// changed are some of the records as they went on: later, other, or in another class.
func changed(all []Joined) []Joined {
	var some []Joined
	for i := 0; i < len(all); i += 5 {
		j := all[i]
		j.Record = proto.CloneOf(j.Record)
		switch i % 3 {
		case 0:
			j.Record.State = crossingv1.Record_DISAGREE
		case 1:
			j.Record.Transition.Owner = "team-new"
		case 2:
			if j.Record.Egress != nil {
				j.Record.Egress.Open = timestamppb.New(j.Record.Egress.Open.AsTime().Add(3 * time.Hour))
				j.Record.Egress.RequestBytes += 5
			}
		}
		some = append(some, j)
	}
	return some
}

// TestPages: each page begins where the one before it ended, and all of them have all
// records once.
func TestPages(t *testing.T) {
	onEach(t, func(t *testing.T, s Store) {
		all := day(1_200)[:120] // of three hours
		put(t, s, all...)
		want := find(t, s, Query{})
		var have []Joined
		for q := (Query{Limit: 7}); ; q.Before = PlaceOf(have[0]) {
			page := find(t, s, q)
			if have = append(slices.Clone(page), have...); len(page) < q.Limit {
				break
			}
		}
		sameRecords(t, Query{Limit: 7}, want, have)
	})
}

// TestWithoutMayAsk: who says what is left out may ask the store, while others write to it.
func TestWithoutMayAsk(t *testing.T) {
	onEach(t, func(t *testing.T, s Store) {
		all := day(1_200)[:50] // of one hour
		put(t, s, all...)
		found := find(t, s, Query{Without: func(j Joined) bool {
			done := make(chan struct{})
			go func() { defer close(done); put(t, s, j) }()
			<-done
			return len(find(t, s, Query{ID: j.Record.GetId()})) == 1
		}})
		if len(found) > 0 {
			t.Errorf("%d records were not found by their ids", len(found))
		}
	})
}

func sameCounts(t *testing.T, want, have Store, w Window) {
	t.Helper()
	a, errA := want.Matrix(t.Context(), w)
	b, errB := have.Matrix(t.Context(), w)
	if d := cmp.Diff(a, b); d != "" || errA != nil || errB != nil {
		t.Errorf("matrix of %v (%v, %v):\n%s", w, errA, errB, d)
	}
	for _, n := range []int{0, 3, MaxLimit} {
		a, errA := want.Talkers(t.Context(), "aws", "azure", w, n)
		b, errB := have.Talkers(t.Context(), "aws", "azure", w, n)
		if d := cmp.Diff(a, b); len(a) != len(b) || len(a) > 0 && d != "" || errA != nil || errB != nil {
			t.Errorf("%d talkers of %v (%v, %v):\n%s", n, w, errA, errB, d)
		}
	}
}

func TestPutAgainChangesNothing(t *testing.T) {
	onEach(t, func(t *testing.T, s Store) {
		all := day(1_200)[:200] // of four hours
		put(t, s, all...)
		before, err := s.Matrix(t.Context(), Window{})
		if err != nil {
			t.Fatal(err)
		}
		put(t, s, all...)
		put(t, s, all[0], all[0], all[0])
		after, err := s.Matrix(t.Context(), Window{})
		if d := cmp.Diff(before, after); d != "" || err != nil || len(find(t, s, Query{})) != len(all) {
			t.Errorf("%v, %d records:\n%s", err, len(find(t, s, Query{})), d)
		}
	})
}

// TestChangeMoves: of an opening that came to be denied, nothing stays where it was.
func TestChangeMoves(t *testing.T) {
	onEach(t, func(t *testing.T, s Store) {
		j := day(1)[0]
		j.Record.State = crossingv1.Record_OPEN
		put(t, s, j)
		j.Record = proto.CloneOf(j.Record)
		j.Record.State, j.Record.Egress.Decision, j.Record.Egress.RequestBytes = crossingv1.Record_DENIED, crossingv1.Decision_DENY, 12
		put(t, s, j)
		cells, err := s.Matrix(t.Context(), Window{})
		if err != nil || len(cells) != 1 {
			t.Fatalf("%v, %v", cells, err)
		}
		if c := cells[0]; c.State != crossingv1.Record_DENIED || !c.Denied || c.Crossings != 1 || c.RequestBytes != 12 {
			t.Errorf("%+v", c)
		}
	})
}

// TestSameIDOfAnotherGateway: a gateway that uses another's id changes nothing of it.
func TestSameIDOfAnotherGateway(t *testing.T) {
	onEach(t, func(t *testing.T, s Store) {
		j := day(1)[0]
		other := Joined{"spiffe://evil.example/sallyport/gateway/e-1", j.Ingress, proto.CloneOf(j.Record)}
		other.Record.Egress.Gateway = other.Egress
		put(t, s, j, other)
		found := find(t, s, Query{ID: j.Record.GetId()})
		if len(found) != 2 || !slices.ContainsFunc(found, func(f Joined) bool { return proto.Equal(f.Record, j.Record) }) {
			t.Errorf("%v", found)
		}
	})
}

func TestBadRecordKeepsNone(t *testing.T) {
	for name, spoil := range map[string]func(*Joined){
		"no id":          func(j *Joined) { j.Record.Id = "" },
		"no egress":      func(j *Joined) { j.Egress = "" },
		"no record":      func(j *Joined) { j.Record = nil },
		"no state":       func(j *Joined) { j.Record.State = 0 },
		"another egress": func(j *Joined) { j.Egress += "x" },
		"other ingress":  func(j *Joined) { j.Ingress += "x" },
		"no ends":        func(j *Joined) { j.Record.Egress, j.Record.Ingress = nil, nil },
		"year 10000":     func(j *Joined) { j.Record.Egress.Open.Seconds = 253402300800 },
		"no UTF-8":       func(j *Joined) { j.Record.Source = "spiffe://a/\xff" },
	} {
		t.Run(name, func(t *testing.T) {
			onEach(t, func(t *testing.T, s Store) {
				all := joined(2)
				spoil(&all[1])
				if err := s.Put(t.Context(), all); !errors.Is(err, ErrInvalid) {
					t.Errorf("error %v", err)
				}
				if found := find(t, s, Query{}); len(found) != 0 {
					t.Errorf("kept %v", found)
				}
			})
		})
	}
}

func TestHostileQuestions(t *testing.T) {
	huge := time.Unix(math.MaxInt64/2, 0)
	for _, q := range []Query{
		{Limit: -1},
		{Limit: MaxLimit + 1},
		{Limit: math.MinInt},
		{Window: Window{Since: huge}},
		{Window: Window{Until: huge}},
		{Window: Window{Since: time.Unix(math.MinInt64/2, 0)}},
		{Window: Window{Since: noon, Until: noon.Add(-1e9)}},
	} {
		onEach(t, func(t *testing.T, s Store) {
			for _, err := range s.Find(t.Context(), q) {
				if !errors.Is(err, ErrInvalid) {
					t.Errorf("%+v: %v", q, err)
				}
				return
			}
			t.Errorf("%+v has an answer", q)
		})
	}
	for _, text := range []string{"%", "_", "a' OR '1'='1", "\x00", "\xff", "*", `"`, "?1"} {
		onEach(t, func(t *testing.T, s Store) {
			put(t, s, day(480)[:20]...)
			for _, q := range []Query{{ID: text}, {Trace: text}, {Identity: text}, {Owner: text}, {From: text}, {To: text}, {Service: text}} {
				if found := find(t, s, q); len(found) != 0 {
					t.Errorf("%+v: %v", q, found)
				}
			}
		})
	}
}

// TestOddValuesAreKept: what reads as a pattern or a quote is found as itself alone.
func TestOddValuesAreKept(t *testing.T) {
	onEach(t, func(t *testing.T, s Store) {
		all := day(3)
		all[0].Record.Source, all[1].Record.Source, all[2].Record.Source = "a%", "a_", "a'\x00b"
		put(t, s, all...)
		for i := range all {
			found := find(t, s, Query{Identity: all[i].Record.GetSource()})
			if len(found) != 1 || !proto.Equal(found[0].Record, all[i].Record) {
				t.Errorf("%q: %v", all[i].Record.GetSource(), found)
			}
		}
	})
}

// TestHugeClaimsDoNotWrap: two gateways claim all the bytes that there are.
func TestHugeClaimsDoNotWrap(t *testing.T) {
	s := openIn(t, t.TempDir())
	all := joined(2)
	for _, j := range all {
		j.Record.Transition = &crossingv1.Transition{From: "aws", To: "azure"}
		j.Record.Egress.RequestBytes = math.MaxUint64
	}
	put(t, s, all...)
	cells, err := s.Matrix(t.Context(), Window{})
	if err != nil || len(cells) == 0 {
		t.Fatalf("%v, %v", cells, err)
	}
	if cells[0].RequestBytes != math.MaxUint64 {
		t.Errorf("%d bytes", cells[0].RequestBytes)
	}
}

// TestTimesBefore1970 and at the ends of what a record can say.
func TestOddTimes(t *testing.T) {
	onEach(t, func(t *testing.T, s Store) {
		all := joined(3)
		for i, at := range []time.Time{time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(1969, 12, 31, 23, 59, 59, 999_999_000, time.UTC), time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)} {
			all[i].Record.Egress.Open = timestamppb.New(at)
		}
		put(t, s, all...)
		if found := find(t, s, Query{}); len(found) != 3 || found[1].Record.GetId() != all[1].Record.GetId() {
			t.Errorf("%v", found)
		}
		cells, err := s.Matrix(t.Context(), Window{time.Date(1969, 12, 31, 23, 59, 0, 0, time.UTC), time.Unix(0, 0)})
		if err != nil || len(cells) != 1 || cells[0].Crossings != 1 {
			t.Errorf("%v, %v", cells, err)
		}
	})
}

func TestCancelledIsTheContexts(t *testing.T) {
	onEach(t, func(t *testing.T, s Store) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := s.Put(ctx, day(1)); !errors.Is(err, context.Canceled) {
			t.Errorf("put: %v", err)
		}
		for _, err := range s.Find(ctx, Query{}) {
			if !errors.Is(err, context.Canceled) {
				t.Errorf("find: %v", err)
			}
		}
		if found := find(t, s, Query{}); len(found) != 0 {
			t.Errorf("kept %v", found)
		}
	})
}
