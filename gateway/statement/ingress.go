package statement

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// maxReused is how many numbers that came twice wait to be told.
const maxReused = 1024

// Ingress is the ingress gateway's account of one chain: what came of it, and
// which claims it has answered. All methods may be called concurrently; Take,
// Opened, Closed, Unrecorded and Reused are short.
type Ingress struct {
	chain Chain

	mu     sync.Mutex // guards what follows
	book   book
	barred uint64              // numbers before it never open any more
	absent map[uint64]struct{} // numbers before base that never opened here and are not stated as ended
	reused []uint64            // to be told
	stray  []uint64            // UNCLAIMED ones that the last answer had no room for
	last   *Stated             // the last claim that was answered; nil before the first
	review *Review             // the one under way
	done   bool
}

// NewIngress begins a chain, or goes on with one of which nothing is known.
func NewIngress(c Chain) *Ingress {
	return &Ingress{chain: c.Clone(), book: newBook(1), absent: map[uint64]struct{}{}}
}

// Chain that it is of.
func (i *Ingress) Chain() Chain { return i.chain }

// Take says whether a number that has come may open: it has not come to an earlier
// process, which may have died before anybody heard of that; no answer said that it never
// came; the chain is not at its end; and it is not too far ahead of the claims. After
// true, Opened or Unrecorded must be called of it: a review waits for that.
func (i *Ingress) Take(n uint64) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if n < i.barred || i.done {
		return false
	}
	s, _ := i.book.slot(n, true)
	if s == nil || s.is&(opened|closed|unrecorded) != 0 {
		return false
	}
	s.is |= taken
	return true
}

// Opened says that a crossing opened here, or was denied. frame is the encoded
// frame with that half, and at where it was spooled. It keeps neither.
func (i *Ingress) Opened(h *crossingv1.Half, frame []byte, at uint64) {
	leaf := Leaf(frame)
	i.mu.Lock()
	defer i.mu.Unlock()
	i.book.opening(h, &leaf, at)
	i.letGo()
	i.review.came(h.GetKey().GetSequence(), awaitOpen)
}

// Closed says that a crossing ended here: as Opened.
func (i *Ingress) Closed(c *crossingv1.Close, frame []byte, at uint64) {
	leaf := Leaf(frame)
	i.mu.Lock()
	defer i.mu.Unlock()
	i.book.ending(c, &leaf, at)
	i.letGo()
	i.review.came(c.GetKey().GetSequence(), awaitEnd)
}

// letGo drops what there is at the end of a chain: no claim is to come that could be
// about it. The caller holds mu.
func (i *Ingress) letGo() {
	if i.done {
		i.book.clear()
	}
}

// Unrecorded says that a number came and was refused, because it could not be
// recorded.
func (i *Ingress) Unrecorded(n uint64) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if s, _ := i.book.slot(n, true); s != nil && s.is&opened == 0 {
		s.is = s.is&^taken | unrecorded
	}
	i.review.came(n, awaitOpen|awaitEnd)
}

// Reused says that a number came with another crossing, too, which was refused.
func (i *Ingress) Reused(n uint64) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if at, found := slices.BinarySearch(i.reused, n); !found && n > 0 && len(i.reused) < maxReused {
		i.reused = slices.Insert(i.reused, at, n)
	}
}

// Stated gives the places of frames that need not be kept for statements any more,
// each once.
func (i *Ingress) Stated() []uint64 {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.book.takeStated()
}

// Abandon lets go of all there is, of which nobody will claim anything, and gives the
// places of its frames.
func (i *Ingress) Abandon() []uint64 {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.book.clear()
	return i.book.takeStated()
}

// Waiting says whether the ingress gateway has something of the chain that no
// claim was about yet.
func (i *Ingress) Waiting() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.book.held > 0
}

// Done says that the final claim was answered, and nothing put off.
func (i *Ingress) Done() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.done
}

// Standing is where the chain stands. Silent is the caller's to set.
func (i *Ingress) Standing() *crossingv1.Standing {
	i.mu.Lock()
	defer i.mu.Unlock()
	return standing(i.chain, i.last, i.book.highest+1)
}

// State is what RestoreIngress goes on from. What Stated has given may be gone from
// the spool when it is saved.
func (i *Ingress) State() *crossingv1.ChainState {
	i.mu.Lock()
	defer i.mu.Unlock()
	s := &crossingv1.ChainState{
		Chain: i.chain.Message(), Side: crossingv1.Side_INGRESS, Next: i.book.base, Done: i.done,
		Open: distances(i.book.olders(), 0), Absent: distances(slices.Sorted(maps.Keys(i.absent)), 0),
	}
	if i.last != nil {
		s.Epoch, s.Last = i.last.Claim.GetEpoch(), i.last.Statement
	}
	return s
}

// RestoreIngress goes on with a chain of an earlier process: as RestoreEgress.
func RestoreIngress(s *crossingv1.ChainState) (*Ingress, error) {
	c, last, open, err := readState(s, crossingv1.Side_INGRESS)
	if err != nil {
		return nil, err
	}
	absent, err := numbersOf(s.GetAbsent(), 0, maxKept)
	if err != nil || last.Answer == nil {
		return nil, fmt.Errorf("state of a chain: no answer, or absent numbers: %w", err)
	}
	i := NewIngress(c)
	i.book, i.barred = newBook(s.GetNext()), s.GetNext()
	i.last, i.done = last, s.GetDone()
	for _, n := range open {
		if n < s.GetNext() {
			i.book.older[n] = &older{is: opened}
		}
	}
	for _, n := range absent {
		i.absent[n] = struct{}{}
	}
	return i, nil
}

// Replay learns from a statement of the chain that this gateway wrote down before.
func (i *Ingress) Replay(s *crossingv1.Statement) error {
	st, err := Read(s)
	if err != nil {
		return fmt.Errorf("replay: %w", err)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	switch {
	case st.Chain != i.chain:
		return errors.New("replay: a statement of another chain")
	case st.Answer == nil:
		return errors.New("replay: a claim without the answer")
	case i.last != nil && st.Claim.GetEpoch() <= i.last.Claim.GetEpoch():
		return nil
	}
	i.unsee(st)
	strays := strays{}
	for _, d := range st.Answer.GetDifferences() {
		for _, n := range Numbers(d) {
			k := d.GetKind()
			if k == crossingv1.Difference_UNCLAIMED_END || k == crossingv1.Difference_UNOPENED && n >= st.Claim.GetNext() {
				strays.drop = append(strays.drop, n)
			}
		}
	}
	i.settle(st, &strays)
	return nil
}

// unsee forgets what is here of numbers that an answer said were not: it stands by that,
// whatever has been found since.
func (i *Ingress) unsee(st *Stated) {
	for _, d := range st.Answer.GetDifferences() {
		if k := d.GetKind(); k == crossingv1.Difference_UNSEEN || k == crossingv1.Difference_UNRECORDED {
			i.forget(Numbers(d))
		}
	}
}

// strays are numbers that no claim will be about any more.
type strays struct {
	drop     []uint64 // they are told
	orphans  []uint64 // they go on here
	later    []uint64 // UNCLAIMED ones to be told by a later answer
	deferred []uint64 // ends that are put off
}

// settle makes an answered claim the last one.
func (i *Ingress) settle(st *Stated, s *strays) {
	c := st.Claim
	for n := range i.absent {
		if has(st.closed, n) {
			delete(i.absent, n)
		}
	}
	for n := c.GetFirst(); n < c.GetNext(); n++ {
		if p, _, _ := i.book.openingOf(n); p == nil && !has(st.voids, n) && !has(st.closed, n) {
			i.absent[n] = struct{}{}
		}
	}
	i.forget(st.voids)
	i.forget(s.drop)
	i.book.advance(c.GetNext(), st.closed, st.deferred)
	for _, n := range s.orphans {
		if o := i.book.older[n]; o != nil && !o.orphan {
			o.orphan = true
			i.book.orphans++
		}
	}
	i.stray = s.later
	for _, d := range st.Answer.GetDifferences() {
		if d.GetKind() == crossingv1.Difference_REUSED {
			told := Numbers(d)
			i.reused = slices.DeleteFunc(i.reused, func(n uint64) bool { return has(told, n) })
		}
	}
	i.barred = max(i.barred, c.GetNext())
	i.last, i.done = st, c.GetFinal() && len(st.deferred) == 0
	i.letGo()
}

// forget drops what there is of numbers: of one that has not ended, its end will be
// nobody's.
func (i *Ingress) forget(numbers []uint64) {
	for _, n := range numbers {
		if n < i.book.base {
			i.book.forgetOlder(n)
			continue
		}
		if s, _ := i.book.slot(n, false); s != nil {
			if s.is&opened != 0 {
				i.book.drop(&s.open)
			}
			i.book.forgetEnd(n)
			s.is &^= opened
		}
	}
}
