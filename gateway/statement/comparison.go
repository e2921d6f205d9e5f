package statement

import (
	"crypto/sha256"
	"fmt"
	"slices"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// comparison finds the numbers of one list of a claim on which the two gateways
// differ: by halves of digests of what is left when those are taken out of which
// the ingress gateway knows by itself, then by frames.
type comparison struct {
	list   crossingv1.Ask_List
	chain  Chain
	frames Frames   // the ingress gateway's own
	own    *list    // what the ingress gateway has, by all numbers of the claim's list
	skip   []uint64 // known to differ
	denied []uint64 // those that the ingress gateway denied: their frames are compared
	found  *findings

	owed   bool   // the claim's digest says that there is a difference
	rest   *list  // own without skip
	spans  []span // to ask about, by places of rest
	check  []uint64
	sent   []span   // asked about: the parts of which digests are owed
	wanted []uint64 // asked about: the numbers of which frames are owed
}

// span is places of a list.
type span struct{ from, to uint64 }

// begin compares what was claimed of the whole list.
func (c *comparison) begin(agreed []byte) {
	c.check = slices.Clone(c.denied)
	if len(c.skip) == 0 {
		if c.owed = Hash(agreed) != c.own.digest(0, len(c.own.numbers)); !c.owed {
			return
		}
	}
	c.rest = c.own.without(c.skip)
	if n := len(c.rest.numbers); n > 0 {
		c.spans = append(c.spans, span{0, uint64(n)})
	}
}

// ask is the next question; nil if there is none.
func (c *comparison) ask() *crossingv1.Ask {
	a := &crossingv1.Ask{List: c.list}
	c.sent, c.wanted = nil, nil
	if len(c.spans) > 0 {
		n := min(len(c.spans), maxSpans)
		for _, s := range c.spans[:n] {
			a.Spans = append(a.Spans, &crossingv1.Span{From: s.from, To: s.to})
			for _, part := range parts(s.from, s.to) {
				c.sent = append(c.sent, span{part[0], part[1]})
			}
		}
		a.Skip = distances(c.skip, 0)
		c.spans = c.spans[n:]
		return a
	}
	if len(c.check) > 0 {
		slices.Sort(c.check)
		c.wanted = c.check[:min(len(c.check), maxNumbers)]
		a.Numbers = c.wanted
		return a
	}
	return nil
}

// told takes the answer to the last question.
func (c *comparison) told(t *crossingv1.Told) error {
	if len(t.GetDigests()) != len(c.sent) || len(t.GetFrames()) > len(c.wanted) || len(c.wanted) > 0 && len(t.GetFrames()) == 0 {
		return fmt.Errorf("%d digests and %d frames, asked for %d and %d", len(t.GetDigests()), len(t.GetFrames()), len(c.sent), len(c.wanted))
	}
	for at, part := range c.sent {
		digest := t.GetDigests()[at]
		if len(digest) != sha256.Size {
			return fmt.Errorf("a digest of %d bytes", len(digest))
		}
		c.found.digests++
		if Hash(digest) == c.rest.digest(int(part.from), int(part.to)) {
			continue
		}
		c.owed = false
		if part.to-part.from > 1 {
			c.spans = append(c.spans, part)
		} else {
			c.check = append(c.check, c.rest.numbers[part.from])
		}
	}
	for at, frame := range t.GetFrames() {
		if c.list == crossingv1.Ask_OPENED {
			c.compareOpen(c.wanted[at], frame)
		} else {
			c.compareClose(c.wanted[at], frame)
		}
	}
	c.check = c.check[len(t.GetFrames()):]
	c.sent, c.wanted = nil, nil
	return nil
}

// compareOpen names what differs between two openings.
func (c *comparison) compareOpen(n uint64, frame []byte) {
	denied := has(c.denied, n)
	if len(frame) == 0 {
		c.found.add(crossingv1.Difference_UNOPENED, nil, n)
		return
	}
	theirs, mine := c.theirs(frame).GetOpen(), c.mine(n).GetOpen()
	if theirs == nil || mine == nil {
		c.found.add(crossingv1.Difference_OPENED_OTHERWISE, nil, n)
		return
	}
	switch fields := crossing.OpenDifferences(theirs, mine); {
	case len(fields) > 0 || !denied:
		c.found.add(crossingv1.Difference_OPENED_OTHERWISE, fields, n)
	default:
		c.found.add(crossingv1.Difference_DENIED, nil, n)
	}
}

// compareClose names what differs between two ends. Two may end otherwise, and
// differ in nothing that they must say alike.
func (c *comparison) compareClose(n uint64, frame []byte) {
	denied := has(c.denied, n)
	theirs, mine := c.theirs(frame).GetClose(), c.mine(n).GetClose()
	if theirs == nil || mine == nil {
		c.found.add(crossingv1.Difference_ENDED_OTHERWISE, nil, n)
		return
	}
	switch fields := crossing.CloseDifferences(theirs, mine, denied); {
	case len(fields) > 0:
		c.found.add(crossingv1.Difference_ENDED_OTHERWISE, fields, n)
	case crossing.CloseDigest(theirs) != crossing.CloseDigest(mine):
		c.found.add(crossingv1.Difference_BROKEN_OFF, nil, n)
	case !denied: // its digest was not that of its frame
		c.found.add(crossingv1.Difference_ENDED_OTHERWISE, nil, n)
	}
}

// theirs is a frame as the egress gateway told it; empty if it is none of its.
func (c *comparison) theirs(frame []byte) *crossingv1.Frame {
	f, err := crossing.UnmarshalFrame(frame)
	if err != nil {
		return nil
	}
	egress, err := spiffeid.FromString(c.chain.Egress)
	if err != nil || crossing.CheckFrame(f, egress) != nil {
		return nil
	}
	return f
}

// mine is the ingress gateway's own frame; empty if it is gone.
func (c *comparison) mine(n uint64) *crossingv1.Frame {
	place, found := c.own.place(n)
	if !found || c.own.at[place] == nowhere {
		return nil
	}
	f, err := crossing.UnmarshalFrame(frameAt(c.frames, c.own.at[place]))
	if err != nil {
		return nil
	}
	return f
}
