package translog

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/sallyport-mesh/sallyport/controlplane/internal/store"
	logv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/log/v1"
)

// texts are entries, or copies of them, as text.
func texts(entries [][]byte) (all []string) {
	for _, data := range entries {
		all = append(all, string(data))
	}
	return all
}

// inTree are the encoded entries of a log.
func inTree(t testing.TB, r *Reader) (all []string) {
	t.Helper()
	size, _, err := r.tree()
	if err != nil {
		t.Fatal(err)
	}
	for _, data := range encoded(t, r, size) {
		all = append(all, string(data))
	}
	return all
}

// TestArchiveFirst: what Add has returned of is in the archive, in the order of the tree and
// once, however many add at once.
func TestArchiveFirst(t *testing.T) {
	t.Parallel()
	k := &kept{dir: t.TempDir(), archive: &memory{}}
	l := k.open(t, k.archive)
	var callers sync.WaitGroup
	for c := range 8 {
		callers.Go(func() {
			for n := range 20 {
				if err := l.Add(t.Context(), frame(1000*c+n)); err != nil {
					t.Error(err)
				}
				is := func(data []byte) bool {
					e := new(logv1.Entry)
					return proto.Unmarshal(data, e) == nil && string(e.GetFrame()) == string(frame(1000*c+n).GetFrame())
				}
				if !slices.ContainsFunc(k.archive.copies(), is) {
					t.Errorf("frame %d is not in the archive", 1000*c+n)
				}
			}
		})
	}
	callers.Wait()
	if got := inTree(t, l.Reader); len(got) != 160 || !slices.Equal(got, texts(k.archive.copies())) {
		t.Errorf("the tree has %d entries, the archive %d, or others", len(got), len(k.archive.copies()))
	}
}

// TestArchiveFails: while the archive takes nothing, the log does not, and what was not taken
// can be added again when it is over, once.
func TestArchiveFails(t *testing.T) {
	t.Parallel()
	k := &kept{dir: t.TempDir(), archive: &memory{}}
	l := k.open(t, k.archive)
	add(t, l, frames(0, 5)...)
	full := errors.New("the archive is full")
	k.archive.mu.Lock()
	k.archive.failing = full
	k.archive.mu.Unlock()
	if err := l.Add(t.Context(), frames(5, 9)...); !errors.Is(err, full) {
		t.Errorf("Add: %v, want %v", err, full)
	}
	if got := inTree(t, l.Reader); len(got) != 5 {
		t.Errorf("the tree has %d entries, want 5", len(got))
	}
	k.archive.mu.Lock()
	k.archive.failing = nil
	k.archive.mu.Unlock()
	add(t, l, frames(0, 9)...)
	if got := inTree(t, l.Reader); len(got) != 9 || !slices.Equal(got, texts(k.archive.copies())) {
		t.Errorf("the tree has %d entries, the archive %d, or others", len(got), len(k.archive.copies()))
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if err := l.Add(t.Context(), frame(10)); !errors.Is(err, errClosed) {
		t.Errorf("Add to a closed log: %v, want %v", err, errClosed)
	}
}

// TestArchiveUnavailable: a log whose archive cannot be asked does not open: what it took
// could not be kept.
func TestArchiveUnavailable(t *testing.T) {
	t.Parallel()
	k := keep(t, 10)
	gone := errors.New("the archive is gone")
	if _, err := Open(t.Context(), k.config(&memory{failing: gone})); !errors.Is(err, gone) {
		t.Errorf("Open: %v, want %v", err, gone)
	}
	k.goesOn(t)
}

// TestArchiveCompleted: an archive that lacks entries of a log has them when it is open,
// and an archive that has all is not written to.
func TestArchiveCompleted(t *testing.T) {
	t.Parallel()
	k := keep(t, 2500)
	all := k.archive.copies()
	stray := []byte("never taken")
	for _, test := range []struct {
		name string
		has  [][]byte
		want [][]byte
	}{
		{"nothing", nil, all},
		{"all", all, all},
		{"the first ones", all[:1700], all},
		{"all, and what was never taken", append(slices.Clone(all), stray, stray, stray, stray), append(slices.Clone(all), stray, stray, stray, stray)},
		{"the first ones, and what was never taken", append(slices.Clone(all[:2499]), stray), append(slices.Clone(all[:2499]), stray, all[2499])},
		{"all but one within", slices.Delete(slices.Clone(all), 2000, 2001), slices.Delete(slices.Clone(all), 2000, 2001)},
		{"all but the last of those within", slices.Delete(slices.Clone(all), 2000, 2500), all},
	} {
		t.Run(test.name, func(t *testing.T) {
			archive := k.archive.with(slices.Clone(test.has))
			if err := k.copy(t).open(t, archive).Close(); err != nil {
				t.Fatal(err)
			}
			if got := archive.copies(); !slices.Equal(texts(got), texts(test.want)) {
				t.Errorf("the archive has %d entries, want %d, or others", len(got), len(test.want))
			}
		})
	}
}

// TestArchiveAfterDiskFailed: what the tree could not take is in the archive all the same,
// and does not keep damage from being mended.
func TestArchiveAfterDiskFailed(t *testing.T) {
	t.Parallel()
	k := &kept{dir: t.TempDir(), archive: &memory{}, size: 400}
	l := k.open(t, k.archive)
	add(t, l, frames(0, 300)...)
	at, away := filepath.Join(l.tiles(), "tile"), filepath.Join(t.TempDir(), "tile")
	if err := errors.Join(os.Rename(at, away), os.WriteFile(at, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := l.Add(t.Context(), frames(300, 400)...); err == nil {
		t.Error("it is taken")
	}
	if err := errors.Join(os.Remove(at), os.Rename(away, at)); err != nil {
		t.Fatal(err)
	}
	add(t, l, frames(300, 400)...)
	k.root = awaitSize(t, l.Reader, 400).Root
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if got := len(k.archive.copies()); got != 500 {
		t.Errorf("the archive has %d entries, want 500", got)
	}
	k.files = k.read(t)
	k.damage(t, "tile/entries/001.p/144", ways[2])
	k.damage(t, "tile/0/001.p/144", ways[2])
	if _, err := k.mend(t, k.archive); err != nil {
		t.Error(err)
	}
	k.same(t)
	k.goesOn(t)
}

// TestSetWithDamage: a log that is damaged takes nothing, the others go on, and so does it
// when its file is put back.
func TestSetWithDamage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	begin := func() *Set {
		set, err := OpenSet(t.Context(), SetConfig{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		return set
	}
	set := begin()
	for _, td := range []string{"aws.test", "azure.test"} {
		if err := set.Add(t.Context(), td, frames(0, 300)...); err != nil {
			t.Fatal(err)
		}
	}
	if err := set.Close(); err != nil {
		t.Fatal(err)
	}
	if err := set.Add(t.Context(), "gcp.test", frame(0)); !errors.Is(err, errClosed) {
		t.Errorf("Add to a closed set: %v, want %v", err, errClosed)
	}
	path := filepath.Join(dir, "aws.test", tilesName, "tile/entries/000")
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	set = begin()
	defer set.Close()
	if err := set.Add(t.Context(), "aws.test", frame(300)); !errors.Is(err, ErrDamaged) || !errors.Is(set.Failed()["aws.test"], ErrDamaged) {
		t.Errorf("Add to the damaged log: %v, want ErrDamaged", err)
	}
	if err := set.Add(t.Context(), "azure.test", frame(300)); err != nil {
		t.Errorf("Add to the other log: %v", err)
	}
	if err := os.Rename(path+".away", path); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); set.Add(t.Context(), "aws.test", frame(300)) != nil; <-time.After(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(set.Failed())
		}
	}
}

// BenchmarkAddKept is BenchmarkAdd with an archive: the store of the control plane.
func BenchmarkAddKept(b *testing.B) {
	s, err := store.Open(b.Context(), store.Config{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	k := &kept{dir: b.TempDir()}
	l := k.open(b, s)
	n := 0
	for b.Loop() {
		add(b, l, frames(n, n+100)...)
		n += 100
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "entries/s")
	l.Close()
}
