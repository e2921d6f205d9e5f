package pack

import (
	"iter"
	"maps"
	"math/bits"
	"slices"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/chain"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/merkle"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/statement"
)

// Sides and lists of a chain, as indices.
const (
	egress  = 0
	ingress = 1
	opened  = 0
	closed  = 1
)

// chained is a chain with the frames that were delivered.
type chained struct {
	*chain.Chain

	columns [2][2]column // by side and list
	absent  map[uint64]bool
}

func newChained(name statement.Chain) *chained {
	return &chained{Chain: chain.New(name), absent: map[uint64]bool{}}
}

// column is the frames of one side that have an opening, or an end, by number. Its pages
// are small: a frame of a number far away takes little.
type column struct {
	pages  map[uint64]*page
	last   *page // that was looked at
	lastAt uint64
}

// pageSize is how many numbers a page has: as many as a word has bits.
const pageSize = 64

type page struct {
	have   uint64 // numbers with a frame
	used   uint64 // those that are accounted for
	leaves [pageSize]merkle.Hash
	agreed [pageSize]uint64 // the beginning of the digest of what both must say alike
}

func (c *column) page(n uint64, add bool) *page {
	at := n / pageSize
	if c.last != nil && c.lastAt == at {
		return c.last
	}
	p := c.pages[at]
	if p == nil && add {
		if c.pages == nil {
			c.pages = map[uint64]*page{}
		}
		p = new(page)
		c.pages[at] = p
	}
	if p != nil {
		c.last, c.lastAt = p, at
	}
	return p
}

// put puts a frame. It is false if another one has the number.
func (c *column) put(n uint64, leaf merkle.Hash, agreed uint64) bool {
	p, bit := c.page(n, true), n%pageSize
	if p.have>>bit&1 == 1 {
		return p.leaves[bit] == leaf
	}
	p.have |= 1 << bit
	p.leaves[bit], p.agreed[bit] = leaf, agreed
	return true
}

// get gives a number's leaf, and what is agreed of it; false if there is no frame.
func (c *column) get(n uint64) (leaf merkle.Hash, agreed uint64, is bool) {
	p, bit := c.page(n, false), n%pageSize
	if p == nil || p.have>>bit&1 == 0 {
		return absentLeaf, 0, false
	}
	return p.leaves[bit], p.agreed[bit], true
}

// absentLeaf is that of a number without a frame.
var absentLeaf = merkle.Leaf(nil)

// use accounts for a number.
func (c *column) use(n uint64) {
	if p := c.page(n, false); p != nil {
		p.used |= 1 << (n % pageSize)
	}
}

// left are the numbers with a frame that nothing accounts for, rising.
func (c *column) left() iter.Seq[uint64] {
	return func(yield func(uint64) bool) {
		for _, at := range slices.Sorted(maps.Keys(c.pages)) {
			p := c.pages[at]
			for rest := p.have &^ p.used; rest != 0; rest &= rest - 1 {
				if !yield(at*pageSize + uint64(bits.TrailingZeros64(rest))) {
					return
				}
			}
		}
	}
}
