package statements

import (
	"iter"
	"slices"

	"github.com/sallyport-mesh/sallyport/controlplane/internal/spans"
	"github.com/sallyport-mesh/sallyport/gateway/statement"
)

// column is what one gateway has delivered of a chain's openings, or of its ends: a
// hash of each frame's bytes, from when it comes until a statement was held against
// it. Nothing in it is ever overwritten: the first frame counts.
type column struct {
	leaves map[uint64]statement.Hash // delivered, and not held against a statement yet
	again  map[uint64]statement.Hash // those of the epoch that was held last: what goes on at the other end is stated again
	wanted map[uint64][]*epoch       // stated, and not delivered yet
	done   spans.Set                 // delivered, stated and held
	past   spans.Set                 // all numbers that a statement was held on, those without a frame too
}

func newColumn() column {
	return column{leaves: map[uint64]statement.Hash{}, wanted: map[uint64][]*epoch{}}
}

// deliver takes a frame's hash, and gives the epochs that waited for it. One that was
// there before changes nothing.
func (c *column) deliver(n uint64, leaf statement.Hash) []*epoch {
	if c.has(n) {
		return nil
	}
	c.leaves[n] = leaf
	waited := c.wanted[n]
	delete(c.wanted, n)
	return waited
}

func (c *column) has(n uint64) bool {
	_, there := c.leaves[n]
	return there || c.done.Has(n)
}

// want notes that an epoch states a number, and says whether it has to wait for it.
func (c *column) want(n uint64, e *epoch) bool {
	if c.has(n) {
		return false
	}
	c.wanted[n] = append(c.wanted[n], e)
	return true
}

// root is the Merkle tree hash over those numbers: of each that has a frame by what is
// stated, the one that came. It cannot tell if one of them was held against another
// epoch, and is gone.
func (c *column) root(numbers iter.Seq2[uint64, bool]) (root statement.Hash, known bool) {
	absent := statement.Leaf(nil)
	var leaves []statement.Hash
	for n, stated := range numbers {
		leaf := absent
		if stated {
			var there bool
			if leaf, there = c.leaf(n); !there {
				return statement.Hash{}, false
			}
		}
		leaves = append(leaves, leaf)
	}
	return statement.Root(leaves), true
}

func (c *column) leaf(n uint64) (statement.Hash, bool) {
	if leaf, there := c.leaves[n]; there {
		return leaf, true
	}
	leaf, there := c.again[n]
	return leaf, there
}

// settle drops what was held against a statement on those numbers.
func (c *column) settle(numbers iter.Seq2[uint64, bool]) {
	again := map[uint64]statement.Hash{}
	for n, stated := range numbers {
		c.past.Add(spans.Span{From: n, To: n + 1})
		if leaf, there := c.leaf(n); there && stated {
			again[n] = leaf
			c.done.Add(spans.Span{From: n, To: n + 1})
			delete(c.leaves, n)
		}
	}
	c.again = again
}

// excess are numbers that were delivered although a statement was held that says
// there is no frame of them.
func (c *column) excess() []uint64 { return c.left(c.past.Has) }

// left are numbers that were delivered, and which no statement was held on.
func (c *column) left(which func(n uint64) bool) []uint64 {
	var left []uint64
	for n := range c.leaves {
		if which(n) {
			left = append(left, n)
		}
	}
	return left
}

// drop forgets the frame of a number, on which something else than a root was stated,
// be it here or still to come.
func (c *column) drop(n uint64) {
	delete(c.leaves, n)
	c.done.Add(spans.Span{From: n, To: n + 1})
}

// forget makes an epoch wait for nothing any more.
func (c *column) forget(e *epoch) {
	for n, waiting := range c.wanted {
		if waiting = slices.DeleteFunc(waiting, func(x *epoch) bool { return x == e }); len(waiting) == 0 {
			delete(c.wanted, n)
		} else {
			c.wanted[n] = waiting
		}
	}
}

// wants says that an epoch waits for the frame of a number.
func (c *column) wants(n uint64) bool { return len(c.wanted[n]) > 0 }
