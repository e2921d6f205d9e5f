package translog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/transparency-dev/tessera/api/layout"
	"go.uber.org/zap"

	"github.com/sallyport-mesh/sallyport/certs/durable"
	"github.com/sallyport-mesh/sallyport/controlplane/internal/spans"
)

// ErrDamaged is of a log with files that are damaged, and that cannot be rebuilt from what
// else there is. It names them.
var ErrDamaged = errors.New("files of the log are damaged and cannot be rebuilt")

// mender finds the damaged files of a tree, and rebuilds them: hash tiles from what is below
// them, entries from the archive. What it writes comes to the root that the tree has, which
// has what the log has signed as its beginning.
type mender struct {
	*Reader

	archive Archive // nil if none is kept
	aside   string  // the directory that damaged files go to
	log     *zap.Logger

	size   uint64 // of the tree
	root   hash   // of the tree
	signed *Checkpoint
}

// mender is one that knows no tree yet.
func (r *Reader) mender(cfg Config) *mender {
	aside := filepath.Join(r.dir, damagedName, cfg.Now().UTC().Format("20060102T150405.000000000Z"))
	return &mender{Reader: r, archive: cfg.Archive, log: cfg.Log, aside: aside}
}

// mend mends the tree of a log that nobody appends to. It leaves a tree that is another one than the
// log has signed as it is: that is not damage, and newGuard says what it is.
func (r *Reader) mend(ctx context.Context, cfg Config) error {
	size, root, err := r.tree()
	if err != nil {
		return err
	}
	signed, err := r.signed()
	if err != nil {
		return err
	}
	if signed == nil || size < signed.Size || size == signed.Size && root != signed.Root {
		return nil
	}
	m := r.mender(cfg)
	m.size, m.root, m.signed = size, root, signed
	if err := m.plausible(ctx); err != nil {
		return err
	}
	if whole, err := m.whole(ctx); err != nil || whole {
		return err
	}
	return m.rebuild(ctx)
}

// plausible says that there may be as many entries as the state file says, which is nobody's
// word and decides how much memory is taken: the last files are there, or as many copies.
func (m *mender) plausible(ctx context.Context) error {
	if m.size == 0 {
		return nil
	}
	for _, level := range []int{entriesLevel, leafLevel} {
		if _, err := os.Lstat(m.file(tileOf(m.size, level, (m.size-1)/bundleWidth))); err == nil {
			return nil
		}
	}
	var n uint64
	if m.archive != nil {
		if err := m.replay(ctx, func(hash, []byte) error { n++; return nil }); err != nil {
			return err
		}
	}
	if n < m.size {
		return m.refuse(nil, fmt.Errorf("it says that there are %d entries, whose last files are not there, and the archive has %d", m.size, n))
	}
	return nil
}

// mendCheckpoint puts what was signed last in the place of a published checkpoint that
// cannot be read: Tessera would publish none over it. The tree has to be the one that was
// signed.
func (m *mender) mendCheckpoint(signed *Checkpoint) error {
	_, err := m.checkpointIn(filepath.Join(m.tiles(), layout.CheckpointPath))
	if err == nil || signed == nil || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return m.replace(layout.CheckpointPath, signed.Note, err)
}

// rebuild rebuilds what is damaged, or nothing.
func (m *mender) rebuild(ctx context.Context) error {
	s, err := m.survey(ctx)
	if err != nil {
		return err
	}
	leaves, t, err := m.settle(ctx, s)
	if err != nil {
		return err
	}
	if t.root(m.signed.Size) != m.signed.Root {
		return forked(m.signed, m.size, m.root)
	}
	bundles, err := m.salvage(ctx, s, leaves)
	if err != nil {
		return err
	}
	if err := m.writeTiles(s, leaves, t); err != nil {
		return err
	}
	return m.writeBundles(ctx, bundles)
}

// settle finds the leaves that come to the tree's root.
func (m *mender) settle(ctx context.Context, s *survey) (row, *tree, error) {
	anything := func(hash) bool { return true }
	for _, tileFirst := range []bool{false, true} {
		if leaves, holes := s.leaves(tileFirst, anything); len(holes) == 0 {
			if t := m.fit(leaves, nil, nil); t != nil {
				return leaves, t, nil
			}
		}
	}
	if m.archive == nil {
		return nil, nil, m.refuse(s.faults(), errNoArchive)
	}
	c, err := m.copies(ctx)
	if err != nil {
		return nil, nil, err
	}
	var holes spans.Set
	for _, tileFirst := range []bool{false, true} {
		var leaves row
		leaves, holes = s.leaves(tileFirst, c.has)
		if t := m.fit(leaves, holes, c); t != nil {
			return leaves, t, nil
		}
	}
	return nil, nil, m.refuse(append(s.faults(), m.unknown(holes)...), errOtherRoot)
}

var (
	errNoArchive = errors.New("no archive of the entries is kept, and the files do not come to the root of the tree without one")
	errOtherRoot = errors.New("what the archive has does not come to the root of the tree either")
	errNotKept   = errors.New("the archive has not all of their entries")
	errUnknown   = errors.New("it has entries that the archive has not")
)

// unknown are the bundles with leaves that nobody knows.
func (m *mender) unknown(holes spans.Set) (all []damage) {
	for _, h := range holes {
		for i := h.From / bundleWidth; i*bundleWidth < h.To; i++ {
			all = append(all, damage{tileOf(m.size, entriesLevel, i), errUnknown})
		}
	}
	return all
}

// namedAtMost is how many damaged files an error names.
const namedAtMost = 8

// refuse says which files are damaged, why they are not rebuilt, and what to do.
func (m *mender) refuse(found []damage, why error) error {
	var names []string
	named := map[string]bool{}
	for _, d := range found {
		path := m.file(d.tile)
		if named[path] {
			continue
		}
		named[path] = true
		if len(names) < namedAtMost {
			names = append(names, fmt.Sprintf("%s (%v)", path, d.why))
		}
	}
	if more := len(named) - len(names); more > 0 {
		names = append(names, fmt.Sprintf("and %d more", more))
	}
	if len(names) == 0 {
		names = []string{m.statePath()}
	}
	return fmt.Errorf("%w: %s: %w: put them back from a copy of %s", ErrDamaged, strings.Join(names, ", "), why, m.tiles())
}

// writeTiles writes the tiles that are not what the tree has.
func (m *mender) writeTiles(s *survey, leaves row, t *tree) error {
	for i, one := range s.seen {
		at := tileOf(m.size, leafLevel, uint64(i)) //nolint:gosec // not negative
		want := leaves.of(at.index*bundleWidth, at.index*bundleWidth+at.width)
		if bytes.Equal(one.tile, want) {
			continue
		}
		if err := m.replace(at.path(), want, reason(one.tileErr)); err != nil {
			return err
		}
	}
	for _, d := range m.above(t) {
		if err := m.replace(d.path(), t.nodes(d.tile), d.why); err != nil {
			return err
		}
	}
	return nil
}

// reason is why a file is damaged: err, or that it says something else.
func reason(err error) error {
	if err == nil {
		return errDiffers
	}
	return err
}

// bundle is an entry bundle that is being rebuilt.
type bundle struct {
	tile
	entries [][]byte // nil of those that have to come from the archive
	lacks   int      // how many those are
	why     error
}

// place is where an entry goes.
type place struct {
	*bundle
	at uint64
}

// salvage gives the entries that damaged bundles lack, by their leaf hashes. All of them are
// in the archive.
func (m *mender) salvage(ctx context.Context, s *survey, leaves row) (map[hash][]place, error) {
	lacking := map[hash][]place{}
	for i, one := range s.seen {
		at := tileOf(m.size, entriesLevel, uint64(i)) //nolint:gosec // not negative
		want := leaves.of(at.index*bundleWidth, at.index*bundleWidth+at.width)
		if !bytes.Equal(one.bundle, want) {
			m.lacks(&bundle{tile: at, why: reason(one.bundleErr)}, want, lacking)
		}
	}
	if len(lacking) == 0 {
		return nil, nil
	}
	return lacking, m.available(ctx, lacking)
}

// lacks takes the good entries of a damaged bundle, and adds what it has not to lacking.
func (m *mender) lacks(b *bundle, want row, lacking map[hash][]place) {
	b.entries = make([][]byte, b.width)
	there, err := m.readEntries(b.tile)
	var leaves row
	if err == nil {
		leaves = leavesOf(there)
	}
	for i := range b.width {
		if leaves != nil && leaves.at(i) == want.at(i) {
			b.entries[i] = there[i]
			continue
		}
		b.lacks++
		lacking[want.at(i)] = append(lacking[want.at(i)], place{b, i})
	}
}

// available says which entries the archive lacks too.
func (m *mender) available(ctx context.Context, lacking map[hash][]place) error {
	kept := map[hash]bool{}
	if m.archive != nil {
		err := m.replay(ctx, func(leaf hash, _ []byte) error {
			if lacking[leaf] != nil {
				kept[leaf] = true
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	var found []damage
	for leaf, places := range lacking {
		for _, p := range places {
			if !kept[leaf] {
				found = append(found, damage{p.tile, p.why})
			}
		}
	}
	switch {
	case len(found) == 0:
		return nil
	case m.archive == nil:
		return m.refuse(found, errNoArchive)
	}
	return m.refuse(found, errNotKept)
}

// writeBundles writes bundles as soon as the archive has given all that they lack.
func (m *mender) writeBundles(ctx context.Context, lacking map[hash][]place) error {
	if len(lacking) == 0 {
		return nil
	}
	return m.replay(ctx, func(leaf hash, data []byte) error {
		for _, p := range lacking[leaf] {
			p.entries[p.at] = data
			if p.lacks--; p.lacks > 0 {
				continue
			}
			if err := m.replace(p.path(), encodeBundle(p.entries), p.why); err != nil {
				return err
			}
			p.entries = nil
		}
		delete(lacking, leaf)
		return nil
	})
}

// encodeBundle is an entry bundle.
func encodeBundle(entries [][]byte) (text []byte) {
	for _, data := range entries {
		text = appendEntry(text, data)
	}
	return text
}

// replace puts a rebuilt file in the place of a damaged one, which is set aside.
func (m *mender) replace(path string, text []byte, why error) error {
	if err := m.setAside(path); err != nil {
		return fmt.Errorf("set aside a damaged file: %w", err)
	}
	at := filepath.Join(m.tiles(), path)
	if err := makeDirs(filepath.Dir(at)); err != nil {
		return err
	}
	if err := durable.Replace(at, text, 0o644); err != nil {
		return fmt.Errorf("rebuild %s: %w", at, err)
	}
	m.log.Warn("damaged file of the log rebuilt", zap.String("log", m.Origin()), zap.String("file", at), zap.NamedError("found", why), zap.String("set_aside_in", m.aside))
	return nil
}

// setAside moves what is at a path below the tiles, or where a directory above it should be.
func (m *mender) setAside(path string) error {
	at := ""
	for _, name := range strings.Split(path, "/") {
		at = filepath.Join(at, name)
		info, err := os.Lstat(filepath.Join(m.tiles(), at))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if !info.IsDir() || at == filepath.FromSlash(path) {
			break
		}
	}
	from, to := filepath.Join(m.tiles(), at), filepath.Join(m.aside, at)
	if err := makeDirs(filepath.Dir(to)); err != nil {
		return err
	}
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return errors.Join(durable.SyncDir(filepath.Dir(to)), durable.SyncDir(filepath.Dir(from)))
}

// makeDirs makes a directory and those above it, durably.
func makeDirs(path string) error {
	if _, err := os.Stat(path); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := makeDirs(filepath.Dir(path)); err != nil {
		return err
	}
	if err := os.Mkdir(path, 0o755); err != nil {
		return err
	}
	return durable.SyncDir(filepath.Dir(path))
}
