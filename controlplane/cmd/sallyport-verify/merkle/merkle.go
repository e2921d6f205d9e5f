// Package merkle computes Merkle tree hashes and checks audit paths as RFC 6962, section
// 2.1, has them, over SHA-256.
package merkle

import (
	"crypto/sha256"
	"errors"
	"math/bits"
)

// Hash is a SHA-256.
type Hash = [sha256.Size]byte

// Empty is the root of no leaf.
var Empty = sha256.Sum256(nil)

// Leaf is the hash of a leaf (RFC 6962, section 2.1).
func Leaf(data []byte) (sum Hash) {
	h := sha256.New()
	h.Write(leafMark)
	h.Write(data)
	h.Sum(sum[:0])
	return sum
}

var leafMark = []byte{0}

func node(left, right *Hash) Hash {
	var b [1 + 2*sha256.Size]byte
	b[0] = 1
	copy(b[1:], left[:])
	copy(b[1+sha256.Size:], right[:])
	return sha256.Sum256(b[:])
}

// Tree is a tree that grows: the roots of its perfect subtrees, the largest first. The
// zero value has no leaf.
type Tree struct {
	peaks []Hash
	size  uint64
}

// Add appends a leaf. Subtrees of one size become one.
func (t *Tree) Add(leaf Hash) {
	for n := t.size; n&1 == 1; n >>= 1 {
		last := len(t.peaks) - 1
		leaf = node(&t.peaks[last], &leaf)
		t.peaks = t.peaks[:last]
	}
	t.peaks = append(t.peaks, leaf)
	t.size++
}

// Size is how many leaves there are.
func (t *Tree) Size() uint64 { return t.size }

// Root is the Merkle tree hash of the leaves that were added.
func (t *Tree) Root() Hash {
	if t.size == 0 {
		return Empty
	}
	sum := t.peaks[len(t.peaks)-1]
	for at := len(t.peaks) - 2; at >= 0; at-- {
		sum = node(&t.peaks[at], &sum)
	}
	return sum
}

// Reset takes all leaves away.
func (t *Tree) Reset() { t.peaks, t.size = t.peaks[:0], 0 }

var (
	// ErrNoPath is of a path that no leaf at that place has.
	ErrNoPath = errors.New("the path is none of a leaf at that place")
	errHashes = errors.New("a path is no whole hashes")
)

// Path are the hashes of an audit path that stand one after another.
func Path(data []byte) ([]Hash, error) {
	if len(data)%sha256.Size != 0 || len(data) > 64*sha256.Size {
		return nil, errHashes
	}
	path := make([]Hash, len(data)/sha256.Size)
	for at := range path {
		path[at] = Hash(data[at*sha256.Size:])
	}
	return path, nil
}

// Root is the root that a leaf at a place among so many comes to by its audit path, from
// the leaf's sibling on. A leaf has a sibling on each level but those on which its subtree
// is the last one and stands alone.
func Root(leaf Hash, at, size uint64, path []Hash) (Hash, error) {
	if at >= size {
		return Hash{}, ErrNoPath
	}
	inner := bits.Len64(at ^ (size - 1)) // levels below the one where its way and the last leaf's part
	border := bits.OnesCount64(at >> inner)
	if len(path) != inner+border {
		return Hash{}, ErrNoPath
	}
	for level := range path[:inner] {
		if at>>level&1 == 1 {
			leaf = node(&path[level], &leaf)
		} else {
			leaf = node(&leaf, &path[level])
		}
	}
	for level := range path[inner:] { // from there on it is on the right border
		leaf = node(&path[inner+level], &leaf)
	}
	return leaf, nil
}
