package statement

import (
	"errors"
	"fmt"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// maxKept bounds the numbers that a state has; more are refused when it is read.
const maxKept = 1 << 26

// State is what RestoreEgress goes on from, once something was claimed: before, the
// frames say all that there is. What Stated has given may be gone from the spool when it
// is saved.
func (e *Egress) State() *crossingv1.ChainState {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := &crossingv1.ChainState{Chain: e.chain.Message(), Side: crossingv1.Side_EGRESS, Next: e.book.base, Done: e.done, Resumed: e.resumed}
	if e.last != nil {
		s.Epoch, s.Last, s.Next = e.last.Claim.GetEpoch(), e.last.Statement, max(s.Next, e.last.Claim.GetNext())
		s.Alone = !e.pending && e.last.Answer == nil
	}
	s.Open = distances(e.book.open(s.Next), 0)
	return s
}

// RestoreEgress goes on with a chain of an earlier process, from what it saved.
// Then what was written since is replayed in the order in which it was: openings
// and ends with Opened and Closed, statements with Replay. What is older than the
// state changes nothing.
func RestoreEgress(s *crossingv1.ChainState) (*Egress, error) {
	c, last, open, err := readState(s, crossingv1.Side_EGRESS)
	if err != nil {
		return nil, err
	}
	e := NewEgress(c, last.Claim.GetAt().AsTime())
	e.last, e.done, e.resumed = last, s.GetDone(), s.GetResumed()
	base := s.GetNext()
	if last.Answer == nil && !s.GetAlone() {
		e.pending, base = true, last.Claim.GetFirst()
	}
	e.restore(base, open)
	e.giveOut(s.GetNext() - 1)
	return e, nil
}

// restore begins the account with what is open.
func (e *Egress) restore(base uint64, open []uint64) {
	alone := e.book.alone
	e.book = newBook(base)
	e.book.alone = alone
	for _, n := range open {
		if n < base {
			e.book.older[n] = &older{is: opened}
		}
	}
}

// Replay learns from a statement of the chain that this gateway wrote down before.
func (e *Egress) Replay(s *crossingv1.Statement) error {
	st, err := Read(s)
	if err != nil {
		return fmt.Errorf("replay: %w", err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	epoch := uint64(0)
	if e.last != nil {
		epoch = e.last.Claim.GetEpoch()
	}
	switch {
	case st.Chain != e.chain:
		return errors.New("replay: a statement of another chain")
	case st.Claim.GetEpoch() < epoch:
		return nil
	case st.Claim.GetEpoch() == epoch:
		if e.pending && st.Answer != nil && st.ClaimHash == e.last.ClaimHash {
			e.settle(st)
		}
		return nil
	}
	e.outstanding(st, epoch)
	return nil
}

// outstanding makes a claim of an earlier process the outstanding one, after that
// of an earlier epoch.
func (e *Egress) outstanding(st *Stated, epoch uint64) {
	if e.pending { // the next claim was made, so this one stood alone
		e.settle(e.last)
	}
	if first := st.Claim.GetFirst(); first > e.book.base || st.Claim.GetEpoch() > epoch+1 {
		e.book.advance(max(first, e.book.base), nil, nil) // claims were adopted in between
	}
	e.giveOut(st.Claim.GetNext() - 1)
	for _, n := range st.voids {
		if s, _ := e.book.slot(n, true); s != nil && s.is&opened == 0 {
			s.is |= void
		}
	}
	e.last, e.pending, e.listed, e.resumed = st, true, false, false
	e.since = st.Claim.GetAt().AsTime()
	if st.Answer != nil {
		e.settle(st)
	}
}

// readState reads what both sides have of a state.
func readState(s *crossingv1.ChainState, side crossingv1.Side) (c Chain, last *Stated, open []uint64, err error) {
	fail := func(err error) (Chain, *Stated, []uint64, error) {
		return Chain{}, nil, nil, fmt.Errorf("state of a chain: %w", err)
	}
	if c, err = ParseChain(s.GetChain()); err != nil {
		return fail(err)
	}
	if s.GetSide() != side || s.GetNext() == 0 {
		return fail(fmt.Errorf("side %s, next %d", s.GetSide(), s.GetNext()))
	}
	if s.GetLast() == nil {
		return fail(errors.New("there is no last claim"))
	}
	if last, err = Read(s.GetLast()); err != nil {
		return fail(err)
	}
	if last.Chain != c || last.Claim.GetEpoch() != s.GetEpoch() || last.Claim.GetNext() > s.GetNext() {
		return fail(errors.New("the last claim is another"))
	}
	if open, err = numbersOf(s.GetOpen(), 0, maxKept); err != nil {
		return fail(err)
	}
	return c, last, open, nil
}

// Ahead says that one state of a chain is newer than another of the same chain.
func Ahead(a, b *crossingv1.ChainState) bool {
	if a.GetEpoch() != b.GetEpoch() {
		return a.GetEpoch() > b.GetEpoch()
	}
	if answered := len(a.GetLast().GetAnswer()) > 0; answered != (len(b.GetLast().GetAnswer()) > 0) {
		return answered
	}
	return a.GetDone() && !b.GetDone()
}
