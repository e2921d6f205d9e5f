package statement

import (
	"crypto/sha256"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// maxClosedBytes is the most that the numbers of one claim's ends take, in bytes,
// so that claim and answer fit into one frame.
const maxClosedBytes = 12 << 10

// Facts are what a claim says beside the account.
type Facts struct {
	// Now is the gateway's clock.
	Now time.Time
	// Policy in force; nil if there is none.
	Policy *crossingv1.PolicyRef
	// Final says that the run has ended: numbers that have neither opened nor are void
	// are void, and the claim is final if it says all there is.
	Final bool
	// Empty says that a claim is made although there may be nothing to say: the ingress
	// gateway has not got the one before.
	Empty bool
}

// Cut makes the claim of the epoch, signed and outstanding, or gives nil if one is
// outstanding already, or there is nothing to say and it is neither final nor Empty. It
// must be written down durably before it is sent.
func (e *Egress) Cut(f Facts, by *Signer) *crossingv1.Statement {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.pending || e.done {
		return nil
	}
	next, all := e.settled(f.Final)
	ends, allEnds := e.ends(next)
	if next == e.book.base && len(ends) == 0 && !f.Final && !f.Empty {
		return nil
	}
	c := e.claim(next, ends, f)
	c.Final = f.Final && all && allEnds
	e.sign(c, ends, by)
	return e.last.Statement
}

// settled is the number before which all have opened or are void, and whether it is
// the last one.
func (e *Egress) settled(final bool) (next uint64, all bool) {
	given := max(e.counter.Load(), e.book.highest)
	for next = e.book.base; next <= given && next-e.book.base < MaxOpened; next++ {
		s, _ := e.book.slot(next, final)
		switch {
		case s != nil && s.is&(opened|void) != 0:
		case !final || s == nil:
			return next, false
		default:
			s.is |= void
			e.unclaimed.openings++
		}
	}
	return next, next > given
}

// ends are numbers that have ended and can be claimed, rising, and whether they are
// all.
func (e *Egress) ends(next uint64) (ends []uint64, all bool) {
	slices.Sort(e.book.ended)
	ends = append(make([]uint64, 0, len(e.book.ended)+int(next-e.book.base)), e.book.ended...)
	for n, s := range e.book.slots(next) {
		if s.is&(opened|closed) == opened|closed {
			ends = append(ends, n)
		}
	}
	most := fitting(ends[:min(len(ends), MaxClosed)], maxClosedBytes)
	return ends[:most], most == len(ends)
}

// claim is what is claimed of them.
func (e *Egress) claim(next uint64, ends []uint64, f Facts) *crossingv1.Claim {
	first := e.book.base
	voids := e.makeLists(first, next, ends)
	e.unclaimed.openings -= int(next - first)
	e.unclaimed.ends -= len(ends)
	c := &crossingv1.Claim{
		Chain: e.chain.Message(), Epoch: 1, First: first, Next: next,
		Voids: distances(voids, first), Closed: distances(ends, 0),
		Roots: rootsOf(&e.lists), Agreed: agreedOf(&e.lists),
		Policy: f.Policy, Since: timestamppb.New(e.since), At: timestamppb.New(f.Now), Resumed: e.resumed,
	}
	if !e.book.alone {
		c.Open = uint64(len(e.book.older) + int(next-first) - len(voids) - len(ends))
	}
	if e.last != nil {
		c.Epoch, c.Previous = e.last.Claim.GetEpoch()+1, e.last.ClaimHash[:]
		if e.last.Answer != nil {
			c.Answered = e.last.AnswerHash[:]
		}
	}
	e.since, e.resumed = f.Now, false
	return c
}

// makeLists makes the lists of a claim, and gives the voids.
func (e *Egress) makeLists(first, next uint64, ends []uint64) (voids []uint64) {
	e.lists[0].reset()
	e.lists[1].reset()
	for n := first; n < next; n++ {
		p, agreed, _ := e.book.openingOf(n)
		if p == nil {
			voids = append(voids, n)
		}
		e.lists[0].add(n, p, agreed)
	}
	for _, n := range ends {
		p, agreed, _ := e.book.endOf(n)
		e.lists[1].add(n, p, agreed)
	}
	e.listed = true
	return voids
}

func rootsOf(lists *[2]list) *crossingv1.Roots {
	opened, closed := lists[0].tree.root(), lists[1].tree.root()
	return &crossingv1.Roots{Opened: opened[:], Closed: closed[:]}
}

func agreedOf(lists *[2]list) *crossingv1.Agreed {
	opened, closed := lists[0].digest(0, len(lists[0].numbers)), lists[1].digest(0, len(lists[1].numbers))
	return &crossingv1.Agreed{Opened: opened[:], Closed: closed[:]}
}

// sign makes a claim the outstanding one.
func (e *Egress) sign(c *crossingv1.Claim, ends []uint64, by *Signer) {
	data := encode(c)
	hash := sha256.Sum256(data)
	voids, _ := numbersOf(c.GetVoids(), c.GetFirst(), MaxOpened) // they rise
	e.last = &Stated{
		Statement: &crossingv1.Statement{Claim: data, Egress: by.sign(claimContext, hash)},
		Chain:     e.chain, Claim: c, ClaimHash: hash, voids: voids, closed: ends,
	}
	e.pending = true
}
