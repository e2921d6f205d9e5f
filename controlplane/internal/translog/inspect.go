package translog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/sallyport-mesh/sallyport/controlplane/internal/spans"
	"github.com/transparency-dev/tessera/api"
)

// errDiffers is of a file that can be read and is not what the tree has.
var errDiffers = errors.New("it has not what the tree has")

// file is where a tile is.
func (r *Reader) file(t tile) string { return filepath.Join(r.tiles(), t.path()) }

// readNodes reads a tile. Its nodes are nobody's word yet.
func (r *Reader) readNodes(t tile) (row, error) {
	data, err := os.ReadFile(r.file(t))
	if err == nil && uint64(len(data)) != t.width*hashSize {
		err = fmt.Errorf("it has %d bytes, and not %d", len(data), t.width*hashSize)
	}
	if err != nil {
		return nil, err
	}
	return data, nil
}

// readEntries reads an entry bundle, in the same way.
func (r *Reader) readEntries(t tile) ([][]byte, error) {
	data, err := os.ReadFile(r.file(t))
	if err != nil {
		return nil, err
	}
	var b api.EntryBundle
	if err := b.UnmarshalText(data); err != nil {
		return nil, err
	}
	if uint64(len(b.Entries)) != t.width {
		return nil, fmt.Errorf("it has %d entries, and not %d", len(b.Entries), t.width)
	}
	return b.Entries, nil
}

// seen is the leaves of one bundle, as the bundle has them and as its hash tile has them;
// nil where the file cannot be read, and why.
type seen struct {
	bundle, tile       row
	bundleErr, tileErr error
}

// agree says that both files were read and have the same leaves.
func (s seen) agree() bool { return s.bundle != nil && bytes.Equal(s.bundle, s.tile) }

// look reads what there is of a bundle's leaves.
func (m *mender) look(index uint64) (s seen) {
	var entries [][]byte
	entries, s.bundleErr = m.readEntries(tileOf(m.size, entriesLevel, index))
	if s.bundleErr == nil {
		s.bundle = leavesOf(entries)
	}
	s.tile, s.tileErr = m.readNodes(tileOf(m.size, leafLevel, index))
	if s.agree() {
		s.tile = s.bundle // and not the same twice
	}
	return s
}

// whole says that all files of the tree are as they should be. It keeps little of what it
// reads, however large the log is.
func (m *mender) whole(ctx context.Context) (bool, error) {
	t := newTree(m.size)
	for i := range tilesAt(m.size, leafLevel) {
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		s := m.look(i)
		if !s.agree() {
			return false, nil
		}
		t.put(i, s.tile)
	}
	t.grow()
	return t.root(m.size) == m.root && len(m.above(t)) == 0, nil
}

// damage is a file that is not what it should be, and why.
type damage struct {
	tile
	why error
}

// above are the tiles above the leaves that are not what a tree has.
func (m *mender) above(t *tree) (all []damage) {
	for level := leafLevel + 1; nodesAt(m.size, level) > 0; level++ {
		for i := range tilesAt(m.size, level) {
			at := tileOf(m.size, level, i)
			nodes, err := m.readNodes(at)
			if err == nil && !bytes.Equal(nodes, t.nodes(at)) {
				err = errDiffers
			}
			if err != nil {
				all = append(all, damage{at, err})
			}
		}
	}
	return all
}

// survey is what all files of a tree say of its leaves.
type survey struct {
	size  uint64
	seen  []seen
	nodes []row // of the tiles of level 1; nil of one that cannot be read
}

func (m *mender) survey(ctx context.Context) (*survey, error) {
	s := &survey{size: m.size}
	for i := range tilesAt(m.size, leafLevel) {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		s.seen = append(s.seen, m.look(i))
	}
	for i := range tilesAt(m.size, leafLevel+1) {
		nodes, err := m.readNodes(tileOf(m.size, leafLevel+1, i))
		if err != nil {
			nodes = nil
		}
		s.nodes = append(s.nodes, nodes)
	}
	return s, nil
}

// said are the leaves of a bundle, as its files have them, in that order; nil at the end.
func (s seen) said(tileFirst bool) (first, second row) {
	first, second = s.bundle, s.tile
	if first == nil || second != nil && tileFirst {
		first, second = second, first
	}
	return first, second
}

// vouched says that the tile of level 1 has the root of a bundle's leaves.
func (s *survey) vouched(index uint64, leaves row) bool {
	if len(leaves) != bundleWidth*hashSize || s.nodes[index/bundleWidth] == nil {
		return false
	}
	return s.nodes[index/bundleWidth].at(index%bundleWidth) == leaves.fold()
}

// faults are the files that were found damaged, as far as they can be told without knowing
// what the tree has: of two that do not agree, the one that nothing speaks for.
func (s *survey) faults() (all []damage) {
	for i, one := range s.seen {
		index := uint64(i) //nolint:gosec // not negative
		bundle, tile := tileOf(s.size, entriesLevel, index), tileOf(s.size, leafLevel, index)
		if one.bundleErr != nil {
			all = append(all, damage{bundle, one.bundleErr})
		}
		if one.tileErr != nil {
			all = append(all, damage{tile, one.tileErr})
		}
		if one.bundle == nil || one.tile == nil || one.agree() {
			continue
		}
		if !s.vouched(index, one.bundle) {
			all = append(all, damage{bundle, errDiffers})
		}
		if !s.vouched(index, one.tile) {
			all = append(all, damage{tile, errDiffers})
		}
	}
	return all
}

// leaves are what bundles say of all leaves, or hash tiles if tileFirst, and the others where
// that cannot be believed; and the holes where neither can.
func (s *survey) leaves(tileFirst bool, believe func(hash) bool) (leaves row, holes spans.Set) {
	leaves = make(row, s.size*hashSize)
	var first, second row
	for i := range s.size {
		p := i % bundleWidth
		if p == 0 {
			first, second = s.seen[i/bundleWidth].said(tileFirst)
		}
		switch {
		case first != nil && believe(first.at(p)):
			leaves.set(i, first.at(p))
		case second != nil && believe(second.at(p)):
			leaves.set(i, second.at(p))
		default:
			holes.Add(spans.Span{From: i, To: i + 1})
		}
	}
	return leaves, holes
}
