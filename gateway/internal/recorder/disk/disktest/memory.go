// Package disktest has file systems for tests: one in memory whose power can be cut at
// every point, and one that fails when it is told to.
package disktest

import (
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/sallyport-mesh/sallyport/gateway/internal/recorder/disk"
)

// sector is what a disk writes as a whole, in bytes.
const sector = 512

// Memory is a file system in memory. It knows what of it is on stable storage, and what
// a disk may have of the rest.
type Memory struct {
	// After is called after each call that changes something, if it is not nil, with
	// nothing locked.
	After func(call string)

	mu    sync.Mutex // guards what follows
	names map[string]*inode
	kept  map[string]*inode // those on stable storage
	moves []move            // that are not yet, in their order
	locks map[string]bool
	dead  bool // who used it was killed
}

var _ disk.System = (*Memory)(nil)

// inode is a file or a directory. A directory has those names that begin with its own.
type inode struct {
	dir    bool
	now    []byte
	kept   []byte   // on stable storage
	writes []change // that are not yet, in their order
}

// change is a write or, without one, a file's new size.
type change struct {
	offset int64
	text   []byte
	cut    bool
}

// move gives an inode a name and takes one away.
type move struct {
	from, to string // either may be empty
	node     *inode
}

// NewMemory makes one that is empty.
func NewMemory() *Memory {
	return &Memory{names: map[string]*inode{}, kept: map[string]*inode{}, locks: map[string]bool{}}
}

// Choice is what a power cut leaves of what was not synced. It gives a number below n,
// each time that there are so many things that may be.
type Choice func(n int) int

// Nothing is left of what was not synced.
func Nothing(int) int { return 0 }

// Everything is left of it.
func Everything(n int) int { return n - 1 }

// Cut is what is there when the power comes back after it is cut now. Each change of a
// name that was not synced happened or not; each sector of a file has what it had at
// some time since the last sync, and so has the file's size.
func (m *Memory) Cut(choose Choice) *Memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	names := maps.Clone(m.kept)
	for _, mv := range m.moves {
		if choose(2) == 1 {
			mv.apply(names)
		}
	}
	after, copies := NewMemory(), map[*inode]*inode{}
	for _, name := range slices.Sorted(maps.Keys(names)) { // in order, so that a choice does the same again
		node := names[name]
		if !orphan(names, name) {
			if copies[node] == nil {
				copies[node] = node.cut(choose)
			}
			after.names[name], after.kept[name] = copies[node], copies[node]
		}
	}
	return after
}

// Kill is what another process finds when those that use the file system have been
// killed: all that they wrote, synced or not, and no locks. What they still do has no
// effect.
func (m *Memory) Kill() *Memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dead = true
	return &Memory{After: m.After, names: m.names, kept: m.kept, moves: m.moves, locks: map[string]bool{}}
}

// orphan says that a name's directory is not there.
func orphan(names map[string]*inode, name string) bool {
	dir := filepath.Dir(name)
	return dir != name && dir != "." && dir != "/" && (names[dir] == nil || orphan(names, dir))
}

func (mv move) apply(names map[string]*inode) {
	if mv.from != "" && mv.to != "" && mv.node.dir {
		for name, node := range maps.Clone(names) {
			if rest, ok := strings.CutPrefix(name, mv.from+"/"); ok {
				delete(names, name)
				names[mv.to+"/"+rest] = node
			}
		}
	}
	if mv.from != "" {
		delete(names, mv.from)
	}
	if mv.to != "" {
		names[mv.to] = mv.node
	}
}

// cut is what a power cut leaves of a file.
func (n *inode) cut(choose Choice) *inode {
	if n.dir || len(n.writes) == 0 {
		return &inode{dir: n.dir, now: slices.Clone(n.kept), kept: slices.Clone(n.kept)}
	}
	most := len(n.writes) + 1
	versions := make([][]byte, most)
	versions[0] = n.kept
	longest := len(n.kept)
	for i, c := range n.writes {
		versions[i+1] = c.apply(slices.Clone(versions[i]))
		longest = max(longest, len(versions[i+1]))
	}
	text := make([]byte, longest)
	for from := 0; from < longest; from += sector {
		to := min(from+sector, longest)
		if v := versions[choose(most)]; len(v) > from {
			copy(text[from:to], v[from:min(to, len(v))])
		}
	}
	text = text[:len(versions[choose(most)])]
	return &inode{now: text, kept: slices.Clone(text)}
}

func (c change) apply(text []byte) []byte {
	end := int(c.offset) + len(c.text)
	if grow := end - len(text); grow > 0 {
		text = append(text, make([]byte, grow)...)
	}
	if c.cut {
		return text[:c.offset:c.offset]
	}
	copy(text[c.offset:], c.text)
	return text
}

func (m *Memory) after(format string, args ...any) {
	if m.After != nil {
		m.After(fmt.Sprintf(format, args...))
	}
}

// begin begins a call that changes something: mu is held on return, but after an error.
func (m *Memory) begin() error {
	m.mu.Lock()
	if m.dead {
		m.mu.Unlock()
		return ErrDisk
	}
	return nil
}

func missing(op, path string) error { return &fs.PathError{Op: op, Path: path, Err: fs.ErrNotExist} }

// move changes names. The caller holds mu.
func (m *Memory) move(mv move) {
	mv.apply(m.names)
	m.moves = append(m.moves, mv)
}

// Open implements disk.System.
func (m *Memory) Open(path string, flag int) (disk.File, error) {
	if err := m.begin(); err != nil {
		return nil, err
	}
	node, made := m.names[path], false
	switch {
	case node != nil && flag&os.O_EXCL != 0:
		m.mu.Unlock()
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrExist}
	case node == nil && (flag&os.O_CREATE == 0 || orphan(m.names, path)), node != nil && node.dir:
		m.mu.Unlock()
		return nil, missing("open", path)
	case node == nil:
		node, made = new(inode), true
		m.move(move{to: path, node: node})
	case flag&os.O_TRUNC != 0:
		node.change(change{cut: true})
		made = true
	}
	m.mu.Unlock()
	if made {
		m.after("create %s", path)
	}
	return &memoryFile{m, node, path}, nil
}

// List implements disk.System.
func (m *Memory) List(dir string) ([]disk.Entry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if n := m.names[dir]; n == nil || !n.dir {
		return nil, missing("list", dir)
	}
	var entries []disk.Entry
	for path, n := range m.names {
		if name, within := strings.CutPrefix(path, dir+"/"); within && !strings.Contains(name, "/") {
			entries = append(entries, disk.Entry{Name: name, Size: int64(len(n.now)), Dir: n.dir})
		}
	}
	slices.SortFunc(entries, func(a, b disk.Entry) int { return strings.Compare(a.Name, b.Name) })
	return entries, nil
}

// MakeDir implements disk.System.
func (m *Memory) MakeDir(dir string) error {
	if err := m.begin(); err != nil {
		return err
	}
	made := false
	for _, name := range parents(dir) {
		if m.names[name] == nil {
			m.move(move{to: name, node: &inode{dir: true}})
			made = true
		}
	}
	m.mu.Unlock()
	if made {
		m.after("mkdir %s", dir)
	}
	return nil
}

// parents are a directory and those that it is in, outermost first.
func parents(dir string) (all []string) {
	for ; dir != "/" && dir != "."; dir = filepath.Dir(dir) {
		all = append(all, dir)
	}
	slices.Reverse(all)
	return all
}

// Rename implements disk.System.
func (m *Memory) Rename(from, to string) error {
	if err := m.begin(); err != nil {
		return err
	}
	node := m.names[from]
	if node == nil {
		m.mu.Unlock()
		return missing("rename", from)
	}
	m.move(move{from, to, node})
	m.mu.Unlock()
	m.after("rename %s %s", from, to)
	return nil
}

// Remove implements disk.System.
func (m *Memory) Remove(path string) error {
	if err := m.begin(); err != nil {
		return err
	}
	node := m.names[path]
	if node == nil {
		m.mu.Unlock()
		return missing("remove", path)
	}
	for name := range m.names {
		if strings.HasPrefix(name, path+"/") {
			m.mu.Unlock()
			return &fs.PathError{Op: "remove", Path: path, Err: fs.ErrExist}
		}
	}
	m.move(move{from: path, node: node})
	m.mu.Unlock()
	m.after("remove %s", path)
	return nil
}

// SyncDir implements disk.System.
func (m *Memory) SyncDir(dir string) error {
	if err := m.begin(); err != nil {
		return err
	}
	var rest []move
	for _, mv := range m.moves {
		if filepath.Dir(mv.from) == dir || filepath.Dir(mv.to) == dir {
			mv.apply(m.kept)
		} else {
			rest = append(rest, mv)
		}
	}
	m.moves = rest
	m.mu.Unlock()
	m.after("sync %s", dir)
	return nil
}

// Room implements disk.System: there is always some.
func (m *Memory) Room(string) (free, size int64, err error) { return 1 << 40, 1 << 40, nil }

// Lock implements disk.System.
func (m *Memory) Lock(dir string) (io.Closer, error) {
	f, err := m.Open(filepath.Join(dir, disk.LockFile), os.O_CREATE|os.O_RDWR)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.locks[dir] {
		return nil, disk.ErrInUse
	}
	m.locks[dir] = true
	return &memoryLock{of: m, dir: dir}, f.Close()
}

type memoryLock struct {
	of     *Memory
	dir    string
	closed bool
}

// Close implements io.Closer.
func (l *memoryLock) Close() error {
	l.of.mu.Lock()
	defer l.of.mu.Unlock()
	if l.closed {
		return fs.ErrClosed
	}
	l.closed = true
	delete(l.of.locks, l.dir)
	return nil
}

type memoryFile struct {
	of   *Memory
	node *inode
	path string
}

func (n *inode) change(c change) {
	n.now = c.apply(n.now)
	n.writes = append(n.writes, c)
}

// ReadAt implements io.ReaderAt.
func (f *memoryFile) ReadAt(p []byte, offset int64) (int, error) {
	f.of.mu.Lock()
	defer f.of.mu.Unlock()
	if offset >= int64(len(f.node.now)) {
		return 0, io.EOF
	}
	n := copy(p, f.node.now[offset:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt implements io.WriterAt.
func (f *memoryFile) WriteAt(p []byte, offset int64) (int, error) {
	if err := f.of.begin(); err != nil {
		return 0, err
	}
	f.node.change(change{offset: offset, text: slices.Clone(p)})
	f.of.mu.Unlock()
	f.of.after("write %s %d+%d", f.path, offset, len(p))
	return len(p), nil
}

// Sync implements disk.File.
func (f *memoryFile) Sync() error {
	if err := f.of.begin(); err != nil {
		return err
	}
	f.node.kept, f.node.writes = slices.Clone(f.node.now), nil
	f.of.mu.Unlock()
	f.of.after("sync %s", f.path)
	return nil
}

// Truncate implements disk.File.
func (f *memoryFile) Truncate(size int64) error {
	if err := f.of.begin(); err != nil {
		return err
	}
	f.node.change(change{offset: size, cut: true})
	f.of.mu.Unlock()
	f.of.after("truncate %s %d", f.path, size)
	return nil
}

// Size implements disk.File.
func (f *memoryFile) Size() (int64, error) {
	f.of.mu.Lock()
	defer f.of.mu.Unlock()
	return int64(len(f.node.now)), nil
}

// Close implements disk.File.
func (f *memoryFile) Close() error { return nil }
