package recorder

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/internal/recorder/disk"
	"github.com/sallyport-mesh/sallyport/gateway/internal/recorder/disk/disktest"
	"github.com/sallyport-mesh/sallyport/gateway/internal/recorder/spool"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// kept is a gateway with books, all of it in memory.
type kept struct {
	*Recorder
	books *ledger
	stop  func()
}

// keeping begins a run with books, and runs it.
func keeping(t *testing.T, sys disk.System, p *plane) kept {
	t.Helper()
	k := kept{books: newLedger()}
	cfg := Config{System: sys, Dir: powerDir, Gateway: self, Connect: nobody, Books: k.books}
	if p != nil {
		cfg.Connect = p.connect
	}
	var err error
	if k.Recorder, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	k.books.attach(k.Recorder)
	k.stop = k.run(t)
	return k
}

func (k kept) run(t *testing.T) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- k.Run(ctx) }()
	return func() {
		t.Helper()
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run = %v", err)
		}
	}
}

// there are the files of the spool, and of its runs.
func there(t *testing.T, sys disk.System) (names []string) {
	t.Helper()
	entries, err := sys.List(powerDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name != disk.LockFile {
			names = append(names, e.Name)
		}
	}
	return names
}

// TestBooksAfterAnEnd: a run that ended with frames that were not stated is there until
// they are, and the books of the next one know them; what was stated is not told as
// new, wherever it is kept.
func TestBooksAfterAnEnd(t *testing.T) { synctest.Test(t, testBooksAfterAnEnd) }

func testBooksAfterAnEnd(t *testing.T) {
	sys, p := disktest.NewMemory(), newPlane(t)
	old := keeping(t, sys, p)
	stated := goesOn(t, old.Recorder)
	if err := old.books.state(); err != nil {
		t.Fatal(err)
	}
	left := goesOn(t, old.Recorder)
	if err := old.Close(closeOf(stated)); err != nil {
		t.Fatal(err)
	}
	old.stop()
	if got := there(t, sys); !slices.Contains(got, old.RunID()) || !slices.Contains(got, old.RunID()+chainsSuffix) {
		t.Fatalf("in the spool are %q", got)
	}
	next := keeping(t, sys, p)
	<-time.After(2 * lookInterval)
	if n := next.Pending(); n != 0 {
		t.Errorf("%d bytes wait", n)
	}
	if got := p.causes(t); got[left.GetId()] != "GATEWAY_STOPPED" || got[stated.GetId()] != "DONE" {
		t.Errorf("the crossings ended as %v", got)
	}
	next.books.check(t)
	a := next.books.chains[chainOf(left.GetKey())]
	if a.epoch != 1 || len(a.opened) != 1 || len(a.ends) != 2 {
		t.Errorf("the books have epoch %d, %d openings and %d ends; want 1, 1 and 2", a.epoch, len(a.opened), len(a.ends))
	}
	if !slices.Contains(there(t, sys), old.RunID()) {
		t.Error("the run is gone before it was stated")
	}
	if err := next.books.state(); err != nil {
		t.Fatal(err)
	}
	<-time.After(2 * lookInterval)
	if got, want := there(t, sys), []string{next.RunID(), next.RunID() + chainsSuffix}; !slices.Equal(got, want) {
		t.Errorf("in the spool are %q, want %q", got, want)
	}
	next.books.check(t)
	next.stop()
	if got, want := there(t, sys), []string{next.RunID() + chainsSuffix}; !slices.Equal(got, want) {
		t.Errorf("in the spool are %q, want %q", got, want)
	}
	if last := keeping(t, sys, p); last.books.chains[chainOf(left.GetKey())].epoch != 2 {
		t.Error("a third run does not know what was stated")
	} else {
		last.stop()
	}
}

// TestBooksSideBySide: each of two processes knows soon what the other records and
// states, and lets go of what the other has stated.
func TestBooksSideBySide(t *testing.T) { synctest.Test(t, testBooksSideBySide) }

func testBooksSideBySide(t *testing.T) {
	sys, p := disktest.NewMemory(), newPlane(t)
	old := keeping(t, sys, p)
	before := goesOn(t, old.Recorder)
	lock := old.runs.lock
	old.runs.lock = nothing{} // handed over
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	next := keeping(t, sys, p)
	if !next.books.hasOpening(before.GetKey()) {
		t.Error("the next process does not know what came before it")
	}
	during, mine := goesOn(t, old.Recorder), goesOn(t, next.Recorder)
	if err := old.Close(closeOf(before)); err != nil {
		t.Fatal(err)
	}
	<-time.After(2 * followInterval)
	if !next.books.hasOpening(during.GetKey()) || !next.books.hasEnd(before.GetKey()) || !old.books.hasOpening(mine.GetKey()) {
		t.Error("the processes do not know what each other records")
	}
	next.books.check(t)
	old.books.check(t)
	if frame, err := next.Frame(next.books.chains[chainOf(during.GetKey())].opened[2]); err != nil {
		t.Error(err)
	} else if f, err := crossing.UnmarshalFrame(frame); err != nil || f.GetOpen().GetId() != during.GetId() {
		t.Errorf("the other's frame is %v, %v", f, err)
	}
	if err := next.books.state(); err != nil {
		t.Fatal(err)
	}
	<-time.After(2 * followInterval)
	if n := old.spool.Held(); n != 0 {
		t.Errorf("the older process holds %d frames that the other has stated", n)
	}
	next.books.check(t)
	old.books.check(t)
	<-time.After(lookInterval)
	if taken, others := next.books.runs(); len(taken) > 0 || !slices.Equal(others, []string{old.RunID()}) {
		t.Errorf("beside %v, runs %v were taken over, and %v go on", old.RunID(), taken, others)
	}
	old.stop()
	<-time.After(2 * lookInterval)
	next.books.check(t)
	if _, others := next.books.runs(); len(others) > 0 {
		t.Errorf("%v go on after their end", others)
	}
	if !next.books.hasEnd(during.GetKey()) {
		t.Error("what the older process left open has no end")
	}
	next.stop()
}

// TestRetiredTakesNothingOver: runs that end are for the newest process.
func TestRetiredTakesNothingOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sys, p := disktest.NewMemory(), newPlane(t)
		r := keeping(t, sys, nil)
		goesOn(t, r.Recorder)
		r.stop()
		next := kept{books: newLedger()}
		var err error
		if next.Recorder, err = New(Config{System: sys, Dir: powerDir, Gateway: self, Connect: p.connect, Books: next.books}); err != nil {
			t.Fatal(err)
		}
		next.books.attach(next.Recorder)
		next.Retire()
		next.stop = next.run(t)
		<-time.After(3 * lookInterval)
		if taken, others := next.books.runs(); len(taken) > 0 || !slices.Equal(others, []string{r.RunID()}) {
			t.Errorf("%v were taken over, %v were not", taken, others)
		}
		next.stop()
	})
}

// TestCrashedTogether: runs that crashed are told to the books all at once, and ended, while
// nothing is delivered.
func TestCrashedTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sys := disktest.NewMemory()
		var runs []string
		var open []*crossingv1.Half
		for range 3 {
			books := newLedger()
			r, err := New(Config{System: sys, Dir: powerDir, Gateway: self, Connect: nobody, Books: books})
			if err != nil {
				t.Fatal(err)
			}
			books.attach(r)
			runs, open = append(runs, r.RunID()), append(open, goesOn(t, r))
			if err := r.CloseSpool(); err != nil { // none took the one before over
				t.Fatal(err)
			}
		}
		next := keeping(t, sys, nil)
		<-time.After(2 * lookInterval)
		if taken, others := next.books.runs(); !slices.Equal(taken, runs) || len(others) > 0 {
			t.Errorf("%v were taken over, %v were not; want %v", taken, others, runs)
		}
		for _, h := range open {
			if !next.books.hasEnd(h.GetKey()) {
				t.Errorf("crossing of run %s has no end", h.GetKey().GetRun())
			}
		}
		if n := next.Pending(); n == 0 {
			t.Error("something was delivered")
		}
		next.stop()
	})
}

// TestOrder: runs are read in the order in which they began.
func TestOrder(t *testing.T) {
	sys := disktest.NewMemory()
	var want []string
	for i := range 8 {
		r, err := New(Config{System: sys, Dir: powerDir, Gateway: self, Connect: nobody})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := r.runs.others(); !slices.Equal(got, want) || err != nil {
			t.Fatalf("before run %d are %q, %v; want %q", i, got, err, want)
		}
		want = append(want, r.cfg.Dir)
		goesOn(t, r)
		if err := r.CloseSpool(); err != nil {
			t.Fatal(err)
		}
	}
}

type nothing struct{}

func (nothing) Close() error { return nil }

// TestFrame: a place that is none has no frame.
func TestFrame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := keeping(t, disktest.NewMemory(), nil)
		h := goesOn(t, k.Recorder)
		at := k.books.chains[chainOf(h.GetKey())].opened[1]
		for _, no := range []uint64{0, at + 1, at + 1<<placeOffset, at + 1<<(placeOffset+placeSegment)} {
			if _, err := k.Frame(no); err == nil {
				t.Errorf("there is a frame at %x beside the one at %x", no, at)
			}
		}
		k.Stated(0, 1<<63) // of nobody
		k.books.check(t)
		k.stop()
	})
}

// TestPlaces: a place names its directory, segment and offset, and nothing else.
func TestPlaces(t *testing.T) {
	for _, index := range []uint64{1, 2, mostRuns} {
		for _, p := range []spool.Position{spool.At(1, 0), spool.At(7, 8), spool.At(1<<placeSegment-1, 1<<placeOffset-1)} {
			if i, q := placed(place(index, p)); i != index || q != p {
				t.Errorf("place of %d, %x is of %d, %x", index, p, i, q)
			}
		}
	}
	if most := int64(spool.SegmentSize + 1<<20 + crossing.MaxFrame + spool.HeaderSize); most >= 1<<placeOffset {
		t.Errorf("an offset may be %d", most)
	}
}

func state(run string, epoch uint64) *crossingv1.ChainState {
	return &crossingv1.ChainState{Chain: &crossingv1.Chain{Egress: "a", Ingress: "b", Run: run}, Side: crossingv1.Side_EGRESS, Epoch: epoch}
}

// TestNewest: of several states of a chain the one that knows most counts.
func TestNewest(t *testing.T) {
	answered, done := state("1", 2), state("1", 2)
	answered.Last = &crossingv1.Statement{Answer: []byte("x")}
	done.Last, done.Done = answered.Last, true
	other := state("1", 1)
	other.Side = crossingv1.Side_INGRESS
	rising := []*crossingv1.ChainState{state("1", 1), state("1", 2), answered, done}
	for i, a := range rising {
		for j, b := range rising {
			got := newest([]*crossingv1.ChainState{a, other}, []*crossingv1.ChainState{state("2", 9), b})
			if len(got) != 3 || !proto.Equal(got[0], rising[max(i, j)]) || got[1] != other {
				t.Errorf("of %v and %v: %v", a, b, got)
			}
		}
	}
}

// TestChainsDamaged: of a damaged file what is whole counts, and the gateway starts.
func TestChainsDamaged(t *testing.T) {
	run, sys := crossing.NewRun(), disktest.NewMemory()
	text, err := encodeChains([]*crossingv1.ChainState{state(run, 3), state("2", 4)})
	if err != nil {
		t.Fatal(err)
	}
	text[len(text)-1]++
	if err := errors.Join(sys.MakeDir(powerDir), disk.Replace(sys, filepath.Join(powerDir, run+chainsSuffix), text)); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		k := keeping(t, sys, nil)
		if got := k.books.chains[chain{"a", "b", run}]; got == nil || got.epoch != 3 || len(k.books.chains) != 1 {
			t.Errorf("the books have %v", k.books.chains)
		}
		k.stop()
	})
	if _, err := disk.ReadFile(sys, filepath.Join(powerDir, run+chainsSuffix)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file of the run that is gone: %v", err)
	}
}

// FuzzDecodeChains: whatever a disk has, what is decoded is what was encoded.
func FuzzDecodeChains(f *testing.F) {
	text, _ := encodeChains([]*crossingv1.ChainState{state("1", 3), state("2", 4)})
	f.Add(text)
	f.Add(text[:len(text)-1])
	f.Fuzz(func(t *testing.T, text []byte) {
		chains, err := decodeChains(text)
		again, eerr := encodeChains(chains)
		if eerr != nil {
			t.Fatal(eerr)
		}
		twice, terr := decodeChains(again)
		if terr != nil || len(twice) != len(chains) || err == nil && len(again) > 0 && len(chains) == 0 {
			t.Errorf("%d of %d chains, %v, %v", len(twice), len(chains), err, terr)
		}
	})
}
