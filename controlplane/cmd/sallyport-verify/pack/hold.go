package pack

import (
	"fmt"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/chain"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/finding"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/merkle"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/message"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/spiffe"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/statement"
)

// hold holds the frames against what the statements say of them.
func (c *checker) hold() {
	for _, name := range c.names {
		ch := c.chains[name]
		for _, epoch := range ch.Epochs() {
			c.holdEpoch(ch, ch.Claim(epoch))
		}
		c.rest(ch)
	}
}

// lists are the numbers of a claim, and which frames of them a gateway says that it has.
type lists struct {
	claim *chain.Claim
	// unopened and unended are numbers that the ingress gateway has no frame of, of the
	// opening or of the end; extra are voids that it has an opening of.
	unopened, unended, extra map[uint64]bool
}

// listsOf takes up what a claim's answer says of numbers.
func (c *checker) listsOf(ch *chained, claim *chain.Claim) *lists {
	l := &lists{claim: claim}
	a := claim.Answered()
	if a == nil {
		return l
	}
	l.unopened, l.unended, l.extra = map[uint64]bool{}, map[uint64]bool{}, map[uint64]bool{}
	for _, n := range a.Deferred {
		l.unended[n] = true
	}
	for _, d := range a.Differences {
		for _, n := range d.Numbers {
			l.differs(ch, d.Kind, n)
		}
	}
	if claim.Resumed {
		repeated(ch, l)
	}
	return l
}

// differs takes up of which number the ingress gateway has a frame, or has none, other
// than the claim says.
func (l *lists) differs(ch *chained, kind, n uint64) {
	in := &ch.columns[ingress]
	switch kind {
	case message.Unseen, message.Unrecorded:
		l.unopened[n], ch.absent[n] = true, true
		in[opened].use(n)
		in[closed].use(n)
	case message.Unended:
		l.unended[n] = true
	case message.Unclaimed:
		in[opened].use(n)
	case message.UnclaimedEnd:
		in[closed].use(n)
	case message.Unopened:
		if l.claim.First <= n && n < l.claim.Next {
			l.extra[n] = true
		}
		in[opened].use(n)
		in[closed].use(n)
	}
}

// repeated are ends that an egress gateway which does not remember claims again: the
// ingress gateway has stated them, and does not do so again.
func repeated(ch *chained, l *lists) {
	for _, epoch := range ch.Epochs() {
		before := ch.Claim(epoch)
		a := before.Answered()
		if epoch >= l.claim.Epoch {
			return
		}
		if a == nil {
			continue
		}
		for _, n := range before.Closed {
			if !statement.Has(a.Deferred, n) && statement.Has(l.claim.Closed, n) {
				l.unended[n] = true
			}
		}
	}
}

// places are the numbers of a list in order, and of each whether the side says that it has
// a frame of it.
func (l *lists) places(side, list int, absent map[uint64]bool, each func(n uint64, has bool)) {
	if list == closed {
		for _, n := range l.claim.Closed {
			each(n, side == egress || !l.unended[n] && !absent[n])
		}
		return
	}
	for n := l.claim.First; n < l.claim.Next; n++ {
		has := !statement.Has(l.claim.Voids, n)
		if side == ingress {
			has = has && !l.unopened[n] || l.extra[n]
		}
		each(n, has)
	}
}

// holdEpoch holds both accounts of an epoch against their frames.
func (c *checker) holdEpoch(ch *chained, claim *chain.Claim) {
	l := c.listsOf(ch, claim)
	within := !claim.At.Before(c.From) && claim.At.Before(c.To)
	for side := range 2 {
		roots := claim.Roots
		if side == ingress {
			a := claim.Answered()
			if a == nil {
				continue
			}
			roots = a.Roots
		}
		for list, want := range []merkle.Hash{roots.Opened, roots.Closed} {
			n := c.holdList(ch, l, side, list, want, within)
			if side == egress && list == opened {
				c.Crossings += n
			}
		}
	}
}

// holdList holds one list against its root, and gives how many frames it has. Of an epoch
// outside the pack's time, frames may be missing.
func (c *checker) holdList(ch *chained, l *lists, side, list int, want merkle.Hash, within bool) int {
	var tree merkle.Tree
	var missing []uint64
	have, column := 0, &ch.columns[side][list]
	l.places(side, list, ch.absent, func(n uint64, has bool) {
		leaf, _, is := column.get(n)
		column.use(n)
		switch {
		case !has:
			leaf = absentLeaf
		case is:
			have++
		default:
			missing = append(missing, n)
		}
		tree.Add(leaf)
	})
	switch {
	case len(missing) > 0 && !within:
	case len(missing) > 0:
		f := c.at(finding.Dropped, ch, l, missing[0], "%s has signed %s of numbers %s, and no frame of that is there",
			spiffe.Name(gatewayOf(ch.Name, side)), what(list), chain.Ranges(missing))
		c.Findings.Add(f)
	case tree.Root() != want:
		c.Findings.Add(c.altered(ch, l, side, list))
	}
	return have
}

func (c *checker) at(k finding.Kind, ch *chained, l *lists, number uint64, why string, args ...any) finding.Finding {
	return finding.Of(finding.Fault, k, ch.Name, l.claim.Epoch, number, why, args...)
}

// altered is of frames that are not what was signed. Which of them, no signature says; but
// what both gateways must say alike of a number, the other one's frame shows.
func (c *checker) altered(ch *chained, l *lists, side, list int) finding.Finding {
	var suspects []uint64
	first, last := uint64(0), uint64(0)
	l.places(side, list, ch.absent, func(n uint64, has bool) {
		_, own, is := ch.columns[side][list].get(n)
		_, other, both := ch.columns[1-side][list].get(n)
		if has && is && first == 0 {
			first = n
		}
		last = n
		if has && is && both && own != other && len(differing(l.claim, n)) == 0 {
			suspects = append(suspects, n)
		}
	})
	who := spiffe.Name(gatewayOf(ch.Name, side))
	if len(suspects) > 0 {
		return c.at(finding.Changed, ch, l, suspects[0], "the frames of %s with %s are not those that it has signed; of numbers %s, they are not what %s has",
			who, what(list), chain.Ranges(suspects), spiffe.Name(gatewayOf(ch.Name, 1-side)))
	}
	return c.at(finding.Changed, ch, l, 0, "the frames of %s with %s, of numbers from %d to %d, are not those that it has signed: one at least was changed", who, what(list), first, last)
}

func differing(claim *chain.Claim, n uint64) []statement.Difference {
	if a := claim.Answered(); a != nil {
		s := statement.Statement{Answer: a.Answer}
		return s.Differs(n)
	}
	return nil
}

// rest finds frames that no statement is about. Those behind the last claim will be in the
// next one, if the run goes on.
func (c *checker) rest(ch *chained) {
	next := uint64(1)
	if last := ch.Last(); last != nil {
		next = last.Next
	}
	for side := range 2 {
		for list := range 2 {
			var added, later []uint64
			for n := range ch.columns[side][list].left() {
				if !ch.Over() && (n >= next || list == closed || side == ingress) {
					later = append(later, n)
				} else {
					added = append(added, n)
				}
			}
			who := spiffe.Name(gatewayOf(ch.Name, side))
			if len(added) > 0 {
				c.Findings.Add(finding.Of(finding.Fault, finding.Added, ch.Name, 0, added[0], "there are frames of %s with %s of numbers %s, and it has signed none", who, what(list), chain.Ranges(added)))
			}
			if len(later) > 0 {
				c.Findings.Add(finding.Of(finding.Note, finding.Pending, ch.Name, 0, later[0], "%s", fmt.Sprintf("frames of %s with %s of %d numbers are in no statement yet", who, what(list), len(later))))
			}
		}
	}
}
