package statement

import (
	"crypto/sha256"
	"slices"
)

// nowhere is the place of a frame that there is none of.
const nowhere = ^uint64(0)

// list is one list of a claim, as one gateway has it: of each number its agreed
// bytes, none where it has no frame, and where that is. Its buffers are used again.
type list struct {
	numbers []uint64
	at      []uint64
	ends    []int // where the agreed bytes of each number end
	agreed  []byte
	tree    tree
}

func (l *list) reset() {
	l.numbers, l.at, l.ends, l.agreed = l.numbers[:0], l.at[:0], l.ends[:0], l.agreed[:0]
	l.tree.reset()
}

// add appends a number, and what there is of it.
func (l *list) add(n uint64, p *piece, agreed []byte) {
	at, leaf := nowhere, &absentLeaf
	if p != nil {
		at, leaf = p.at, &p.leaf
	}
	l.numbers = append(l.numbers, n)
	l.at = append(l.at, at)
	l.agreed = append(l.agreed, agreed...)
	l.ends = append(l.ends, len(l.agreed))
	l.tree.add(leaf)
}

// digest is that of the places from one to before another: the SHA-256 of their
// agreed bytes.
func (l *list) digest(from, to int) Hash {
	return sha256.Sum256(l.agreed[l.begin(from):l.begin(to)])
}

// begin is where the agreed bytes of a place begin.
func (l *list) begin(place int) int {
	if place == 0 {
		return 0
	}
	return l.ends[place-1]
}

// without is the list without rising numbers. It has no tree.
func (l *list) without(skip []uint64) *list {
	if len(skip) == 0 {
		return l
	}
	less := new(list)
	for place, n := range l.numbers {
		if len(skip) > 0 && skip[0] == n {
			skip = skip[1:]
			continue
		}
		less.numbers = append(less.numbers, n)
		less.at = append(less.at, l.at[place])
		less.agreed = append(less.agreed, l.agreed[l.begin(place):l.ends[place]]...)
		less.ends = append(less.ends, len(less.agreed))
	}
	return less
}

// place of a number; false if it is not in the list.
func (l *list) place(n uint64) (int, bool) { return slices.BinarySearch(l.numbers, n) }

// fanOut is in how many parts a span is told.
const fanOut = 8

// parts cuts a span of places: fanOut parts that differ by one place at most, or one
// for each place.
func parts(from, to uint64) [][2]uint64 {
	size := to - from
	n := min(size, fanOut)
	cut := make([][2]uint64, n)
	for at := range n {
		cut[at] = [2]uint64{from + at*size/n, from + (at+1)*size/n}
	}
	return cut
}
