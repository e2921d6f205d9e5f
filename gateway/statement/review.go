package statement

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"time"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// Means are what a review needs beside the account.
type Means struct {
	// Run of the ingress gateway.
	Run string
	// Policy in force; nil if there is none.
	Policy *crossingv1.PolicyRef
	// Signer of the answer.
	Signer *Signer
	// Frames reads the ingress gateway's own frames.
	Frames Frames
	// Offset is how far the egress gateway's clock is ahead of this one, as measured.
	Offset time.Duration
}

// Review is one claim on its way to an answer. It is for one goroutine.
type Review struct {
	ingress *Ingress
	claim   *Stated
	means   Means
	again   bool // the answer was given before

	awaited map[uint64]await // what has not come; guarded by the ingress's lock
	ready   chan struct{}    // closed when everything has
	until   time.Time        // for how long it waits
	frozen  bool             // what has not come by now has not come

	missed     uint64
	forgot     bool
	unheard    []uint64 // put off in an answer that the egress gateway never had
	wantsGoing bool     // asked what goes on
	hasGoing   bool
	going      []uint64

	own      *[2]list // nil but from freeze to release
	lists    [2]comparison
	asked    *comparison // whose question is out; nil if none of theirs is
	turn     uint32      // of the last question
	asking   bool        // it is out: nothing was told to it
	found    findings
	strays   strays
	answered *Stated // the answer, when it is made
}

// await is what has not come of a number.
type await uint8

const (
	awaitOpen await = 1 << iota
	awaitEnd
)

// maxWaits is how many times Patience a review waits for what is being recorded.
const maxWaits = 10

// Step is what to do next in a review: exactly one of its fields is set.
type Step struct {
	// Wait until then, or until Ready of the review is closed, and step again.
	Wait time.Time
	// Ask the egress gateway, and give Told what it tells.
	Ask *crossingv1.Ask
	// Answer is the whole statement: write it down durably, call Commit, and send it.
	Answer *crossingv1.Statement
}

// RefusedError says why a claim is not answered.
type RefusedError struct {
	// Code and Last are as in Refused.
	Code crossingv1.Refused_Code
	Last *crossingv1.Statement
	// Why, in words that the peer may read.
	Why string
}

// Error is Why.
func (e *RefusedError) Error() string { return e.Why }

// Message is what the peer is told; the caller adds the announcement of Last's key.
func (e *RefusedError) Message() *crossingv1.Refused {
	return &crossingv1.Refused{Why: e.Why, Code: e.Code, Last: e.Last}
}

func refusef(format string, args ...any) error {
	return &RefusedError{Why: fmt.Sprintf(format, args...)}
}

// Review begins the review of a claim that the egress gateway signed with that
// key; one of the claim that was answered last gives that answer again. There is
// one review at a time: it ends with Commit or Drop. The error is a *RefusedError.
func (i *Ingress) Review(s *crossingv1.Statement, k *Key, m Means, now time.Time) (*Review, error) {
	st, err := i.readClaim(s, k, now.Add(m.Offset+MaxSkew))
	if err != nil {
		return nil, err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.review != nil {
		return nil, &RefusedError{Code: crossingv1.Refused_LATER, Why: "a claim of the chain is being reviewed"}
	}
	r := &Review{ingress: i, claim: st, means: m, until: now.Add(Patience), ready: make(chan struct{})}
	if err := i.follows(r); err != nil {
		return nil, err
	}
	r.awaited = i.awaits(st)
	if len(r.awaited) == 0 || r.again {
		close(r.ready)
	}
	i.review = r
	return r, nil
}

// readClaim holds that it is a claim to this account, and signed.
func (i *Ingress) readClaim(s *crossingv1.Statement, k *Key, latest time.Time) (*Stated, error) {
	st, err := Read(s)
	switch {
	case err != nil:
		return nil, refusef("%v", err)
	case st.Answer != nil:
		return nil, refusef("the claim has an answer")
	case st.Chain != i.chain:
		return nil, refusef("the claim is of another chain")
	case st.Claim.GetAt().AsTime().After(latest):
		return nil, refusef("the claim is from the future: %s", st.Claim.GetAt().AsTime().Format(time.RFC3339))
	}
	if err := st.VerifyEgress(k); err != nil {
		return nil, refusef("%v", err)
	}
	return st, nil
}

// follows holds that the claim comes after the last one, and notes what both have
// lost in between.
func (i *Ingress) follows(r *Review) error {
	c, last := r.claim.Claim, i.last
	epoch, next := uint64(0), i.book.base
	if last != nil {
		epoch = last.Claim.GetEpoch()
	}
	switch {
	case last != nil && r.claim.ClaimHash == last.ClaimHash:
		r.again, r.answered = true, last
		return nil
	case c.GetEpoch() <= epoch:
		return &RefusedError{Code: crossingv1.Refused_BEHIND, Last: last.Statement, Why: fmt.Sprintf("epoch %d, and %d was claimed", c.GetEpoch(), epoch)}
	case c.GetEpoch() > epoch+1:
		r.missed = c.GetEpoch() - epoch - 1
		r.forgot = len(c.GetAnswered()) > 0
		if c.GetFirst() < next {
			return refusef("epoch %d begins with %d, and %d was claimed", c.GetEpoch(), c.GetFirst(), next)
		}
		return nil
	}
	if last == nil { // epoch 1
		if c.GetFirst() != 1 {
			return refusef("epoch 1 begins with %d", c.GetFirst())
		}
		return nil
	}
	switch {
	case !bytes.Equal(c.GetPrevious(), last.ClaimHash[:]):
		return refusef("the claim before is another one") // it will stand alone
	case c.GetFirst() != last.Claim.GetNext():
		return refusef("epoch %d begins with %d, and the one before ended with %d", c.GetEpoch(), c.GetFirst(), last.Claim.GetNext())
	}
	if len(c.GetAnswered()) == 0 {
		r.unheard = last.deferred
	}
	r.forgot = len(c.GetAnswered()) > 0 && !bytes.Equal(c.GetAnswered(), last.AnswerHash[:])
	return nil
}

// awaits is what the claim says and has not come, of what may still come.
func (i *Ingress) awaits(st *Stated) map[uint64]await {
	awaited := map[uint64]await{}
	for n := st.Claim.GetFirst(); n < st.Claim.GetNext(); n++ {
		if _, _, is := i.book.openingOf(n); is&(opened|unrecorded) == 0 && n >= i.barred && !has(st.voids, n) {
			awaited[n] |= awaitOpen
		}
	}
	for _, n := range st.closed {
		if p, _, is := i.book.endOf(n); p == nil && (is&opened != 0 || awaited[n] != 0) && !i.putOff(n) {
			awaited[n] |= awaitEnd
		}
	}
	return awaited
}

// putOff says that an end was put off before: it is not waited for again.
func (i *Ingress) putOff(n uint64) bool {
	o := i.book.older[n]
	return o != nil && o.deferred
}

// came notes that something of a number has come.
func (r *Review) came(n uint64, what await) {
	if r == nil || len(r.awaited) == 0 {
		return
	}
	left, ok := r.awaited[n]
	if !ok {
		return
	}
	if left &^= what; left != 0 {
		r.awaited[n] = left
		return
	}
	if delete(r.awaited, n); len(r.awaited) == 0 {
		close(r.ready)
	}
}

// Again says that the claim was answered before, and that the answer is that one.
func (r *Review) Again() bool { return r.again }

// Ready is closed when there is nothing left to wait for.
func (r *Review) Ready() <-chan struct{} { return r.ready }

// Step says what to do next. The error is a *RefusedError.
func (r *Review) Step(now time.Time) (Step, error) {
	wait, err := r.settled(now)
	switch {
	case err != nil || !wait.IsZero():
		return Step{Wait: wait}, err
	case r.answered != nil:
		return Step{Answer: r.answered.Statement}, nil
	case r.wantsGoing && !r.hasGoing:
		return r.ask(&crossingv1.Ask{List: crossingv1.Ask_GOING}), nil
	}
	for at := range r.lists {
		if ask := r.lists[at].ask(); ask != nil {
			r.asked = &r.lists[at]
			return r.ask(ask), nil
		}
		if r.lists[at].owed {
			return Step{}, refusef("the digest of what was claimed is not that of its parts")
		}
	}
	r.asked = nil
	if r.answered, err = r.answer(now); err != nil {
		return Step{}, err
	}
	return Step{Answer: r.answered.Statement}, nil
}

// ask makes a question the next one of the exchange.
func (r *Review) ask(a *crossingv1.Ask) Step {
	r.turn++
	r.asking = true
	a.Turn, a.Claim = r.turn, r.claim.ClaimHash[:]
	return Step{Ask: a}
}

// settled is until when to wait; when there is no more reason to, the account is
// frozen.
func (r *Review) settled(now time.Time) (time.Time, error) {
	r.ingress.mu.Lock()
	defer r.ingress.mu.Unlock()
	if r.ingress.review != r {
		return time.Time{}, &RefusedError{Code: crossingv1.Refused_LATER, Why: "the review is over"}
	}
	if r.frozen || r.again {
		return time.Time{}, nil
	}
	wait, err := r.wait(now)
	if err == nil && wait.IsZero() {
		r.freeze()
	}
	return wait, err
}

// wait is until when to wait; zero if there is no more reason to. A number that has
// come is waited for until it is recorded, or is not: it may not be named as never
// seen.
func (r *Review) wait(now time.Time) (time.Time, error) {
	if len(r.awaited) == 0 {
		return time.Time{}, nil
	}
	if now.Before(r.until) {
		return r.until, nil
	}
	for n := range r.awaited {
		if _, _, is := r.ingress.book.openingOf(n); is&taken != 0 {
			if now.Before(r.until.Add(maxWaits * Patience)) {
				return now.Add(Patience), nil
			}
			return time.Time{}, &RefusedError{Code: crossingv1.Refused_LATER, Why: fmt.Sprintf("%d is being recorded", n)}
		}
	}
	return time.Time{}, nil
}

// Told takes what the egress gateway told, to the last Ask. The error says that it is
// no answer to that question. It says nothing of the claim: it is no *RefusedError, and
// the review is to be dropped.
func (r *Review) Told(t *crossingv1.Told) error {
	if err := r.told(t); err != nil {
		return fmt.Errorf("told about a claim: %w", err)
	}
	return nil
}

func (r *Review) told(t *crossingv1.Told) error {
	switch {
	case !r.asking:
		return errors.New("nothing was asked")
	case t.GetTurn() != r.turn:
		return fmt.Errorf("it is of turn %d, and asked was turn %d", t.GetTurn(), r.turn)
	case !bytes.Equal(t.GetClaim(), r.claim.ClaimHash[:]):
		return errors.New("it is of another claim")
	}
	r.asking = false
	if r.asked != nil {
		return r.asked.told(t)
	}
	return r.toldGoing(t.GetGoing())
}

// toldGoing takes which numbers go on at the egress gateway.
func (r *Review) toldGoing(coded []uint64) error {
	going, err := numbersOf(coded, 0, maxGoing)
	if err != nil {
		return fmt.Errorf("what goes on: %w", err)
	}
	r.ingress.mu.Lock()
	defer r.ingress.mu.Unlock()
	r.going, r.hasGoing = going, true
	r.findStrays()
	return nil
}

// Commit makes the answer the account's: what it is about is stated. Of an answer
// that was given again it does nothing.
func (r *Review) Commit() {
	r.ingress.mu.Lock()
	defer r.ingress.mu.Unlock()
	if r.ingress.review != r || r.answered == nil {
		return
	}
	r.release()
	if !r.again {
		r.ingress.settle(r.answered, &r.strays)
	}
}

// Drop ends a review without an answer; after Commit it does nothing. The claim may
// come again.
func (r *Review) Drop() {
	r.ingress.mu.Lock()
	defer r.ingress.mu.Unlock()
	if r.ingress.review == r {
		r.release()
	}
}

// spareLists are pairs of lists, opened and closed, of reviews that are over.
var spareLists = sync.Pool{New: func() any { return new([2]list) }}

// release ends the review. The caller holds the ingress's lock.
func (r *Review) release() {
	r.ingress.review = nil
	if r.own != nil {
		spareLists.Put(r.own)
		r.own, r.lists = nil, [2]comparison{}
	}
}
