package statement

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// Egress is the egress gateway's account of one chain: which numbers it gave out,
// what became of them, and what it has claimed. All methods may be called
// concurrently; Next, Void, Opened and Closed are short.
//
// A chain of refused crossings, whose Ingress is empty, has claims that nobody
// answers: each is followed by Alone as soon as it is written down.
type Egress struct {
	chain   Chain
	counter atomic.Uint64 // the last number that was given out

	mu        sync.Mutex // guards what follows
	book      book
	unclaimed pieces    // no claim is about them
	since     time.Time // when the epoch began
	last      *Stated   // the last claim, with its answer if there is one; nil before the first
	pending   bool      // it may still be answered
	resumed   bool      // it was shown by the peer
	done      bool
	lists     [2]list // of the outstanding claim: opened, closed
	listed    bool    // lists are made
}

// pieces counts what a claim is to be about: numbers that opened or are void, and
// numbers that ended.
type pieces struct{ openings, ends int }

func (p pieces) full() bool { return max(p.openings, p.ends) >= Full }

// NewEgress begins a chain.
func NewEgress(c Chain, began time.Time) *Egress {
	e := &Egress{chain: c.Clone(), book: newBook(1), since: began}
	e.book.alone = c.Ingress == ""
	return e
}

// Chain that it is of.
func (e *Egress) Chain() Chain { return e.chain }

// Next is the next number, from 1. Void or Opened must be called of each.
func (e *Egress) Next() uint64 { return e.counter.Add(1) }

// Void says that a number never opened.
func (e *Egress) Void(n uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if s, _ := e.book.slot(n, true); s != nil && s.is&(opened|void) == 0 {
		s.is |= void
		e.unclaimed.openings++
	}
}

// Opened says that a crossing opened. frame is the encoded frame with that half,
// and at where it was spooled. It keeps neither. It gives true if that makes a
// claim due at once.
func (e *Egress) Opened(h *crossingv1.Half, frame []byte, at uint64) (due bool) {
	leaf := Leaf(frame)
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.counts(e.book.opening(h, &leaf, at), &e.unclaimed.openings)
}

// Closed says that a crossing ended: as Opened.
func (e *Egress) Closed(c *crossingv1.Close, frame []byte, at uint64) (due bool) {
	leaf := Leaf(frame)
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.counts(e.book.ending(c, &leaf, at), &e.unclaimed.ends)
}

// counts counts what is new. The caller holds mu.
func (e *Egress) counts(isNew bool, of *int) (due bool) {
	if isNew {
		*of++
	}
	return isNew && !e.pending && *of == Full
}

// Due says whether there is enough to claim: no claim is outstanding, and Full
// numbers have opened, or have ended, or some and Epoch has passed since the last claim.
func (e *Egress) Due(now time.Time) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return !e.pending && (e.unclaimed.full() || e.unclaimed != pieces{} && now.Sub(e.since) >= Epoch)
}

// Pending is the outstanding claim; nil if there is none.
func (e *Egress) Pending() *crossingv1.Statement {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.pending {
		return nil
	}
	return e.last.Statement
}

// Check holds that a statement is the outstanding claim with an answer that the
// ingress gateway signed with that key. It changes nothing.
func (e *Egress) Check(s *crossingv1.Statement, k *Key) (*Stated, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.pending {
		return nil, errors.New("answer: no claim is outstanding")
	}
	mine := e.last.Statement
	st, err := Read(&crossingv1.Statement{Claim: mine.GetClaim(), Egress: mine.GetEgress(), Answer: s.GetAnswer(), Ingress: s.GetIngress()})
	if err != nil {
		return nil, err
	}
	return st, st.VerifyIngress(k)
}

// Answered commits the answer that Check gave, when it was written down: what it
// does not defer is stated.
func (e *Egress) Answered(s *Stated) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.pending && e.last.ClaimHash == s.ClaimHash {
		e.settle(s)
	}
}

// Alone lets the outstanding claim stand without an answer.
func (e *Egress) Alone() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.pending {
		e.settle(e.last)
	}
}

// settle ends the outstanding claim.
func (e *Egress) settle(s *Stated) {
	e.book.advance(s.Claim.GetNext(), s.closed, s.deferred)
	e.unclaimed = e.waiting()
	e.last, e.pending, e.listed = s, false, false
	e.done = s.Claim.GetFinal() && len(s.deferred) == 0
}

// Adopt goes on from a later claim than is known here, which the ingress gateway
// has shown, if the egress gateway's own key signed it. The next claim says that
// it resumes.
func (e *Egress) Adopt(s *crossingv1.Statement, k *Key) error {
	st, err := Read(s)
	if err == nil {
		err = st.VerifyEgress(k)
	}
	if err != nil {
		return fmt.Errorf("adopt: %w", err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case st.Chain != e.chain:
		return errors.New("adopt: it is of another chain")
	case e.last != nil && st.Claim.GetEpoch() < e.last.Claim.GetEpoch():
		return fmt.Errorf("adopt: epoch %d, and %d is known", st.Claim.GetEpoch(), e.last.Claim.GetEpoch())
	case e.last != nil && st.ClaimHash == e.last.ClaimHash:
		return errors.New("adopt: it is what is known")
	case st.Claim.GetNext() < e.book.base:
		return fmt.Errorf("adopt: it ends with %d, and %d is stated", st.Claim.GetNext(), e.book.base)
	}
	e.adopt(st)
	return nil
}

// adopt makes a claim the last one that was not made here. Ends are claimed again:
// which of them were claimed, nobody here knows.
func (e *Egress) adopt(st *Stated) {
	e.book.advance(st.Claim.GetNext(), nil, nil)
	e.giveOut(st.Claim.GetNext() - 1)
	e.last, e.pending, e.listed, e.resumed = st, false, false, true
	e.done = false
	e.unclaimed = e.waiting()
}

// giveOut makes sure that no number up to n is given out again.
func (e *Egress) giveOut(n uint64) {
	for last := e.counter.Load(); last < n && !e.counter.CompareAndSwap(last, n); {
		last = e.counter.Load()
	}
}

// waiting counts what no claim is about.
func (e *Egress) waiting() pieces {
	count := pieces{ends: len(e.book.ended)}
	for _, s := range e.book.slots(e.book.highest + 1) {
		if s.is&(opened|void) != 0 {
			count.openings++
		}
		if s.is&closed != 0 {
			count.ends++
		}
	}
	return count
}

// Stated gives the places of frames that need not be kept for statements any more,
// each once.
func (e *Egress) Stated() []uint64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.book.takeStated()
}

// Done says that the final claim was answered, or stands alone, and puts nothing
// off: the chain is at its end.
func (e *Egress) Done() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.done
}

// Standing is where the chain stands. Silent is the caller's to set.
func (e *Egress) Standing() *crossingv1.Standing {
	e.mu.Lock()
	defer e.mu.Unlock()
	return standing(e.chain, e.last, max(e.counter.Load(), e.book.highest)+1)
}

func standing(c Chain, last *Stated, next uint64) *crossingv1.Standing {
	s := &crossingv1.Standing{Chain: c.Message(), Next: next}
	if last != nil {
		s.Epoch, s.Claim, s.Answered = last.Claim.GetEpoch(), slices.Clone(last.ClaimHash[:]), last.Answer != nil
	}
	return s
}
