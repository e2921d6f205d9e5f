package statement

import (
	"crypto/sha256"
	"math/bits"
)

// What a hash begins with (RFC 6962, section 2.1), so that a leaf is no node.
const (
	leafPrefix = 0x00
	nodePrefix = 0x01
)

// Leaf is the hash of a leaf (RFC 6962, section 2.1).
func Leaf(data []byte) (sum Hash) {
	h := sha256.New()
	h.Write(leafMark)
	h.Write(data)
	h.Sum(sum[:0])
	return sum
}

var (
	leafMark = []byte{leafPrefix}
	// absentLeaf is the leaf of a number without a frame.
	absentLeaf = Leaf(nil)
	emptyRoot  = sha256.Sum256(nil)
)

// node is the hash of a node.
func node(left, right *Hash) Hash {
	var b [1 + 2*sha256.Size]byte
	b[0] = nodePrefix
	copy(b[1:], left[:])
	copy(b[1+sha256.Size:], right[:])
	return sha256.Sum256(b[:])
}

// tree is a Merkle tree that only grows: the roots of its perfect subtrees, the
// largest first, which is all that its root needs.
type tree struct {
	peaks []Hash
	size  uint64
}

func (t *tree) reset() { t.peaks, t.size = t.peaks[:0], 0 }

// add appends a leaf. Two subtrees of one size become one.
func (t *tree) add(leaf *Hash) {
	sum := *leaf
	for n := t.size; n&1 == 1; n >>= 1 {
		last := len(t.peaks) - 1
		sum = node(&t.peaks[last], &sum)
		t.peaks = t.peaks[:last]
	}
	t.peaks = append(t.peaks, sum)
	t.size++
}

// root is the Merkle tree hash of what was added.
func (t *tree) root() Hash {
	if t.size == 0 {
		return emptyRoot
	}
	sum := t.peaks[len(t.peaks)-1]
	for at := len(t.peaks) - 2; at >= 0; at-- {
		sum = node(&t.peaks[at], &sum)
	}
	return sum
}

// Root is the Merkle tree hash of leaves that Leaf gave (RFC 6962, section 2.1).
func Root(leaves []Hash) Hash {
	var t tree
	for at := range leaves {
		t.add(&leaves[at])
	}
	return t.root()
}

// Path is the audit path of the leaf at that place, from the leaf up (RFC 6962,
// section 2.1.1).
func Path(leaves []Hash, at int) []Hash {
	if len(leaves) < 2 {
		return nil
	}
	split := 1 << (bits.Len(uint(len(leaves)-1)) - 1) // the largest power of two below their number
	if at < split {
		return append(Path(leaves[:split], at), Root(leaves[split:]))
	}
	return append(Path(leaves[split:], at-split), Root(leaves[:split]))
}

// RootOf is the root that a leaf at that place among so many comes to with that
// path; false if it is no path of such a tree (RFC 9162, section 2.1.3.2).
func RootOf(leaf Hash, at, size uint64, path []Hash) (Hash, bool) {
	if at >= size {
		return Hash{}, false
	}
	last := size - 1
	for i := range path {
		if last == 0 {
			return Hash{}, false
		}
		if at&1 == 1 || at == last {
			leaf = node(&path[i], &leaf)
			for at&1 == 0 && at != 0 { // it has no neighbour there
				at, last = at>>1, last>>1
			}
		} else {
			leaf = node(&leaf, &path[i])
		}
		at, last = at>>1, last>>1
	}
	return leaf, last == 0
}
