package translog

import (
	"crypto/sha256"

	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/api/layout"
)

const (
	hashSize = sha256.Size
	// tileHeight is the logarithm of bundleWidth, which is also how many nodes a tile has.
	tileHeight = 8
	// leafLevel is the level of tiles whose nodes are the leaves.
	leafLevel = 0
	// entriesLevel stands for entry bundles, which are below the leaves.
	entriesLevel = -1
)

type hash = [hashSize]byte

// row is nodes of one level of a tree, one behind the other, as a tile has them.
type row []byte

func (r row) at(i uint64) hash        { return hash(r[i*hashSize:]) }
func (r row) of(from, to uint64) row  { return r[from*hashSize : to*hashSize] }
func (r row) set(i uint64, node hash) { copy(r[i*hashSize:], node[:]) }

// fold is the root of the perfect tree over a row of 2^n nodes.
func (r row) fold() hash {
	nodes := append(row(nil), r...)
	for ; len(nodes) > hashSize; nodes = nodes[:len(nodes)/2] {
		for i := range uint64(len(nodes) / (2 * hashSize)) {
			nodes.set(i, parentOf(nodes.at(2*i), nodes.at(2*i+1)))
		}
	}
	return nodes.at(0)
}

// parentOf is the hash of a node (RFC 6962, section 2.1).
func parentOf(left, right hash) hash {
	return hash(rfc6962.DefaultHasher.HashChildren(left[:], right[:]))
}

// leavesOf are the leaf hashes of entries.
func leavesOf(entries [][]byte) row {
	leaves := make(row, 0, len(entries)*hashSize)
	for _, data := range entries {
		leaves = append(leaves, rfc6962.DefaultHasher.HashLeaf(data)...)
	}
	return leaves
}

// tile is a tile of a tree of some size, or an entry bundle of it.
type tile struct {
	level int
	index uint64
	width uint64 // how many nodes it has, or entries
}

// tileOf is a tile of a tree of that size, which has to have it.
func tileOf(size uint64, level int, index uint64) tile {
	return tile{level, index, min(bundleWidth, nodesAt(size, level)-index*bundleWidth)}
}

// nodesAt is how many nodes tiles of a level have in a tree of that size.
func nodesAt(size uint64, level int) uint64 { return size >> (tileHeight * max(level, leafLevel)) }

// tilesAt is how many tiles a level has in a tree of that size.
func tilesAt(size uint64, level int) uint64 {
	return (nodesAt(size, level) + bundleWidth - 1) / bundleWidth
}

// path is where the tile is below the directory of tiles.
func (t tile) path() string {
	partial := uint8(t.width % bundleWidth) //nolint:gosec // less than 256
	if t.level == entriesLevel {
		return layout.EntriesPath(t.index, partial)
	}
	return layout.TilePath(uint64(t.level), t.index, partial) //nolint:gosec // not negative
}

// tree is the nodes that the tiles of a tree have. Of the leaves it has those alone that
// are not below a full tile in the trees whose roots it is asked for.
type tree struct {
	size  uint64
	above []row // those of level 1, of level 2, and so on
	edges map[uint64]row
}

// newTree is a tree of that size whose leaves are not known yet. Its own root can be had,
// and those of its beginnings of the sizes roots.
func newTree(size uint64, roots ...uint64) *tree {
	t := &tree{size: size, edges: map[uint64]row{size / bundleWidth: nil}}
	for level := leafLevel + 1; nodesAt(size, level) > 0; level++ {
		t.above = append(t.above, make(row, nodesAt(size, level)*hashSize))
	}
	for _, size := range roots {
		t.edges[size/bundleWidth] = nil
	}
	return t
}

// put sets the leaves of a bundle. What is above them is not known until lift or grow.
func (t *tree) put(index uint64, leaves row) {
	if _, asked := t.edges[index]; asked {
		t.edges[index] = leaves
	}
	if len(leaves) == bundleWidth*hashSize {
		t.above[0].set(index, leaves.fold())
	}
}

// lift computes again what is above a bundle.
func (t *tree) lift(index uint64) {
	for i := range len(t.above) - 1 {
		index /= bundleWidth
		if index < nodesAt(t.size, i+2) {
			t.above[i+1].set(index, t.above[i].of(index*bundleWidth, (index+1)*bundleWidth).fold())
		}
	}
}

// grow computes all that is above the bundles.
func (t *tree) grow() {
	for i := range len(t.above) - 1 {
		for index := range nodesAt(t.size, i+2) {
			t.above[i+1].set(index, t.above[i].of(index*bundleWidth, (index+1)*bundleWidth).fold())
		}
	}
}

// nodes are those that a tile above the leaves has.
func (t *tree) nodes(at tile) row {
	return t.above[at.level-1].of(at.index*bundleWidth, at.index*bundleWidth+at.width)
}

// root is the root of the first entries, which are as many as were said when the tree was
// made, or all.
func (t *tree) root(size uint64) hash {
	if size == 0 {
		return emptyRoot
	}
	var left stack
	for level := len(t.above); level >= leafLevel; level-- {
		end := nodesAt(size, level)
		begin := end &^ (bundleWidth - 1) // the others are below full tiles
		nodes := row(nil)
		if level == leafLevel && end > begin {
			nodes = t.edges[size/bundleWidth].of(0, end-begin)
		} else if level > leafLevel {
			nodes = t.above[level-1].of(begin, end)
		}
		for i := range uint64(len(nodes) / hashSize) {
			left.push(level*tileHeight, nodes.at(i))
		}
	}
	return left.root()
}

// stack is the roots of perfect trees, each higher than the next.
type stack []subtree

type subtree struct {
	height int
	root   hash
}

func (s *stack) push(height int, root hash) {
	for n := len(*s); n > 0 && (*s)[n-1].height == height; n = len(*s) {
		root, height = parentOf((*s)[n-1].root, root), height+1
		*s = (*s)[:n-1]
	}
	*s = append(*s, subtree{height, root})
}

// root is the root of the tree that they make.
func (s *stack) root() hash {
	all := *s
	root := all[len(all)-1].root
	for i := len(all) - 2; i >= 0; i-- {
		root = parentOf(all[i].root, root)
	}
	return root
}
