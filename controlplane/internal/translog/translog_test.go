package translog

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/transparency-dev/tessera/fsck"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
	"google.golang.org/protobuf/proto"

	"github.com/sallyport-mesh/sallyport/controlplane/internal/store"
	logv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/log/v1"
)

const origin = "aws.test/sallyport/log"

func openLog(t testing.TB, dir string) *Log {
	t.Helper()
	l, err := Open(t.Context(), Config{Dir: dir, Origin: origin, Interval: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func frame(n int) *logv1.Entry { return &logv1.Entry{Frame: fmt.Appendf(nil, "frame %d", n)} }

func frames(from, to int) (all []*logv1.Entry) {
	for n := from; n < to; n++ {
		all = append(all, frame(n))
	}
	return all
}

func add(t testing.TB, l *Log, entries ...*logv1.Entry) {
	t.Helper()
	if err := l.Add(t.Context(), entries...); err != nil {
		t.Fatal(err)
	}
}

// awaitSize waits for a checkpoint of that size.
func awaitSize(t testing.TB, r *Reader, size uint64) *Checkpoint {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; <-time.After(20 * time.Millisecond) {
		c, err := r.Checkpoint(t.Context())
		if err == nil && c.Size >= size {
			return c
		}
		if time.Now().After(deadline) {
			t.Fatalf("no checkpoint of %d entries: %v, %v", size, c, err)
		}
	}
}

// said are the frames of a log's entries, in order.
func said(t testing.TB, r *Reader, size uint64) (all []string) {
	t.Helper()
	for e, err := range r.Entries(t.Context(), 0, size) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(e.GetFrame()))
	}
	return all
}

// TestAppend: what was added is in the tree, in order and once, over restarts, and the tree
// is one that x/mod's tlog and Tessera's fsck come to as well.
func TestAppend(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := openLog(t, dir)
	add(t, l, frames(0, 300)...)
	add(t, l, frames(290, 310)...)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = openLog(t, dir)
	add(t, l, frames(305, 520)...)
	c := awaitSize(t, l.Reader, 520)
	if c.Size != 520 || c.Origin != origin {
		t.Fatalf("checkpoint of %d entries of %q", c.Size, c.Origin)
	}
	for i, text := range said(t, l.Reader, c.Size) {
		if want := fmt.Sprintf("frame %d", i); text != want {
			t.Fatalf("entry %d is %q, want %q", i, text, want)
		}
	}
	if root := rebuilt(t, l.Reader, c.Size); root != tlog.Hash(c.Root) {
		t.Errorf("tlog comes to the root %s, the checkpoint says %x", root, c.Root)
	}
	check := fsck.New(origin, l.verifier, l.fetch, hashBundle, fsck.Opts{N: 2})
	if err := check.Check(t.Context()); err != nil {
		t.Errorf("fsck: %v", err)
	}
}

// hashBundle are the leaf hashes of an entry bundle.
func hashBundle(bundle []byte) (hashes [][]byte, err error) {
	for len(bundle) > 1 {
		n := int(bundle[0])<<8 | int(bundle[1])
		h := tlog.RecordHash(bundle[2 : 2+n])
		hashes, bundle = append(hashes, h[:]), bundle[2+n:]
	}
	return hashes, nil
}

// encoded are the entries of a tree of that size, in order.
func encoded(t testing.TB, r *Reader, size uint64) iter.Seq2[uint64, []byte] {
	return r.raw(t.Context(), 0, size, func(err error) { t.Errorf("read the log: %v", err) })
}

// rebuilt is the root of the entries by x/mod's tlog.
func rebuilt(t testing.TB, r *Reader, size uint64) tlog.Hash {
	t.Helper()
	var stored []tlog.Hash
	read := tlog.HashReaderFunc(func(indexes []int64) (hashes []tlog.Hash, err error) {
		for _, i := range indexes {
			hashes = append(hashes, stored[i])
		}
		return hashes, nil
	})
	for i, data := range encoded(t, r, size) {
		more, err := tlog.StoredHashes(int64(i), data, read)
		if err != nil {
			t.Fatal(err)
		}
		stored = append(stored, more...)
	}
	root, err := tlog.TreeHash(int64(size), read)
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// TestAtRises: an entry is not older than the one before, whatever the clock does.
func TestAtRises(t *testing.T) {
	t.Parallel()
	clock := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	dir := t.TempDir()
	begin := func() *Log {
		l, err := Open(t.Context(), Config{Dir: dir, Origin: origin, Interval: 100 * time.Millisecond, Now: func() time.Time { return clock }})
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	l := begin()
	add(t, l, frame(0))
	clock = clock.Add(-time.Hour)
	add(t, l, frame(1))
	l.Close()
	l = begin()
	defer l.Close()
	add(t, l, frame(2))
	clock = clock.Add(2 * time.Hour)
	add(t, l, frame(3))
	var at []string
	for e, err := range l.Entries(t.Context(), 0, awaitSize(t, l.Reader, 4).Size) {
		if err != nil {
			t.Fatal(err)
		}
		at = append(at, e.GetAt().AsTime().Format(time.TimeOnly))
	}
	if want := []string{"12:00:00", "12:00:00", "12:00:00", "13:00:00"}; !slices.Equal(at, want) {
		t.Errorf("entries are of %v, want %v", at, want)
	}
}

// TestSameAtOnce: of callers that add the same, none returns before it is durable, and it
// is there once.
func TestSameAtOnce(t *testing.T) {
	t.Parallel()
	l := openLog(t, t.TempDir())
	var callers sync.WaitGroup
	for range 8 {
		callers.Go(func() {
			if err := l.Add(t.Context(), frames(0, 50)...); err != nil {
				t.Error(err)
			}
			if size, _, err := l.tree(); err != nil || size != 50 {
				t.Errorf("the tree has %d entries when Add returns: %v", size, err)
			}
		})
	}
	callers.Wait()
}

// TestTooLarge: an entry that a tile could not have is refused, and what came before it is
// taken.
func TestTooLarge(t *testing.T) {
	t.Parallel()
	l := openLog(t, t.TempDir())
	err := l.Add(t.Context(), frame(1), &logv1.Entry{Frame: make([]byte, MaxEntry)}, frame(2))
	if !errors.Is(err, ErrTooLarge) {
		t.Errorf("Add: %v, want ErrTooLarge", err)
	}
	add(t, l, frame(1), frame(2), &logv1.Entry{Frame: make([]byte, MaxEntry-100)})
	if got := said(t, l.Reader, awaitSize(t, l.Reader, 3).Size); got[0] != "frame 1" || got[1] != "frame 2" || len(got) != 3 {
		t.Errorf("entries %.40q", got)
	}
}

// TestTwoWriters: a log has one.
func TestTwoWriters(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	openLog(t, dir)
	if _, err := Open(t.Context(), Config{Dir: dir, Origin: origin, Interval: 100 * time.Millisecond}); !errors.Is(err, ErrInUse) {
		t.Errorf("a second writer: %v, want ErrInUse", err)
	}
}

// grown makes a log of some entries and closes it.
func grown(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	l := openLog(t, dir)
	add(t, l, frames(0, 300)...)
	awaitSize(t, l.Reader, 300)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func copyTree(t *testing.T, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

// TestTampered: a log does not open on a tree that is not one that it has signed, and says
// what is wrong and what to do.
func TestTampered(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		tamper func(t *testing.T, dir string)
		want   string
	}{
		{"put back", func(t *testing.T, dir string) {
			old := t.TempDir()
			copyTree(t, filepath.Join(dir, tilesName), old)
			l := openLog(t, dir)
			add(t, l, frames(300, 400)...)
			awaitSize(t, l.Reader, 400)
			l.Close()
			os.RemoveAll(filepath.Join(dir, tilesName))
			copyTree(t, old, filepath.Join(dir, tilesName))
		}, "put back the log's directory"},
		{"tiles gone", func(t *testing.T, dir string) { os.RemoveAll(filepath.Join(dir, tilesName)) }, "put back the log's directory"},
		{"state gone", func(t *testing.T, dir string) { os.RemoveAll(filepath.Join(dir, tilesName, ".state")) }, "put back the log's directory"},
		{"another tree", func(t *testing.T, dir string) {
			other := t.TempDir()
			l := openLog(t, other)
			add(t, l, frames(1, 401)...)
			awaitSize(t, l.Reader, 400)
			l.Close()
			os.RemoveAll(filepath.Join(dir, tilesName))
			copyTree(t, filepath.Join(other, tilesName), filepath.Join(dir, tilesName))
		}, "are not the first ones"},
		{"what was signed is gone", func(t *testing.T, dir string) { os.Remove(filepath.Join(dir, signedName)) }, "put it back from a copy"},
		{"what was signed is not", func(t *testing.T, dir string) {
			os.WriteFile(filepath.Join(dir, signedName), []byte(origin+"\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n\n— x AAAA\n"), 0o600)
		}, "malformed note"},
		{"key gone", func(t *testing.T, dir string) { os.Remove(filepath.Join(dir, keyName)) }, "put the key back"},
		{"key spoilt", func(t *testing.T, dir string) { os.WriteFile(filepath.Join(dir, keyName), []byte("PRIVATE"), 0o600) }, "is no key of a signed note"},
		{"public key gone", func(t *testing.T, dir string) { os.Remove(filepath.Join(dir, vkeyName)) }, "no such file"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := grown(t)
			test.tamper(t, dir)
			_, err := Open(t.Context(), Config{Dir: dir, Origin: origin, Interval: 100 * time.Millisecond})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("Open: %v, want %q", err, test.want)
			}
		})
	}
}

// TestOtherOrigin: a log's directory is that log's.
func TestOtherOrigin(t *testing.T) {
	t.Parallel()
	if _, err := Open(t.Context(), Config{Dir: grown(t), Origin: "azure.test/sallyport/log"}); err == nil || !strings.Contains(err.Error(), origin) {
		t.Errorf("Open: %v", err)
	}
}

// TestForkWhileOpen: a log whose tree is put back while it is open signs it not, and takes
// nothing more.
func TestForkWhileOpen(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := openLog(t, dir)
	add(t, l, frames(0, 10)...)
	awaitSize(t, l.Reader, 10)
	old := t.TempDir()
	copyTree(t, filepath.Join(dir, tilesName), old)
	add(t, l, frames(10, 20)...)
	last := awaitSize(t, l.Reader, 20)
	for _, name := range []string{".state/treeState", "checkpoint", "tile/entries/000.p/10", "tile/0/000.p/10"} {
		text, err := os.ReadFile(filepath.Join(old, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, tilesName, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	add(t, l, frames(30, 45)...) // the tree has 25 entries now, of which 15 are others
	for deadline := time.Now().Add(20 * time.Second); l.Failed() == nil; <-time.After(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it goes on")
		}
	}
	if err := l.Failed(); !errors.Is(err, ErrRolledBack) {
		t.Errorf("Failed: %v", err)
	}
	if err := l.Add(t.Context(), frame(99)); !errors.Is(err, ErrRolledBack) {
		t.Errorf("Add: %v", err)
	}
	signed, err := l.signed()
	if err != nil || signed.Size != last.Size || signed.Root != last.Root {
		t.Errorf("the last that is signed: %v %v, want that of %d entries", signed, err, last.Size)
	}
}

// TestProofs: an entry's audit path and the proof of growth are what x/mod's tlog takes.
func TestProofs(t *testing.T) {
	t.Parallel()
	l := openLog(t, t.TempDir())
	add(t, l, frames(0, 300)...)
	small := awaitSize(t, l.Reader, 300)
	add(t, l, frames(300, 700)...)
	large := awaitSize(t, l.Reader, 700)
	for i, data := range encoded(t, l.Reader, large.Size) {
		if i%67 != 0 {
			continue
		}
		path, err := l.Inclusion(t.Context(), i, large.Size)
		if err != nil {
			t.Fatal(err)
		}
		if err := tlog.CheckRecord(hashes(path), int64(large.Size), tlog.Hash(large.Root), int64(i), tlog.RecordHash(data)); err != nil {
			t.Errorf("entry %d: %v", i, err)
		}
	}
	path, err := l.Consistency(t.Context(), small.Size, large.Size)
	if err != nil {
		t.Fatal(err)
	}
	if err := tlog.CheckTree(hashes(path), int64(large.Size), tlog.Hash(large.Root), int64(small.Size), tlog.Hash(small.Root)); err != nil {
		t.Error(err)
	}
}

func hashes(path [][]byte) (all []tlog.Hash) {
	for _, h := range path {
		all = append(all, tlog.Hash(h))
	}
	return all
}

// TestDiskFails: while nothing can be written, nothing is taken, and what was not taken can
// be added again when it is over, once. The log does not take that for a fork.
func TestDiskFails(t *testing.T) {
	t.Parallel()
	l := openLog(t, t.TempDir())
	add(t, l, frames(0, 5)...)
	awaitSize(t, l.Reader, 5)
	at, away := filepath.Join(l.tiles(), "tile"), filepath.Join(t.TempDir(), "tile")
	if err := os.Rename(at, away); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(at, nil, 0o600); err != nil { // a file where a directory should be
		t.Fatal(err)
	}
	if err := l.Add(t.Context(), frames(5, 9)...); err == nil {
		t.Error("it is taken")
	}
	if err := errors.Join(os.Remove(at), os.Rename(away, at)); err != nil {
		t.Fatal(err)
	}
	add(t, l, frames(5, 9)...)
	add(t, l, frames(0, 9)...)
	c := awaitSize(t, l.Reader, 9)
	if got := said(t, l.Reader, c.Size); len(got) != 9 || got[8] != "frame 8" || l.Failed() != nil {
		t.Errorf("entries %q, %v", got, l.Failed())
	}
}

// FuzzCheckpoint: what is read as a checkpoint is what its text says.
func FuzzCheckpoint(f *testing.F) {
	f.Add("a\n12\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := parseCheckpoint(text)
		if err == nil && !strings.HasPrefix(text, fmt.Sprintf("%s\n%d\n%s\n", c.Origin, c.Size, base64.StdEncoding.EncodeToString(c.Root[:]))) {
			t.Errorf("%q is read as %v", text, c)
		}
	})
}

// TestFind: an entry is found by when it was taken and what it says, in a tree of any size
// that was signed.
func TestFind(t *testing.T) {
	t.Parallel()
	clock := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	l, err := Open(t.Context(), Config{Dir: t.TempDir(), Origin: origin, Interval: 100 * time.Millisecond, Now: func() time.Time { return clock }})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for n := range 21 { // one after another: most bundles are partial
		clock = clock.Add(time.Minute)
		add(t, l, frame(n%7))
		l.seen = newRecent(remembered)
	}
	size := awaitSize(t, l.Reader, 21).Size
	for _, test := range []struct {
		since time.Duration
		n     int
		want  uint64
		found bool
	}{{0, 0, 0, true}, {time.Minute, 3, 3, true}, {5 * time.Minute, 3, 10, true}, {11 * time.Minute, 3, 10, true}, {12 * time.Minute, 3, 17, true}, {19 * time.Minute, 3, 0, false}, {time.Hour, 6, 0, false}, {0, 8, 0, false}} {
		since := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC).Add(test.since)
		index, data, found, err := l.Find(t.Context(), size, since, func(e *logv1.Entry) bool { return string(e.GetFrame()) == fmt.Sprintf("frame %d", test.n) })
		if err != nil || found != test.found || found && (index != test.want || !strings.Contains(string(data), "frame")) {
			t.Errorf("frame %d since %s: %d, %q, %v, %v; want %d, %v", test.n, test.since, index, data, found, err, test.want, test.found)
		}
	}
}

// TestReaderWithoutLog: there is none.
func TestReaderWithoutLog(t *testing.T) {
	t.Parallel()
	if _, err := OpenReader(t.TempDir()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("OpenReader: %v", err)
	}
}

// TestCheckpointText: what is not a checkpoint is none.
func TestCheckpointText(t *testing.T) {
	t.Parallel()
	root := "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
	for text, good := range map[string]bool{
		"a\n0\n" + root + "\n":                   true,
		"a\n12\n" + root + "\nmore\n":            true,
		"a\n0\n" + root:                          false,
		"\n0\n" + root + "\n":                    false,
		"a\n00\n" + root + "\n":                  false,
		"a\n-1\n" + root + "\n":                  false,
		"a\n1\n" + root[1:] + "\n":               false,
		"a\n9223372036854775808\n" + root + "\n": false,
		"":                                       false,
		"a\n1\n":                                 false,
	} {
		if _, err := parseCheckpoint(text); (err == nil) != good {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// openKept opens a log and the store that is its archive, both in a directory.
func openKept(ctx context.Context, dir string) (*Log, *store.Store, error) {
	s, err := store.Open(ctx, store.Config{Dir: filepath.Join(dir, "store")})
	if err != nil {
		return nil, nil, err
	}
	l, err := Open(ctx, Config{Dir: filepath.Join(dir, "log"), Origin: origin, Interval: 100 * time.Millisecond, Archive: s})
	return l, s, err
}

// TestKilled: what Add returned of is there after kill -9, in the tree and in the archive:
// the log opens again, also if all its entry bundles are gone.
func TestKilled(t *testing.T) {
	t.Parallel()
	if dir := os.Getenv("SALLYPORT_TEST_LOG"); dir != "" {
		l, _, err := openKept(context.Background(), dir)
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		for n := 0; ; n++ {
			if err := l.Add(context.Background(), &logv1.Entry{Frame: fmt.Appendf(nil, "%d %d", os.Getpid(), n)}); err != nil {
				fmt.Println(err)
				os.Exit(1)
			}
			fmt.Printf("%d %d\n", os.Getpid(), n)
		}
	}
	dir := t.TempDir()
	acknowledged := map[string]bool{}
	for range 5 {
		for _, line := range killSoon(t, dir) {
			acknowledged[line] = true
		}
	}
	if err := os.RemoveAll(filepath.Join(dir, "log", tilesName, "tile", "entries")); err != nil {
		t.Fatal(err)
	}
	l, s, err := openKept(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	defer l.Close()
	size, _, err := l.tree()
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{}
	for _, text := range said(t, l.Reader, size) {
		if there[text] {
			t.Errorf("%q is there twice", text)
		}
		there[text] = true
	}
	for line := range acknowledged {
		if !there[line] {
			t.Errorf("%q was acknowledged, and is not there", line)
		}
	}
	if len(acknowledged) < 20 {
		t.Errorf("%d entries were acknowledged: too few to say something", len(acknowledged))
	}
}

// killSoon runs a process that appends, kills it, and gives what it said of.
func killSoon(t *testing.T, dir string) []string {
	t.Helper()
	var out strings.Builder
	child := exec.Command(os.Args[0], "-test.run", "^TestKilled$")
	child.Env = append(os.Environ(), "SALLYPORT_TEST_LOG="+dir)
	child.Stdout = &out
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	<-time.After(1600 * time.Millisecond)
	child.Process.Kill()
	child.Wait()
	lines := strings.Split(out.String(), "\n")
	return slices.DeleteFunc(lines[:len(lines)-1], func(line string) bool { return line == "" })
}

// TestEntryForm: entries are encoded as their verifier encodes them again.
func TestEntryForm(t *testing.T) {
	t.Parallel()
	l := openLog(t, t.TempDir())
	add(t, l, &logv1.Entry{Read: &logv1.Read{By: "spiffe://mesh.test/operator", What: "proof"}}, &logv1.Entry{Act: &logv1.Act{By: "x", Act: []byte{1}}})
	for _, data := range encoded(t, l.Reader, awaitSize(t, l.Reader, 2).Size) {
		e := new(logv1.Entry)
		if err := proto.Unmarshal(data, e); err != nil {
			t.Fatal(err)
		}
		again, err := proto.MarshalOptions{Deterministic: true}.Marshal(e)
		if err != nil || string(again) != string(data) {
			t.Errorf("%x is encoded again as %x: %v", data, again, err)
		}
	}
	text, err := os.ReadFile(filepath.Join(l.dir, signedName))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := note.Open(text, note.VerifierList(l.verifier)); err != nil {
		t.Errorf("what is signed: %v", err)
	}
}

func BenchmarkAdd(b *testing.B) {
	l := openLog(b, b.TempDir())
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		add(b, l, frames(n, n+100)...)
		n += 100
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "entries/s")
}
