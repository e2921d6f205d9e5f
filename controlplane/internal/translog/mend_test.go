package translog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/transparency-dev/tessera/fsck"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/mod/sumdb/tlog"
)

// memory is an archive in memory.
type memory struct {
	mu      sync.Mutex
	entries [][]byte
	writes  int
	failing error
}

var _ Archive = (*memory)(nil)

// AppendEntries implements Archive.
func (m *memory) AppendEntries(_ context.Context, _ string, entries [][]byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failing == nil && len(entries) > 0 {
		m.entries, m.writes = append(m.entries, entries...), m.writes+1
	}
	return m.failing
}

// LastEntries implements Archive.
func (m *memory) LastEntries(context.Context, string) ([][]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.entries[max(0, len(m.entries)-3):], m.failing
}

// ReplayEntries implements Archive.
func (m *memory) ReplayEntries(_ context.Context, _ string, each func([][]byte) error) error {
	for batch := range slices.Chunk(m.copies(), 100) {
		if err := each(batch); err != nil {
			return err
		}
	}
	return nil
}

func (m *memory) copies() [][]byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.entries)
}

// with is an archive that has other entries than this one.
func (m *memory) with(entries [][]byte) *memory { return &memory{entries: entries} }

// kept is a log that was closed, and the archive of its entries.
type kept struct {
	dir     string
	archive *memory
	size    uint64
	root    hash
	files   map[string]string // of the tree, by their paths
}

// keep makes a log of so many entries.
func keep(t testing.TB, size int) *kept {
	t.Helper()
	k := &kept{dir: t.TempDir(), archive: &memory{}, size: uint64(size)}
	l := k.open(t, k.archive)
	add(t, l, frames(0, size)...)
	k.root = awaitSize(t, l.Reader, k.size).Root
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	k.files = k.read(t)
	return k
}

func (k *kept) config(archive Archive) Config {
	return Config{Dir: k.dir, Origin: origin, Interval: 100 * time.Millisecond, Archive: archive, Now: time.Now, Log: zap.NewNop()}
}

func (k *kept) open(t testing.TB, archive Archive) *Log {
	t.Helper()
	l, err := Open(t.Context(), k.config(archive))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// copy is another one with the same files.
func (k *kept) copy(t testing.TB) *kept {
	t.Helper()
	other := *k
	other.dir = t.TempDir()
	if err := os.CopyFS(other.dir, os.DirFS(k.dir)); err != nil {
		t.Fatal(err)
	}
	return &other
}

func (k *kept) reader(t testing.TB) *Reader {
	t.Helper()
	r, err := OpenReader(k.dir)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// tiles are all files that a tree of its size has.
func (k *kept) tiles() (all []tile) {
	for level := entriesLevel; nodesAt(k.size, level) > 0; level++ {
		for i := range tilesAt(k.size, level) {
			all = append(all, tileOf(k.size, level, i))
		}
	}
	return all
}

// read are the contents of all files of the tree, and of its state and checkpoint.
func (k *kept) read(t testing.TB) map[string]string {
	t.Helper()
	files := map[string]string{}
	paths := []string{".state/treeState", "checkpoint"}
	for _, at := range k.tiles() {
		paths = append(paths, at.path())
	}
	for _, path := range paths {
		text, err := os.ReadFile(filepath.Join(k.dir, tilesName, path))
		if err != nil {
			t.Errorf("%s: %v", path, err)
		}
		files[path] = string(text)
	}
	return files
}

// listing is the names of all files of the log, with when they were written.
func (k *kept) listing(t testing.TB) (all []string) {
	t.Helper()
	err := filepath.Walk(k.dir, func(path string, info os.FileInfo, err error) error {
		all = append(all, fmt.Sprint(path, info.ModTime()))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// way is a way in which a file is damaged.
type way struct {
	name string
	do   func(path string) error
}

var ways = []way{
	{"flipped", func(path string) error {
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		text[len(text)/2] ^= 4
		return os.WriteFile(path, text, 0o600)
	}},
	{"truncated", func(path string) error {
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		return os.Truncate(path, info.Size()-info.Size()/3-1)
	}},
	{"gone", os.Remove},
	{"empty", func(path string) error { return os.Truncate(path, 0) }},
	{"a directory", func(path string) error { return errors.Join(os.Remove(path), os.Mkdir(path, 0o700)) }},
	{"longer", func(path string) error {
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(path, append(text, make([]byte, hashSize)...), 0o600)
	}},
}

func (k *kept) damage(t testing.TB, path string, how way) {
	t.Helper()
	if err := how.do(filepath.Join(k.dir, tilesName, path)); err != nil {
		t.Fatal(err)
	}
}

// mend mends the log, and gives the files that it says it has rebuilt.
func (k *kept) mend(t testing.TB, archive Archive) (rebuilt []string, err error) {
	t.Helper()
	core, told := observer.New(zap.WarnLevel)
	cfg := k.config(archive)
	cfg.Log = zap.New(core)
	err = k.reader(t).mend(t.Context(), cfg)
	for _, line := range told.All() {
		path, _ := line.ContextMap()["file"].(string)
		rel, relErr := filepath.Rel(filepath.Join(k.dir, tilesName), path)
		if relErr != nil {
			t.Errorf("%s is told of: %v", path, relErr)
		}
		rebuilt = append(rebuilt, rel)
	}
	slices.Sort(rebuilt)
	return rebuilt, err
}

// same holds that the tree is what it was, byte for byte.
func (k *kept) same(t testing.TB) {
	t.Helper()
	now := k.read(t)
	for path, text := range k.files {
		if now[path] != text {
			t.Errorf("%s is not what it was", path)
		}
	}
}

// goesOn holds that a log can be opened, appended to and verified.
func (k *kept) goesOn(t testing.TB) {
	t.Helper()
	l := k.open(t, k.archive.with(k.archive.copies()))
	add(t, l, frames(int(k.size), int(k.size)+300)...)
	c := awaitSize(t, l.Reader, k.size+300)
	if root := rebuilt(t, l.Reader, c.Size); root != tlog.Hash(c.Root) {
		t.Errorf("tlog comes to the root %s, the checkpoint says %x", root, c.Root)
	}
	if err := fsck.New(origin, l.verifier, l.fetch, hashBundle, fsck.Opts{N: 2}).Check(t.Context()); err != nil {
		t.Errorf("fsck: %v", err)
	}
	path, err := l.Consistency(t.Context(), k.size, c.Size)
	if err != nil {
		t.Fatal(err)
	}
	if err := tlog.CheckTree(hashes(path), int64(c.Size), tlog.Hash(c.Root), int64(k.size), tlog.Hash(k.root)); err != nil {
		t.Error(err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

// levels is the last tile, and the first one, of each level that a tree has.
func (k *kept) levels() (all []tile) {
	for level := entriesLevel; nodesAt(k.size, level) > 0; level++ {
		all = append(all, tileOf(k.size, level, 0))
		if last := tilesAt(k.size, level) - 1; last > 0 {
			all = append(all, tileOf(k.size, level, last))
		}
	}
	return all
}

// sizes are those of trees that differ in what tiles they have.
func sizes(t testing.TB) []int {
	if testing.Short() {
		return []int{1, 255, 256, 257, 1000}
	}
	return []int{1, 255, 256, 257, 1000, 66_000}
}

// TestMend: whatever file of a tree is damaged, and however, it is rebuilt byte for byte and
// told of, and what was there is set aside. Two together are too, of which one speaks for
// the other. The log goes on.
func TestMend(t *testing.T) {
	t.Parallel()
	for _, size := range sizes(t) {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			t.Parallel()
			k := keep(t, size)
			for _, at := range k.levels() {
				for _, how := range ways[:min(len(ways), 1+100_000/size)] {
					checkMended(t, k, how, at.path())
				}
			}
			all := k.levels()
			for i, one := range all {
				for j, other := range all[i+1:] {
					if size < 10_000 || j == 1 { // in a large one, those of two levels alone
						checkMended(t, k, ways[(i+j)%len(ways)], one.path(), other.path())
					}
				}
			}
			k.goesOn(t)
		})
	}
}

// checkMended holds that damaged files are rebuilt, and no others.
func checkMended(t *testing.T, k *kept, how way, paths ...string) {
	t.Helper()
	for _, path := range paths {
		k.damage(t, path, how)
	}
	rebuilt, err := k.mend(t, k.archive)
	slices.Sort(paths)
	if err != nil || !slices.Equal(rebuilt, paths) {
		t.Errorf("%v %s: rebuilt %v, %v", paths, how.name, rebuilt, err)
	}
	k.same(t)
	for _, path := range paths {
		aside, err := filepath.Glob(filepath.Join(k.dir, damagedName, "*", path))
		if err != nil || (len(aside) == 0) != (how.name == "gone") {
			t.Errorf("%s %s: set aside is %v, %v", path, how.name, aside, err)
		}
	}
	if err := os.RemoveAll(filepath.Join(k.dir, damagedName)); err != nil {
		t.Fatal(err)
	}
}

// TestMendWithoutArchive: hash tiles are rebuilt from what is below them. Entries are not:
// the file is named, and nothing is written.
func TestMendWithoutArchive(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1, 255, 257, 1000} {
		k := keep(t, size)
		for _, at := range k.levels() {
			for _, how := range ways {
				if at.level > entriesLevel {
					k.damage(t, at.path(), how)
					if rebuilt, err := k.mend(t, nil); err != nil || !slices.Equal(rebuilt, []string{at.path()}) {
						t.Errorf("%s %s: rebuilt %v, %v", at.path(), how.name, rebuilt, err)
					}
					k.same(t)
					continue
				}
				other := k.copy(t)
				other.damage(t, at.path(), how)
				checkRefused(t, other, nil, at.path())
			}
		}
	}
}

// checkRefused holds that a log does not open, says why with the names of files, and is left
// as it is.
func checkRefused(t *testing.T, k *kept, archive Archive, paths ...string) {
	t.Helper()
	before := k.listing(t)
	_, err := Open(t.Context(), k.config(archive))
	if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "put them back from a copy") {
		t.Errorf("Open with %v damaged: %v, want ErrDamaged", paths, err)
		return
	}
	for _, path := range paths {
		if !strings.Contains(err.Error(), filepath.Join(k.dir, tilesName, path)) {
			t.Errorf("Open does not name %s: %v", path, err)
		}
	}
	if after := k.listing(t); !slices.Equal(before, after) {
		t.Errorf("there is %v, and was %v", after, before)
	}
}

// TestMendLacking: what the archive has not, or has otherwise, is not made up.
func TestMendLacking(t *testing.T) {
	t.Parallel()
	k := keep(t, 1000)
	altered := k.archive.copies()
	altered[300] = append(bytes.Clone(altered[300]), 1)
	swapped := k.archive.copies()
	swapped[300], swapped[301] = swapped[301], swapped[300]
	for _, test := range []struct {
		name    string
		archive *memory
		damaged []string
	}{
		{"lacks one", k.archive.with(slices.Delete(k.archive.copies(), 300, 301)), []string{"tile/entries/001"}},
		{"has altered one", k.archive.with(altered), []string{"tile/entries/001"}},
		{"is empty", k.archive.with(nil), []string{"tile/entries/003.p/232"}},
		{"lacks one, and the hashes are gone", k.archive.with(slices.Delete(k.archive.copies(), 300, 301)), []string{"tile/entries/001", "tile/0/001"}},
		{"has altered one, and the hashes are gone", k.archive.with(altered), []string{"tile/entries/001", "tile/0/001"}},
		{"has them in another order, and the hashes are gone", k.archive.with(swapped), []string{"tile/entries/001", "tile/0/001"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			other := k.copy(t)
			for _, path := range test.damaged {
				other.damage(t, path, ways[2])
			}
			checkRefused(t, other, test.archive, test.damaged[0])
		})
	}
}

// TestMendAfterCrashes: the archive has entries that were never taken, and still all is
// rebuilt, in the order in which it was: also all of the tree but for its state.
func TestMendAfterCrashes(t *testing.T) {
	t.Parallel()
	k := keep(t, 700)
	for _, test := range []struct {
		name    string
		lost    map[int]int // how many entries were never taken, by what was taken before them
		damaged []string
	}{
		{"at the end", map[int]int{700: 9}, []string{"tile/entries/002.p/188", "tile/0/002.p/188"}},
		{"at the beginning", map[int]int{0: 9}, []string{"tile/entries/000", "tile/0/000"}},
		{"between", map[int]int{256: 9}, []string{"tile/entries/001", "tile/0/001"}},
		{"within", map[int]int{300: 9}, []string{"tile/entries/001", "tile/0/001", "tile/1/000.p/2"}},
		{"within both", map[int]int{300: 9, 600: 5}, []string{"tile/entries/001", "tile/0/001"}},
		{"in what all of the tree is rebuilt from", map[int]int{690: 9}, []string{"tile"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			other := k.copy(t)
			var entries [][]byte
			for i, data := range append(k.archive.copies(), nil) {
				for n := range test.lost[i] {
					entries = append(entries, fmt.Appendf(nil, "%d never taken after %d", n, i))
				}
				entries = append(entries, data)
			}
			other.archive = k.archive.with(entries[:len(entries)-1])
			for _, path := range test.damaged {
				if err := os.RemoveAll(filepath.Join(other.dir, tilesName, path)); err != nil {
					t.Fatal(err)
				}
			}
			if rebuilt, err := other.mend(t, other.archive); err != nil {
				t.Fatalf("rebuilt %v: %v", rebuilt, err)
			}
			other.same(t)
			other.goesOn(t)
		})
	}
}

// TestMendAnything: of a log whose archive is whole, any files may be damaged in any way.
func TestMendAnything(t *testing.T) {
	t.Parallel()
	k := keep(t, 3000)
	paths := slices.Sorted(maps.Keys(k.files))
	paths = slices.DeleteFunc(paths, func(path string) bool { return strings.HasPrefix(path, ".state") || path == "checkpoint" })
	random := rand.New(rand.NewPCG(1, 2))
	for range 60 {
		damaged := map[string]string{}
		for range 1 + random.IntN(8) {
			path, how := paths[random.IntN(len(paths))], ways[random.IntN(len(ways))]
			if damaged[path] == "" {
				damaged[path] = how.name
				k.damage(t, path, how)
			}
		}
		rebuilt, err := k.mend(t, k.archive)
		if want := slices.Sorted(maps.Keys(damaged)); err != nil || !slices.Equal(rebuilt, want) {
			t.Fatalf("%v: rebuilt %v, %v", damaged, rebuilt, err)
		}
		k.same(t)
	}
}

// TestMendNothing: a log that is whole is opened without writing anything.
func TestMendNothing(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1, 256, 1000} {
		k := keep(t, size)
		before := k.listing(t)
		if rebuilt, err := k.mend(t, k.archive); err != nil || len(rebuilt) > 0 {
			t.Errorf("rebuilt %v, %v", rebuilt, err)
		}
		if after := k.listing(t); !slices.Equal(before, after) {
			t.Errorf("there is %v, and was %v", after, before)
		}
		if writes := k.archive.writes; k.open(t, k.archive).Close() != nil || k.archive.writes != writes {
			t.Errorf("%d writes to an archive that has all", k.archive.writes-writes)
		}
	}
}

// TestMendForged: an entry that was changed, with all hashes above it but the one that is
// signed, is what was signed again; without an archive the log does not open.
func TestMendForged(t *testing.T) {
	t.Parallel()
	k := keep(t, 1000)
	r := k.reader(t)
	bundleAt := tileOf(k.size, entriesLevel, 1)
	entries, err := r.readEntries(bundleAt)
	if err != nil {
		t.Fatal(err)
	}
	entries[7] = append(bytes.Clone(entries[7]), 8, 0)
	leaves := leavesOf(entries)
	nodes, err := r.readNodes(tileOf(k.size, 1, 0))
	if err != nil {
		t.Fatal(err)
	}
	nodes.set(1, leaves.fold())
	for path, text := range map[string][]byte{bundleAt.path(): encodeBundle(entries), "tile/0/001": leaves, "tile/1/000.p/3": nodes} {
		if err := os.WriteFile(filepath.Join(k.dir, tilesName, path), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	checkRefused(t, k.copy(t), nil, ".state/treeState")
	if rebuilt, err := k.mend(t, k.archive); err != nil || !slices.Equal(rebuilt, []string{"tile/0/001", "tile/1/000.p/3", "tile/entries/001"}) {
		t.Errorf("rebuilt %v, %v", rebuilt, err)
	}
	k.same(t)
}

// TestMendOther: damage does not hide that the tree is another than the one that was signed.
func TestMendOther(t *testing.T) {
	t.Parallel()
	k, other := keep(t, 600), keep(t, 700)
	if err := os.RemoveAll(filepath.Join(k.dir, tilesName)); err != nil {
		t.Fatal(err)
	}
	copyTree(t, filepath.Join(other.dir, tilesName), filepath.Join(k.dir, tilesName))
	for range 2 {
		before := k.listing(t)
		if _, err := Open(t.Context(), k.config(other.archive)); !errors.Is(err, ErrRolledBack) {
			t.Errorf("Open: %v, want ErrRolledBack", err)
		}
		if after := k.listing(t); !slices.Equal(before, after) {
			t.Errorf("there is %v, and was %v", after, before)
		}
		k.damage(t, "tile/entries/001", ways[0])
	}
}

// TestMendUnsigned: of a tree that has grown since the log signed last, as after a crash, all
// is rebuilt. If it did not grow from what was signed, nothing is.
func TestMendUnsigned(t *testing.T) {
	t.Parallel()
	k := keep(t, 700)
	other := k.copy(t)
	before, err := os.ReadFile(filepath.Join(k.dir, signedName))
	if err != nil {
		t.Fatal(err)
	}
	grow := func(k *kept, from, to int) {
		l := k.open(t, k.archive)
		add(t, l, frames(from, to)...)
		k.size += uint64(to - from)
		k.root = awaitSize(t, l.Reader, k.size).Root
		l.Close()
		k.files = k.read(t)
	}
	grow(k, 700, 1000)
	if err := os.WriteFile(filepath.Join(k.dir, signedName), before, 0o600); err != nil {
		t.Fatal(err)
	}
	fork := k.copy(t)
	for _, path := range []string{"tile/entries/002", "tile/0/003.p/232", "tile/1/000.p/3"} {
		k.damage(t, path, ways[0])
		fork.damage(t, path, ways[0])
	}
	if _, err := k.mend(t, k.archive); err != nil {
		t.Error(err)
	}
	k.same(t)
	grow(other, 2000, 2100)
	signed, err := os.ReadFile(filepath.Join(other.dir, signedName))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(fork.dir, signedName), signed, 0o600); err != nil {
		t.Fatal(err)
	}
	listing := fork.listing(t)
	if _, err := Open(t.Context(), fork.config(k.archive)); !errors.Is(err, ErrRolledBack) {
		t.Errorf("Open: %v, want ErrRolledBack", err)
	}
	if after := fork.listing(t); !slices.Equal(listing, after) {
		t.Errorf("there is %v, and was %v", after, listing)
	}
}

// TestMendPutBack: damage does not hide that a tree was put back.
func TestMendPutBack(t *testing.T) {
	t.Parallel()
	k := keep(t, 700)
	old := k.copy(t)
	l := k.open(t, k.archive)
	add(t, l, frames(700, 800)...)
	awaitSize(t, l.Reader, 800)
	l.Close()
	signed, err := os.ReadFile(filepath.Join(k.dir, signedName))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(old.dir, signedName), signed, 0o600); err != nil {
		t.Fatal(err)
	}
	old.damage(t, "tile/entries/001", ways[0])
	before := old.listing(t)
	if _, err := Open(t.Context(), old.config(k.archive)); !errors.Is(err, ErrRolledBack) {
		t.Errorf("Open: %v, want ErrRolledBack", err)
	}
	if after := old.listing(t); !slices.Equal(before, after) {
		t.Errorf("there is %v, and was %v", after, before)
	}
}

// TestMendCheckpoint: a checkpoint that cannot be read is the one that was signed again, and
// a later one follows.
func TestMendCheckpoint(t *testing.T) {
	t.Parallel()
	for _, how := range ways {
		k := keep(t, 300)
		k.damage(t, "checkpoint", how)
		k.open(t, k.archive).Close()
		k.goesOn(t)
	}
}

// TestStateDamaged: which tree it is cannot be told, and the error says what to do.
func TestStateDamaged(t *testing.T) {
	t.Parallel()
	for _, how := range ways {
		k := keep(t, 300)
		k.damage(t, ".state/treeState", how)
		_, err := Open(t.Context(), k.config(k.archive))
		if how.name != "longer" && (err == nil || !strings.Contains(err.Error(), k.dir)) && !errors.Is(err, ErrRolledBack) {
			t.Errorf("%s: Open: %v", how.name, err)
		}
	}
}

// TestStateSaysTooMuch: how many entries there are is believed where there are files, or
// copies, and no memory is taken for others.
func TestStateSaysTooMuch(t *testing.T) {
	t.Parallel()
	for _, size := range []uint64{301, 513, 1 << 40, 1 << 62, 1<<64 - 1} {
		k := keep(t, 300)
		text := strings.Replace(k.files[".state/treeState"], `"size":300`, fmt.Sprintf(`"size":%d`, size), 1)
		if err := os.WriteFile(filepath.Join(k.dir, tilesName, ".state/treeState"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		checkRefused(t, k.copy(t), k.archive, ".state/treeState")
		checkRefused(t, k, nil, ".state/treeState")
	}
}

// TestDamagedIsNotServed: nobody is given what was set aside.
func TestDamagedIsNotServed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	set, err := OpenSet(t.Context(), SetConfig{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := set.Add(t.Context(), "aws.test", frames(0, 300)...); err != nil {
		t.Fatal(err)
	}
	if err := set.Close(); err != nil {
		t.Fatal(err)
	}
	k := &kept{dir: filepath.Join(dir, "aws.test"), size: 300}
	k.damage(t, "tile/0/000", ways[0])
	if rebuilt, err := k.mend(t, nil); err != nil || len(rebuilt) != 1 {
		t.Fatalf("rebuilt %v, %v", rebuilt, err)
	}
	server := httptest.NewServer(ReadSet(dir).Handler())
	defer server.Close()
	aside, err := filepath.Glob(filepath.Join(k.dir, damagedName, "*", "tile/0/000"))
	if err != nil || len(aside) != 1 {
		t.Fatalf("set aside is %v, %v", aside, err)
	}
	path, err := filepath.Rel(dir, aside[0])
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Get(server.URL + "/" + path)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusNotFound {
		t.Errorf("%s: %s", path, resp.Status)
	}
}

// BenchmarkWhole: how long it takes to read and check a log that is whole.
func BenchmarkWhole(b *testing.B) {
	k := &kept{dir: b.TempDir(), size: 100_000}
	l := k.open(b, nil)
	for n := 0; n < int(k.size); n += 5000 {
		entries := frames(n, n+5000)
		for _, e := range entries {
			e.Frame = append(e.Frame, make([]byte, 1000)...)
		}
		add(b, l, entries...)
	}
	awaitSize(b, l.Reader, k.size)
	l.Close()
	for b.Loop() {
		if rebuilt, err := k.mend(b, nil); err != nil || len(rebuilt) > 0 {
			b.Fatalf("rebuilt %v, %v", rebuilt, err)
		}
	}
	b.ReportMetric(float64(k.size)*float64(b.N)/b.Elapsed().Seconds(), "entries/s")
}
