package recorder

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/internal/recorder/disk"
	"github.com/sallyport-mesh/sallyport/gateway/internal/recorder/spool"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// begun is a run of a gateway whose spool is dir.
func begun(t *testing.T, dir string, p *plane, lock *os.File) *Recorder {
	t.Helper()
	cfg := Config{Dir: dir, Gateway: self, Connect: nobody, Lock: lock}
	if p != nil {
		cfg.Connect = p.connect
	}
	r, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// runUntil runs a recorder until stop is called.
func runUntil(t *testing.T, r *Recorder) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	return func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run = %v", err)
		}
	}
}

// goesOn records a crossing that goes on.
func goesOn(t *testing.T, r *Recorder) *crossingv1.Half {
	t.Helper()
	h := half(r.RunID(), r.Next(peer.String()))
	if err := r.Open(h, true, false); err != nil {
		t.Fatal(err)
	}
	return h
}

// names are what is in a spool beside its lock.
func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		if e.Name() != disk.LockFile {
			all = append(all, e.Name())
		}
	}
	return all
}

// awaitNames waits until only that is in a spool.
func awaitNames(t *testing.T, dir string, want ...string) {
	t.Helper()
	slices.Sort(want)
	for deadline := time.Now().Add(30 * time.Second); !slices.Equal(names(t, dir), want); <-time.After(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("in the spool are %q, want %q", names(t, dir), want)
		}
	}
}

// causes are the ends that the plane was told of, by crossing.
func (p *plane) causes(t *testing.T) map[string]string {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	all := map[string]string{}
	for frame := range p.frames {
		cause, id, _ := strings.Cut(frame, " ")
		if cause == crossingv1.Cause_CAUSE_UNSPECIFIED.String() {
			continue // an opening
		}
		if all[id] != "" {
			t.Errorf("crossing %s ended as %s and as %s", id, all[id], cause)
		}
		all[id] = cause
	}
	return all
}

// TestSideBySide: two processes of a gateway record beside each other, and the
// one that stays takes over what the other one leaves, and only then.
func TestSideBySide(t *testing.T) {
	dir, p := t.TempDir(), newPlane(t)
	old := begun(t, dir, nil, nil) // it reaches nobody
	lock, err := old.Lock()
	if err != nil {
		t.Fatal(err)
	}
	next := begun(t, dir, p, lock)
	if old.RunID() == next.RunID() {
		t.Fatal("two runs have one id")
	}
	stop := runUntil(t, next)
	ended, open := goesOn(t, old), goesOn(t, old)
	mine := goesOn(t, next)
	p.await(t, 1)
	if err := old.Close(closeOf(ended)); err != nil {
		t.Fatal(err)
	}
	if err := next.Close(closeOf(mine)); err != nil {
		t.Fatal(err)
	}
	p.await(t, 2)
	awaitNames(t, dir, old.RunID(), next.RunID())
	if err := old.CloseSpool(); err != nil { // as the kernel would
		t.Fatal(err)
	}
	p.await(t, 6)
	awaitNames(t, dir, next.RunID())
	want := map[string]string{ended.GetId(): "DONE", mine.GetId(): "DONE", open.GetId(): "GATEWAY_STOPPED"}
	if got := p.causes(t); !maps.Equal(got, want) {
		t.Errorf("crossings ended as %v, want %v", got, want)
	}
	if n := next.Pending(); n != 0 {
		t.Errorf("%d bytes wait", n)
	}
	stop()
	awaitNames(t, dir)
}

// TestLockIsHandedOn: whoever was handed the lock keeps others out when the first
// holder has gone.
func TestLockIsHandedOn(t *testing.T) {
	dir := t.TempDir()
	old := begun(t, dir, nil, nil)
	lock, err := old.Lock()
	if err != nil {
		t.Fatal(err)
	}
	next := begun(t, dir, nil, lock)
	if err := old.CloseSpool(); err != nil {
		t.Fatal(err)
	}
	if _, err := New(Config{Dir: dir, Gateway: self, Connect: nobody}); !errors.Is(err, ErrInUse) {
		t.Errorf("a stranger: %v, want ErrInUse", err)
	}
	if err := next.CloseSpool(); err != nil {
		t.Fatal(err)
	}
	if err := begun(t, dir, nil, nil).CloseSpool(); err != nil {
		t.Error(err)
	}
	awaitNames(t, dir) // none of them had recorded anything
}

// TestEarlierLayout: a spool whose files stand in its own directory becomes a
// run's, also if a crash cuts the move off at any step.
func TestEarlierLayout(t *testing.T) {
	for name, cut := range map[string]func(t *testing.T, dir string){
		"whole": func(*testing.T, string) {},
		"moved away": func(t *testing.T, dir string) {
			if err := os.Rename(dir, dir+earlierSuffix); err != nil {
				t.Fatal(err)
			}
		},
		"made anew": func(t *testing.T, dir string) {
			if err := errors.Join(os.Rename(dir, dir+earlierSuffix), os.Mkdir(dir, 0o700)); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir, p := filepath.Join(t.TempDir(), "spool"), newPlane(t)
			old := open(t, dir, spool.SegmentSize)
			left := goesOn(t, old)
			if err := old.CloseSpool(); err != nil {
				t.Fatal(err)
			}
			cut(t, dir)
			r := begun(t, dir, p, nil)
			stop := runUntil(t, r)
			p.await(t, 2)
			awaitNames(t, dir, r.RunID())
			if got := p.causes(t)[left.GetId()]; got != "GATEWAY_STOPPED" {
				t.Errorf("the crossing ended with %s", got)
			}
			stop()
			if _, err := os.Stat(dir + earlierSuffix); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the earlier spool: %v", err)
			}
		})
	}
}

// TestKeptForPeople: what a person is to look at outlives its run.
func TestKeptForPeople(t *testing.T) {
	dir, p := t.TempDir(), newPlane(t)
	old := begun(t, dir, nil, nil)
	goesOn(t, old)
	if err := os.WriteFile(filepath.Join(old.cfg.Dir, rejectedFile), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := old.CloseSpool(); err != nil {
		t.Fatal(err)
	}
	r := begun(t, dir, p, nil)
	stop := runUntil(t, r)
	awaitNames(t, dir, r.RunID(), old.RunID()+"-"+rejectedFile)
	stop()
}

// TestRunsShareTheSpool: what another run has not delivered is not there for this
// one to use.
func TestRunsShareTheSpool(t *testing.T) {
	dir := t.TempDir()
	old := begun(t, dir, nil, nil)
	goesOn(t, old)
	if err := old.CloseSpool(); err != nil {
		t.Fatal(err)
	}
	r, err := New(Config{Dir: dir, Gateway: self, MaxBytes: 1000, Connect: nobody})
	if err != nil {
		t.Fatal(err)
	}
	defer r.CloseSpool()
	if err := r.Open(half(r.RunID(), 1), false, false); !errors.Is(err, ErrFull) {
		t.Errorf("Open = %v, want ErrFull", err)
	}
	if size := r.runs.size(); size == 0 || !filepath.IsAbs(r.cfg.Dir) {
		t.Errorf("the other run has %d bytes", size)
	}
}

// TestFaultyRun: one run that cannot be read does not keep others' records back.
func TestFaultyRun(t *testing.T) {
	dir, p := t.TempDir(), newPlane(t)
	faulty := filepath.Join(dir, "00000000000000000000000000000000")
	if err := errors.Join(os.Mkdir(faulty, 0o700), os.WriteFile(filepath.Join(faulty, openFile), []byte("torn"), 0o600)); err != nil {
		t.Fatal(err)
	}
	old := begun(t, dir, nil, nil)
	goesOn(t, old)
	if err := old.CloseSpool(); err != nil {
		t.Fatal(err)
	}
	r := begun(t, dir, p, nil)
	stop := runUntil(t, r)
	p.await(t, 2)
	awaitNames(t, dir, r.RunID(), filepath.Base(faulty))
	stop()
}
