package disktest

import (
	"bytes"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"github.com/sallyport-mesh/sallyport/gateway/internal/recorder/disk"
)

// create makes a file with a text.
func create(t *testing.T, sys disk.System, path, text string) disk.File {
	t.Helper()
	f, err := sys.Open(path, os.O_CREATE|os.O_EXCL|os.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte(text), 0); err != nil {
		t.Fatal(err)
	}
	return f
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// names are what a directory has; nil if it is not there.
func names(sys disk.System, dir string) (all []string) {
	entries, err := sys.List(dir)
	if err != nil {
		return nil
	}
	for _, e := range entries {
		all = append(all, e.Name)
	}
	return all
}

// TestCut: what was synced is there after any cut, and what was not may be.
func TestCut(t *testing.T) {
	m := NewMemory()
	must(t, m.MakeDir("/d"), m.SyncDir("/"))
	f := create(t, m, "/d/a", "kept")
	must(t, f.Sync(), m.SyncDir("/d"))
	if _, err := f.WriteAt([]byte("lost"), 4); err != nil {
		t.Fatal(err)
	}
	create(t, m, "/d/b", "b")
	must(t, m.Rename("/d/a", "/d/c"))
	for name, want := range map[string]struct {
		choose Choice
		names  []string
		path   string
		text   string
	}{
		"nothing":    {Nothing, []string{"a"}, "/d/a", "kept"},
		"everything": {Everything, []string{"b", "c"}, "/d/c", "keptlost"},
	} {
		after := m.Cut(want.choose)
		text, err := disk.ReadFile(after, want.path)
		if got := names(after, "/d"); !slices.Equal(got, want.names) || string(text) != want.text {
			t.Errorf("%s: %q, %q, %v", name, got, text, err)
		}
	}
	if got := names(m, "/d"); !slices.Equal(got, []string{"b", "c"}) {
		t.Errorf("a cut has changed what is there: %q", got)
	}
}

// TestCutTears: of what was not synced each sector is there or not, as it was at some
// time, and every way comes.
func TestCutTears(t *testing.T) {
	m := NewMemory()
	f := create(t, m, "/a", "")
	must(t, m.SyncDir("/"), f.Sync())
	for _, b := range []byte("xy") {
		if _, err := f.WriteAt(bytes.Repeat([]byte{b}, 2*sector), 0); err != nil {
			t.Fatal(err)
		}
	}
	seen := map[string]bool{}
	choose := rand.New(rand.NewPCG(1, 2)).IntN
	for range 500 {
		text, err := disk.ReadFile(m.Cut(choose), "/a")
		if err != nil {
			t.Fatal(err)
		}
		way := ""
		for len(text) > 0 {
			n := min(sector, len(text))
			if len(bytes.Trim(text[:n], string(text[:1]))) > 0 {
				t.Fatalf("a sector is of several times: %q", text[:n])
			}
			way, text = way+string(text[:1]), text[n:]
		}
		seen[way] = true
	}
	if len(seen) != 10 { // none, and two sectors of three versions each
		t.Errorf("%d ways: %v", len(seen), seen)
	}
}

// TestKill: what a process wrote outlives it, as unsynced as it was, and it does
// nothing more.
func TestKill(t *testing.T) {
	m := NewMemory()
	must(t, m.MakeDir("/d"))
	f := create(t, m, "/d/a", "x")
	if _, err := m.Lock("/d"); err != nil {
		t.Fatal(err)
	}
	next := m.Kill()
	if text, err := disk.ReadFile(next, "/d/a"); string(text) != "x" || err != nil {
		t.Errorf("there is %q, %v", text, err)
	}
	if _, err := next.Lock("/d"); err != nil {
		t.Errorf("Lock = %v", err)
	}
	if got := names(next.Cut(Nothing), "/d"); got != nil {
		t.Errorf("a kill has synced %q", got)
	}
	_, write := f.WriteAt([]byte("y"), 0)
	_, open := m.Open("/d/b", os.O_CREATE|os.O_RDWR)
	for _, err := range []error{write, open, f.Sync(), f.Truncate(0), m.Rename("/d/a", "/d/b"), m.Remove("/d/a"), m.MakeDir("/e"), m.SyncDir("/d")} {
		if !errors.Is(err, ErrDisk) {
			t.Errorf("a process that was killed: %v", err)
		}
	}
}

// TestDirectories: a directory moves with what is in it, and goes only when it is empty.
func TestDirectories(t *testing.T) {
	m := NewMemory()
	must(t, m.MakeDir("/d/e"))
	create(t, m, "/d/e/a", "x")
	if err := m.Remove("/d"); !errors.Is(err, fs.ErrExist) {
		t.Errorf("Remove = %v", err)
	}
	must(t, m.Rename("/d/e", "/d/f"))
	if got := names(m, "/d/f"); !slices.Equal(got, []string{"a"}) || names(m, "/d/e") != nil {
		t.Errorf("there is %q", got)
	}
	must(t, m.Remove("/d/f/a"), m.Remove("/d/f"), m.Remove("/d"))
	for _, err := range []error{m.Remove("/d"), m.Rename("/d", "/e")} {
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%v, want that there is none", err)
		}
	}
	if _, err := m.Open("/d/a", os.O_CREATE|os.O_RDWR); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open = %v in a directory that is gone", err)
	}
}

// TestLikeTheRealOne: both file systems do the same.
func TestLikeTheRealOne(t *testing.T) {
	for name, c := range map[string]struct {
		sys disk.System
		dir string
	}{"memory": {NewMemory(), "/d"}, "real": {disk.OS{}, t.TempDir() + "/d"}} {
		t.Run(name, func(t *testing.T) { testSystem(t, c.sys, c.dir) })
	}
}

func testSystem(t *testing.T, sys disk.System, dir string) {
	if there, err := disk.Exists(sys, dir); there || err != nil {
		t.Errorf("Exists = %t, %v", there, err)
	}
	must(t, sys.MakeDir(dir), sys.MakeDir(dir))
	lock, err := sys.Lock(dir)
	must(t, err)
	if _, err := sys.Lock(dir); !errors.Is(err, disk.ErrInUse) {
		t.Errorf("a second Lock = %v", err)
	}
	must(t, lock.Close())
	if err := lock.Close(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("a second Close = %v", err)
	}
	must(t, disk.Replace(sys, dir+"/a", []byte("first")), disk.Replace(sys, dir+"/a", []byte("2nd")))
	if text, err := disk.ReadFile(sys, dir+"/a"); string(text) != "2nd" || err != nil {
		t.Errorf("ReadFile = %q, %v", text, err)
	}
	f, err := sys.Open(dir+"/a", os.O_RDWR)
	must(t, err)
	must(t, f.Truncate(1), f.Sync())
	if n, err := f.Size(); n != 1 || err != nil {
		t.Errorf("Size = %d, %v", n, err)
	}
	if n, err := f.ReadAt(make([]byte, 2), 0); n != 1 || err == nil {
		t.Errorf("ReadAt = %d, %v", n, err)
	}
	must(t, f.Close())
	if _, err := sys.Open(dir+"/a", os.O_CREATE|os.O_EXCL|os.O_RDWR); !errors.Is(err, fs.ErrExist) {
		t.Errorf("Open = %v of one that is there", err)
	}
	if _, err := sys.Open(dir+"/b", os.O_RDONLY); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open = %v of one that is not", err)
	}
	if got := names(sys, dir); !slices.Equal(got, []string{"a", disk.LockFile}) {
		t.Errorf("there is %q", got)
	}
}
