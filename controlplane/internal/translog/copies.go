package translog

import (
	"context"
	"iter"

	"github.com/sallyport-mesh/sallyport/controlplane/internal/spans"
)

// copies are the leaf hashes of the entries that the archive has of a log, in the order in
// which they were taken. There may be others among them than the tree has: of entries that
// were never taken, in a run of which the last batch before a crash consists.
type copies struct {
	order row
	in    map[hash]bool
}

// replay gives all entries of the archive, and their leaf hashes, in order.
func (m *mender) replay(ctx context.Context, each func(leaf hash, data []byte) error) error {
	return m.archive.ReplayEntries(ctx, m.vkey, func(entries [][]byte) error {
		leaves := leavesOf(entries)
		for i, data := range entries {
			if err := each(leaves.at(uint64(i)), data); err != nil { //nolint:gosec // not negative
				return err
			}
		}
		return ctx.Err()
	})
}

func (m *mender) copies(ctx context.Context) (*copies, error) {
	c := &copies{in: map[hash]bool{}}
	return c, m.replay(ctx, func(leaf hash, _ []byte) error {
		c.order = append(c.order, leaf[:]...)
		c.in[leaf] = true
		return nil
	})
}

func (c *copies) has(leaf hash) bool { return c.in[leaf] }

func (c *copies) len() uint64 { return uint64(len(c.order) / hashSize) }

// after are the places behind a leaf; the beginning, behind none.
func (c *copies) after(leaf *hash) iter.Seq[uint64] {
	return func(yield func(uint64) bool) {
		if leaf == nil {
			yield(0)
			return
		}
		for i := range c.len() {
			if c.order.at(i) == *leaf && !yield(i+1) {
				return
			}
		}
	}
}

// until is where a leaf comes next; the end, if there is none.
func (c *copies) until(from uint64, leaf *hash) uint64 {
	for i := from; leaf != nil && i < c.len(); i++ {
		if c.order.at(i) == *leaf {
			return i
		}
	}
	return c.len()
}

// between are the rows of that width that may have been between two leaves (nil is the
// beginning, or the end): what is between their copies, but for one run of too many.
func (c *copies) between(before, behind *hash, width uint64) iter.Seq[row] {
	return func(yield func(row) bool) {
		for from := range c.after(before) {
			to := c.until(from, behind)
			if to-from < width {
				continue
			}
			extra := to - from - width
			for left := width; ; left-- { // what is too many is at the end, most often
				one := append(append(row(nil), c.order.of(from, from+left)...), c.order.of(from+left+extra, to)...)
				if !yield(one) {
					return
				}
				if left == 0 || extra == 0 {
					break
				}
			}
		}
	}
}

// workLeaves bounds how many leaves are put into a tree to find those that come to its
// root: some ten seconds' work.
const workLeaves = 1 << 26

// puzzle is a tree some of whose leaves are not known.
type puzzle struct {
	*tree

	root   hash
	leaves row
	copies *copies
	work   uint64
}

// fit gives the tree of leaves, if it has the root that it should have when what the archive
// has between their neighbours is in the holes. Then leaves has that too.
func (m *mender) fit(leaves row, holes spans.Set, c *copies) *tree {
	p := &puzzle{tree: newTree(m.size, m.signed.Size), root: m.root, leaves: leaves, copies: c, work: workLeaves}
	for i := range tilesAt(m.size, leafLevel) {
		p.place(i)
	}
	p.grow()
	if !p.fill(holes) {
		return nil
	}
	return p.tree
}

// place puts a bundle's leaves into the tree.
func (p *puzzle) place(index uint64) {
	at := tileOf(p.size, leafLevel, index)
	p.put(index, p.leaves.of(index*bundleWidth, index*bundleWidth+at.width))
}

// fill fills holes so that the tree has its root.
func (p *puzzle) fill(holes spans.Set) bool {
	if len(holes) == 0 {
		return p.tree.root(p.size) == p.root
	}
	h := holes[0]
	for one := range p.copies.between(p.leaf(h.From-1), p.leaf(h.To), h.To-h.From) {
		if p.work < h.To-h.From {
			return false
		}
		p.work -= h.To - h.From
		copy(p.leaves[h.From*hashSize:], one)
		for i := h.From / bundleWidth; i*bundleWidth < h.To; i++ {
			p.place(i)
			p.lift(i)
		}
		if p.fill(holes[1:]) {
			return true
		}
	}
	return false
}

// leaf is a leaf; nil of one that is before the first, or behind the last.
func (p *puzzle) leaf(i uint64) *hash {
	if i >= p.size {
		return nil
	}
	leaf := p.leaves.at(i)
	return &leaf
}
