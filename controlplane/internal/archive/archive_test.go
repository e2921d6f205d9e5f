package archive

import (
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

const (
	aDay  = 20_000 * 24 // an hour, since 1970
	micro = 3_600_000_000
)

var always = Want{Since: -1 << 62, Until: 1 << 62}

// entries are n records of an hour, some of which agree in what can be asked for.
func entries(n int) []Entry {
	rnd := rand.New(rand.NewPCG(3, 4))
	states := []crossingv1.Record_State{crossingv1.Record_JOINED, crossingv1.Record_ONE_SIDED, crossingv1.Record_DISAGREE, crossingv1.Record_OPEN}
	all := make([]Entry, n)
	for i := range all {
		opened := int64(aDay)*micro + int64(i)*micro/int64(n)
		one := func(of string, n int) string { return fmt.Sprintf("%s-%d", of, rnd.IntN(n)) }
		end := &crossingv1.End{Gateway: "spiffe://a/gateway", Open: timestamppb.New(time.UnixMicro(opened)), RequestBytes: rnd.Uint64(), Decision: crossingv1.Decision(1 + rnd.IntN(2))}
		all[i] = Entry{Opened: opened, Egress: "spiffe://a/gateway", Ingress: one("spiffe://b/gateway", 2), Record: &crossingv1.Record{
			Id: fmt.Sprintf("id-%d", i), Trace: fmt.Sprintf("trace-%d", i/3), State: states[rnd.IntN(4)],
			Source: one("source", 5), Destination: one("source", 5), Operation: &crossingv1.Operation{Service: one("service", 3)},
			Transition: &crossingv1.Transition{From: one("env", 3), To: one("env", 3), Owner: one("team", 3)}, Egress: end,
		}}
	}
	return all
}

func open(t testing.TB, dir string) *Archive {
	t.Helper()
	a, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func each(all []Entry) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		for _, e := range all {
			if !yield(e, nil) {
				return
			}
		}
	}
}

func write1(t testing.TB, a *Archive, hour int64, all []Entry) {
	t.Helper()
	if err := a.Write(hour, each(all)); err != nil {
		t.Fatal(err)
	}
}

func read1(t testing.TB, a *Archive, hour int64, w Want) []Entry {
	t.Helper()
	var all []Entry
	for e, err := range a.Read(t.Context(), hour, w) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
	return all
}

func same(a, b Entry) bool {
	return a.Opened == b.Opened && a.Egress == b.Egress && a.Ingress == b.Ingress && proto.Equal(a.Record, b.Record)
}

func TestReadIsWhatWasWritten(t *testing.T) {
	a, all := open(t, t.TempDir()), entries(3_000)
	write1(t, a, aDay, all)
	if got := read1(t, a, aDay, always); !slices.EqualFunc(got, all, same) {
		t.Errorf("%d of %d records, or others", len(got), len(all))
	}
	w := always
	w.Back = true
	got := read1(t, a, aDay, w)
	slices.Reverse(got)
	if !slices.EqualFunc(got, all, same) {
		t.Errorf("%d of %d records, or others, backwards", len(got), len(all))
	}
}

// TestWantIsAFilter compares each kind of question with a look at every record.
func TestWantIsAFilter(t *testing.T) {
	a, all := open(t, t.TempDir()), entries(2_000)
	write1(t, a, aDay, all)
	denied := func(e Entry) bool { return e.Record.GetEgress().GetDecision() == crossingv1.Decision_DENY }
	for name, c := range map[string]struct {
		want  func(*Want)
		holds func(e Entry) bool
	}{
		"window": {func(w *Want) { w.Since, w.Until = all[100].Opened, all[1500].Opened }, func(e Entry) bool { return e.Opened >= all[100].Opened && e.Opened < all[1500].Opened }},
		"id":     {func(w *Want) { w.ID = "id-77" }, func(e Entry) bool { return e.Record.GetId() == "id-77" }},
		"no id":  {func(w *Want) { w.ID = "id-77'" }, func(Entry) bool { return false }},
		"trace":  {func(w *Want) { w.Trace = "trace-99" }, func(e Entry) bool { return e.Record.GetTrace() == "trace-99" }},
		"identity": {func(w *Want) { w.Identity = "source-2" }, func(e Entry) bool {
			return e.Record.GetSource() == "source-2" || e.Record.GetDestination() == "source-2"
		}},
		"pair": {func(w *Want) { w.From, w.To = "env-1", "env-2" }, func(e Entry) bool {
			return e.Record.GetTransition().GetFrom() == "env-1" && e.Record.GetTransition().GetTo() == "env-2"
		}},
		"owner":   {func(w *Want) { w.Owner = "team-1" }, func(e Entry) bool { return e.Record.GetTransition().GetOwner() == "team-1" }},
		"service": {func(w *Want) { w.Service = "service-1" }, func(e Entry) bool { return e.Record.GetOperation().GetService() == "service-1" }},
		"denied":  {func(w *Want) { w.Denied = true }, denied},
		"unmatched": {func(w *Want) { w.Unmatched = true }, func(e Entry) bool {
			return e.Record.GetState() == crossingv1.Record_ONE_SIDED || e.Record.GetState() == crossingv1.Record_DISAGREE
		}},
	} {
		w := always
		c.want(&w)
		meant := slices.DeleteFunc(slices.Clone(all), func(e Entry) bool { return !c.holds(e) })
		if got := read1(t, a, aDay, w); !slices.EqualFunc(got, meant, same) {
			t.Errorf("%s: %d records, want %d", name, len(got), len(meant))
		}
	}
}

// TestLaterVersionReplaces the earlier one, also where a process was killed between.
func TestLaterVersionReplaces(t *testing.T) {
	dir := t.TempDir()
	a, all := open(t, dir), entries(20)
	write1(t, a, aDay, all)
	first, _ := a.name(aDay)
	old, err := os.ReadFile(a.path(first))
	if err != nil {
		t.Fatal(err)
	}
	write1(t, a, aDay, all[:5])
	for file, content := range map[string][]byte{first.String(): old, "1" + unnamed: []byte("half"), "notes.txt": []byte("not ours")} {
		if err := os.WriteFile(filepath.Join(dir, file), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	a = open(t, dir)
	if got := read1(t, a, aDay, always); !slices.EqualFunc(got, all[:5], same) {
		t.Errorf("read %d records", len(got))
	}
	left, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(left) != 2 || !slices.Contains(left, filepath.Join(dir, "notes.txt")) {
		t.Errorf("left: %v, %v", left, err)
	}
}

// TestFailedWriteChangesNothing of what there was.
func TestFailedWriteChangesNothing(t *testing.T) {
	dir := t.TempDir()
	a, all := open(t, dir), entries(20)
	write1(t, a, aDay, all)
	broken := errors.New("broken")
	err := a.Write(aDay, func(yield func(Entry, error) bool) { _ = yield(all[0], nil) && yield(Entry{}, broken) })
	if !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
	if got := read1(t, a, aDay, always); !slices.EqualFunc(got, all, same) {
		t.Errorf("read %d records", len(got))
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) != 1 {
		t.Errorf("left: %v", left)
	}
}

// TestAnyChangedByteIsFound, and the file named.
func TestAnyChangedByteIsFound(t *testing.T) {
	dir := t.TempDir()
	a := open(t, dir)
	write1(t, a, aDay, entries(5))
	write1(t, a, aDay+1, entries(5))
	n, _ := a.name(aDay)
	whole, err := os.ReadFile(a.path(n))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(whole); i += 37 {
		changed := slices.Clone(whole)
		changed[i] ^= 1
		mustBeDamaged(t, dir, n, changed)
	}
	mustBeDamaged(t, dir, n, whole[:len(whole)-1])
	mustBeDamaged(t, dir, n, nil)
}

func mustBeDamaged(t *testing.T, dir string, n name, content []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, n.String()), content, 0o600); err != nil {
		t.Fatal(err)
	}
	a := open(t, dir)
	for _, err := range a.Read(t.Context(), n.hour, always) {
		if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), n.String()) {
			t.Errorf("error %v", err)
		}
	}
	if err := a.Check(); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), n.String()) {
		t.Errorf("check: %v", err)
	}
	if got := read1(t, a, n.hour+1, always); len(got) != 5 {
		t.Errorf("the other hour has %d records", len(got))
	}
}

func TestMissingHour(t *testing.T) {
	a := open(t, t.TempDir())
	for _, err := range a.Read(t.Context(), aDay, always) {
		if !errors.Is(err, ErrMissing) {
			t.Errorf("error %v", err)
		}
	}
	if err := a.Remove(aDay); err != nil {
		t.Error(err)
	}
	write1(t, a, aDay, entries(1))
	if err := a.Remove(aDay); err != nil || a.Has(aDay) || len(a.Hours()) != 0 {
		t.Errorf("%v, %v", err, a.Hours())
	}
}

func TestNames(t *testing.T) {
	n := name{aDay, 3, strings.Repeat("5c", 32)}
	if got, ok := parseName(n.String()); !ok || got != n {
		t.Errorf("%v is %v, %v", n, got, ok)
	}
	for _, text := range []string{"", suffix, "2026-11-27T10Z.1.parquet", "2026-11-27T10Z.01." + n.digest + suffix, "2026-11-27T25Z.1." + n.digest + suffix, n.String() + "x", "2026-11-27T10Z.1.5c.parquet"} {
		if got, ok := parseName(text); ok {
			t.Errorf("%q is %v", text, got)
		}
	}
}
