package records

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sallyport-mesh/sallyport/controlplane/internal/archive"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

const (
	days = 24 * time.Hour
	half = 183 * days // the usual retention
)

// inDatabase counts the records that are in the database.
func inDatabase(t *testing.T, s *SQLite) int {
	t.Helper()
	var n int
	if err := s.writer.QueryRowContext(t.Context(), `SELECT count(*) FROM crossings`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestColdHoursAreInTheArchiveAlone(t *testing.T) {
	dir := t.TempDir()
	s, all := openIn(t, dir), day(480)
	put(t, s, all...)
	if done := maintain(t, s, noon.Add(settle)); done != (Upkeep{Archived: 24}) || inDatabase(t, s) != 480 {
		t.Fatalf("%+v, %d records in the database", done, inDatabase(t, s))
	}
	if done := maintain(t, s, noon.Add(7*days)); done != (Upkeep{Cooled: 24}) || inDatabase(t, s) != 0 {
		t.Fatalf("%+v, %d records in the database", done, inDatabase(t, s))
	}
	put(t, s, all...) // as they are: nothing comes back
	if n := inDatabase(t, s); n != 0 {
		t.Errorf("%d records came back", n)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openIn(t, dir)
	put(t, s, changed(all)[0]) // its whole hour comes back
	if n := inDatabase(t, s); n < 20 || n > 40 || len(s.cold) != 23 {
		t.Errorf("%d records came back; %d hours are cold", n, len(s.cold))
	}
	if n := len(find(t, s, Query{})); n != 480 {
		t.Errorf("%d records", n)
	}
	if done := maintain(t, s, noon.Add(7*days)); done != (Upkeep{Archived: 1, Cooled: 1}) {
		t.Errorf("%+v", done)
	}
}

// keepers are both that keep for a time.
func onEachKeeper(t *testing.T, test func(t *testing.T, s Keeper)) {
	t.Run("memory", func(t *testing.T) { test(t, newMemory()) })
	t.Run("sqlite", func(t *testing.T) { test(t, openIn(t, t.TempDir())) })
	t.Run("sqlite, cold", func(t *testing.T) { test(t, openFor(t, t.TempDir(), Config{Hot: 1})) })
}

// TestRetention: what was kept for long enough goes, unless it is held.
func TestRetention(t *testing.T) {
	onEachKeeper(t, func(t *testing.T, s Keeper) {
		all := day(1_200)[:300]
		who := all[42].Record.GetSource()
		held := func(j Joined) bool {
			return j.Record.GetTransition().GetOwner() == "team-1" || j.Record.GetSource() == who || j.Record.GetDestination() == who
		}
		for _, h := range []Hold{{Name: "case 1", Owner: "team-1"}, {Name: "case 2", Identities: []string{who}}} {
			if err := s.Hold(t.Context(), h); err != nil {
				t.Fatal(err)
			}
		}
		put(t, s, all...)
		maintain(t, s, noon.Add(half-days))
		mustHave(t, s, all)
		maintain(t, s, noon.Add(half))
		mustHave(t, s, slices.DeleteFunc(slices.Clone(all), func(j Joined) bool { return !held(j) }))
		for _, j := range all {
			if !s.Keeps(j.Record, noon.Add(half-days)) || s.Keeps(j.Record, noon.Add(half)) != held(j) {
				t.Fatalf("what is kept still is not what Maintain keeps: %v", j.Record)
			}
		}
		maintain(t, s, noon.Add(half+days)) // and again
		if err := s.Release(t.Context(), "case 1"); err != nil {
			t.Fatal(err)
		}
		maintain(t, s, noon.Add(half+2*days))
		mustHave(t, s, slices.DeleteFunc(slices.Clone(all), func(j Joined) bool { return j.Record.GetSource() != who && j.Record.GetDestination() != who }))
		if err := s.Release(t.Context(), "case 2"); err != nil {
			t.Fatal(err)
		}
		maintain(t, s, noon.Add(half+3*days))
		mustHave(t, s, nil)
	})
}

// mustHave says that all records are there, and no others, and that the counts are theirs.
func mustHave(t *testing.T, s Store, all []Joined) {
	t.Helper()
	want := newMemory()
	put(t, want, all...)
	sameRecords(t, Query{}, find(t, want, Query{}), find(t, s, Query{}))
	sameCounts(t, want, s, Window{})
}

// TestJumpingClockRemovesNothing, whichever way it jumps.
func TestJumpingClockRemovesNothing(t *testing.T) {
	onEachKeeper(t, func(t *testing.T, s Keeper) {
		all := day(480)[:40]
		put(t, s, all...)
		for _, after := range []time.Duration{0, 400 * days, time.Hour, -400 * days, 400 * days, 400*days + 23*time.Hour, 2 * time.Hour, 1000 * days} {
			maintain(t, s, noon.Add(after))
			mustHave(t, s, all)
		}
	})
}

func TestHoldsAreChecked(t *testing.T) {
	onEachKeeper(t, func(t *testing.T, s Keeper) {
		for _, h := range []Hold{{}, {Name: "x"}, {Owner: "x"}, {Name: "x", Identities: []string{""}}} {
			if err := s.Hold(t.Context(), h); !errors.Is(err, ErrInvalid) {
				t.Errorf("%+v: %v", h, err)
			}
		}
		if err := s.Release(t.Context(), "x"); !errors.Is(err, ErrInvalid) {
			t.Errorf("release: %v", err)
		}
		for _, h := range []Hold{{Name: "b", Owner: "x"}, {Name: "a", Owner: "y"}, {Name: "b", Owner: "z"}} {
			if err := s.Hold(t.Context(), h); err != nil {
				t.Fatal(err)
			}
		}
		if all, err := s.Holds(t.Context()); err != nil || len(all) != 2 || all[0].Name != "a" || all[1].Owner != "z" {
			t.Errorf("%v, %v", all, err)
		}
	})
}

func TestHoldsSurvive(t *testing.T) {
	dir := t.TempDir()
	s := openIn(t, dir)
	if err := s.Hold(t.Context(), Hold{Name: "case", Owner: "team-1"}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := SetAside(dir, noon); err != nil {
		t.Fatal(err)
	}
	s = openIn(t, dir)
	if all, err := s.Holds(t.Context()); err != nil || len(all) != 1 {
		t.Errorf("%v, %v", all, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "holds.json")
	spoil(t, path, func(b []byte) []byte { return b[:len(b)/2] })
	if _, err := OpenSQLite(t.Context(), dir); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("error %v", err)
	}
}

// TestRebuiltFromTheArchive: what was archived is there without being put again.
func TestRebuiltFromTheArchive(t *testing.T) {
	dir := t.TempDir()
	s, all := openIn(t, dir), day(400)
	put(t, s, all...)
	maintain(t, s, noon.Add(-6*time.Hour+settle))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	spoil(t, filepath.Join(dir, liveName, databaseName), func(b []byte) []byte { return b[:5000] })
	if _, err := OpenSQLite(t.Context(), dir); !errors.Is(err, ErrDamaged) {
		t.Fatalf("error %v", err)
	}
	if _, err := SetAside(dir, noon); err != nil {
		t.Fatal(err)
	}
	s = openIn(t, dir)
	mustHave(t, s, slices.DeleteFunc(slices.Clone(all), func(j Joined) bool { return openedAt(j.Record) >= noon.Add(-6*time.Hour).UnixMicro() }))
	put(t, s, all...)
	mustHave(t, s, all)
}

// archived is the path of an hour's file.
func archived(t *testing.T, dir string, at time.Time) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "archive", at.UTC().Format("2006-01-02T15Z")+".*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%v, %v", files, err)
	}
	return files[0]
}

// TestDamagedFileIsNamed, and is no reason not to answer of other hours.
func TestDamagedFileIsNamed(t *testing.T) {
	dir := t.TempDir()
	s, all := openFor(t, dir, Config{Hot: 1}), day(200)
	put(t, s, all...)
	maintain(t, s, noon.Add(days))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	path := archived(t, dir, noon.Add(-3*time.Hour))
	spoil(t, path, func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
	s = openFor(t, dir, Config{Hot: 1})
	named := func(err error) bool {
		return errors.Is(err, archive.ErrDamaged) && strings.Contains(err.Error(), filepath.Base(path))
	}
	for _, err := range s.Find(t.Context(), Query{Window: Window{Since: noon.Add(-3 * time.Hour)}}) {
		if !named(err) {
			t.Errorf("find: %v", err)
		}
		break
	}
	if _, err := s.Talkers(t.Context(), "aws", "azure", Window{}, 3); !named(err) {
		t.Errorf("talkers: %v", err)
	}
	if _, err := s.Matrix(t.Context(), Window{Since: noon.Add(-150 * time.Minute)}); !named(err) {
		t.Errorf("matrix of minutes: %v", err)
	}
	sameCounts(t, filled(t, all), s, Window{Until: noon.Add(-4 * time.Hour)})
	q := Query{Window: Window{Until: noon.Add(-3 * time.Hour)}}
	sameRecords(t, q, find(t, filled(t, all), q), find(t, s, q))
}

func filled(t *testing.T, all []Joined) Store {
	t.Helper()
	m := newMemory()
	put(t, m, all...)
	return m
}

// TestMissingFileIsNamed when the store is opened. With the database set aside the rest
// is there, and the hour comes back when it is put again.
func TestMissingFileIsNamed(t *testing.T) {
	dir := t.TempDir()
	s, all := openFor(t, dir, Config{Hot: 1}), day(200)
	put(t, s, all...)
	maintain(t, s, noon.Add(days))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(archived(t, dir, noon.Add(-3*time.Hour))); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenSQLite(t.Context(), dir); !errors.Is(err, archive.ErrMissing) || !strings.Contains(err.Error(), "2026-11-27 09:00:00") {
		t.Fatalf("error %v", err)
	}
	if _, err := SetAside(dir, noon); err != nil {
		t.Fatal(err)
	}
	s = openFor(t, dir, Config{Hot: 1})
	put(t, s, all...)
	mustHave(t, s, all)
}

// TestOrphanIsRemoved: a process was killed between forgetting an hour and removing its
// file.
func TestOrphanIsRemoved(t *testing.T) {
	dir := t.TempDir()
	s, all := openFor(t, dir, Config{Hot: 1}), day(24)
	put(t, s, all...)
	maintain(t, s, noon.Add(half-days))
	if err := s.change(t.Context(), func(w *putting) error { return w.forget(s.cold[3]) }); err != nil {
		t.Fatal(err)
	}
	if n := len(find(t, s, Query{})); n != 23 {
		t.Errorf("%d records", n)
	}
	maintain(t, s, noon.Add(half))
	if left := s.archive.Hours(); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

// TestOtherGatewaysClock: a half that comes late has another clock, by which the crossing
// opened in the hour before, or long ago or hence.
func TestOtherGatewaysClock(t *testing.T) {
	for _, off := range []time.Duration{time.Second, -5 * time.Hour, 20 * 365 * days} {
		t.Run(off.String(), func(t *testing.T) {
			onEachKeeper(t, func(t *testing.T, s Keeper) {
				late := joined(1)[0]
				late.Record.Egress.Open = timestamppb.New(noon.Add(-time.Millisecond))
				late.Record.Ingress.Open = timestamppb.New(noon.Add(off))
				first := Joined{late.Egress, late.Ingress, proto.CloneOf(late.Record)}
				first.Record.Egress, first.Record.State = nil, crossingv1.Record_ONE_SIDED
				long := noon.Add(max(off, 0) + 8*days)
				put(t, s, first)
				maintain(t, s, long)
				put(t, s, late)
				mustHave(t, s, []Joined{late})
				maintain(t, s, long.Add(time.Hour))
				mustHave(t, s, []Joined{late})
				put(t, s, first) // and back again
				mustHave(t, s, []Joined{first})
			})
		})
	}
}

// TestMovedAmongOthers: of an hour that is in the archive as it is put again, one leaves,
// or leaves and comes back.
func TestMovedAmongOthers(t *testing.T) {
	for _, by := range []time.Duration{time.Hour, 100 * days} {
		onEachKeeper(t, func(t *testing.T, s Keeper) {
			all := day(240)[:10] // of one hour
			moved := openedLater(all[3], by)
			put(t, s, all...)
			maintain(t, s, noon.Add(8*days))
			put(t, s, append([]Joined{moved}, all...)...)
			mustHave(t, s, all)
			maintain(t, s, noon.Add(8*days))
			put(t, s, append(slices.Clone(all[4:]), moved)...)
			mustHave(t, s, slices.Concat(all[:3], all[4:], []Joined{moved}))
		})
	}
}

// TestStraysAreRebuilt: a database that took over the archive finds what moved.
func TestStraysAreRebuilt(t *testing.T) {
	dir := t.TempDir()
	s, first := openFor(t, dir, Config{Hot: 1}), joined(20)
	strayed := openedLater(first[0], -50*time.Hour)
	put(t, s, append(first[1:], strayed)...)
	maintain(t, s, noon.Add(days))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := SetAside(dir, noon); err != nil {
		t.Fatal(err)
	}
	s = openFor(t, dir, Config{Hot: 1})
	mustHave(t, s, append(first[1:], strayed))
	put(t, s, first[0])
	mustHave(t, s, first)
	if n := strays(t, s); n != 0 {
		t.Errorf("%d strays, and it is none any more", n)
	}
}

func strays(t *testing.T, s *SQLite) (n int) {
	t.Helper()
	if err := s.writer.QueryRowContext(t.Context(), `SELECT count(*) FROM strays`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestConfigIsChecked(t *testing.T) {
	for _, c := range []Config{{Hot: -1}, {Retention: -1}, {Hot: 2 * days, Retention: days}} {
		if _, err := c.Open(t.Context(), t.TempDir()); !errors.Is(err, ErrInvalid) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// TestAnyHistoryIsTheReferences plays random histories on both: puts, old and new and
// again, upkeep as time goes on, holds, and processes that start anew.
func TestAnyHistoryIsTheReferences(t *testing.T) {
	const seeds uint64 = (3 + few - 1) / few
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			h := &history{rnd: rand.New(rand.NewPCG(seed, 7)), dir: t.TempDir(), config: Config{Hot: 3 * time.Hour, Retention: 40 * time.Hour}, want: newMemory(), now: noon.Add(-24 * time.Hour)}
			h.want.retention = h.config.Retention
			h.have = openFor(t, h.dir, h.config)
			h.all = day(800)[:max(100, 200/few)]
			for range 40 {
				h.step(t)
			}
			sameAnswers(t, h.want, h.have, h.all)
		})
	}
}

type history struct {
	rnd    *rand.Rand
	dir    string
	config Config
	want   *memory
	have   *SQLite
	now    time.Time
	all    []Joined
}

func (h *history) step(t *testing.T) {
	t.Helper()
	both := []Keeper{h.want, h.have}
	switch h.rnd.IntN(8) {
	case 0, 1, 2:
		some := h.some()
		for _, s := range both {
			put(t, s, some...)
		}
	case 3, 4:
		h.now = h.now.Add(time.Duration(h.rnd.Int64N(int64(5 * time.Hour))))
		fallthrough
	case 5:
		for _, s := range both {
			maintain(t, s, h.now)
		}
	case 6:
		name := fmt.Sprint(h.rnd.IntN(2))
		hold := Hold{Name: name, Owner: fmt.Sprintf("team-%d", h.rnd.IntN(3))}
		for _, s := range both {
			if err := s.Release(t.Context(), name); err != nil && s.Hold(t.Context(), hold) != nil {
				t.Fatal(err)
			}
		}
	case 7:
		if err := h.have.Close(); err != nil {
			t.Fatal(err)
		}
		h.have = openFor(t, h.dir, h.config)
	}
	if a, b := find(t, h.want, Query{}), find(t, h.have, Query{}); len(a) != len(b) {
		t.Fatalf("%d records, want %d", len(b), len(a))
	}
}

// some records, as they were or otherwise, and some at another time.
func (h *history) some() []Joined {
	var some []Joined
	for range 1 + h.rnd.IntN(30) {
		j := h.all[h.rnd.IntN(len(h.all))]
		if h.rnd.IntN(3) == 0 {
			j.Record = proto.CloneOf(j.Record)
			j.Record.State = crossingv1.Record_State(1 + h.rnd.IntN(5))
			j.Record.Transition.Owner = fmt.Sprintf("team-%d", h.rnd.IntN(4))
		}
		if h.rnd.IntN(6) == 0 {
			j = openedLater(j, time.Duration(h.rnd.Int64N(int64(20*time.Hour)))-10*time.Hour)
		}
		some = append(some, j)
	}
	return some
}

// openedLater is a record whose gateways' clocks are off.
func openedLater(j Joined, by time.Duration) Joined {
	j.Record = proto.CloneOf(j.Record)
	for _, end := range []*crossingv1.End{j.Record.GetEgress(), j.Record.GetIngress()} {
		if end != nil {
			end.Open = timestamppb.New(end.GetOpen().AsTime().Add(by))
		}
	}
	return j
}

// TestAllAtOnce: puts, questions and upkeep do not get into one another's way.
func TestAllAtOnce(t *testing.T) {
	s, all := openFor(t, t.TempDir(), Config{Hot: 1}), day(600)
	var wg sync.WaitGroup
	for i := range 3 {
		wg.Go(func() {
			for batch := range slices.Chunk(all[i*200:(i+1)*200], 20) {
				put(t, s, batch...)
			}
		})
	}
	wg.Go(func() {
		for i := range 12 {
			maintain(t, s, noon.Add(time.Duration(i-11)*2*time.Hour))
		}
	})
	wg.Go(func() {
		for range 10 {
			var last int64
			for _, j := range find(t, s, Query{}) {
				if openedAt(j.Record) < last {
					t.Error("records are not in their order")
				}
				last = openedAt(j.Record)
			}
			if _, err := s.Talkers(t.Context(), "aws", "azure", Window{}, 3); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Wait()
	maintain(t, s, noon.Add(days))
	mustHave(t, s, all)
	if n := inDatabase(t, s); n != 0 {
		t.Errorf("%d records in the database", n)
	}
}
