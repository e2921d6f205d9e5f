package statements

import (
	"bytes"
	"strings"
	"time"

	"github.com/sallyport-mesh/sallyport/controlplane/internal/spans"
	"github.com/sallyport-mesh/sallyport/gateway/statement"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// followed is how many epochs a chain's statements are kept of, to be held against one
// another. Of older ones the hashes are: a fork shows, whenever it comes.
const followed = 1024

// chain is what is known of one chain: its epochs, and the frames of either side that
// no statement was held against yet.
type chain struct {
	name     statement.Chain
	openings [sides]column
	ends     [sides]column
	// epochs are kept for good, in a few words each: an epoch is only where something
	// opened or ended, so that they are a fraction of what the records take.
	epochs   map[uint64]*epoch
	known    spans.Set           // their numbers
	last     *epoch              // the one with the highest number; nil if there is none
	waits    map[uint64]*epoch   // those with an account that was not held yet
	altered  []*epoch            // those with one that was not what its frames are
	absent   map[uint64]bool     // the numbers that never opened at the ingress gateway
	early    map[uint64][]early  // answers whose predecessor has not come, by its epoch
	follower *statement.Follower // nil until a statement came
	found    []statement.Finding // by the follower
	final    bool                // the run has ended, and its last claim says so
	heard    time.Time           // when the egress gateway spoke of it last
	answered time.Time           // when an answer came last, from either side
	promised promise
	silent   [sides]time.Time // since when the side is, by the other one's heartbeats
}

// early is an answer that came before the one that the ingress gateway gave before it.
type early struct {
	of     *epoch
	stated *statement.Stated
	came   time.Time
}

// promise is the highest epoch that the egress gateway's heartbeats name, and when one
// first did.
type promise struct {
	epoch uint64
	since time.Time
}

func newChain(name statement.Chain, now time.Time) *chain {
	c := &chain{
		name: name, heard: now, answered: now, epochs: map[uint64]*epoch{}, waits: map[uint64]*epoch{}, absent: map[uint64]bool{},
		early: map[uint64][]early{},
	}
	for s := range sides {
		c.openings[s], c.ends[s] = newColumn(), newColumn()
	}
	return c
}

// gateway is the SPIFFE ID of a side; empty for the other side of crossings that were
// refused at egress.
func (c *chain) gateway(s side) string {
	if s == ingress {
		return c.name.Ingress
	}
	return c.name.Egress
}

// stated is the last number that a claim is about, 0 if none is.
func (c *chain) stated() uint64 {
	if c.last == nil {
		return 0
	}
	return c.last.next - 1
}

// delivered takes the hash of a frame of an opening or of an end.
func (c *chain) delivered(s side, of *[sides]column, n uint64, leaf statement.Hash) {
	for _, e := range of[s].deliver(n, leaf) {
		e.accounts[s].missing--
		c.hold(e, s)
	}
}

// state takes a statement that was verified, as one side delivered it.
func (c *chain) state(s *statement.Stated, from side, now time.Time) {
	c.follow(s)
	e := c.epochs[s.Claim.GetEpoch()]
	if e != nil && e.claim != s.ClaimHash {
		if e.answer != (statement.Hash{}) || s.Answer == nil {
			return // it is named; what was answered counts, else what came first
		}
		c.openings[egress].forget(e)
		c.ends[egress].forget(e)
		e = nil
	}
	if e == nil {
		e = c.enter(s, now)
	}
	if s.Answer != nil && e.answer == (statement.Hash{}) {
		c.answer(e, s, now)
	}
	if a := &e.accounts[from]; a.stated && a.own.IsZero() {
		a.own = now
	}
	for s := range sides {
		c.hold(e, s)
	}
}

// follow holds a statement against those before and after it.
func (c *chain) follow(s *statement.Stated) {
	if c.follower == nil {
		c.follower = statement.Follow(c.name)
	}
	c.found = append(c.found, c.follower.Add(s)...)
	n := s.Claim.GetEpoch()
	if e := c.epochs[n]; e != nil && n < c.floor() && e.claim != s.ClaimHash && !e.forked {
		e.forked = true
		c.found = append(c.found, statement.Finding{Fault: statement.Forked, Epoch: n, At: s.Claim.GetAt().AsTime()})
	}
}

// floor is the first epoch that is followed.
func (c *chain) floor() uint64 {
	if c.last == nil || c.last.number <= followed {
		return 1
	}
	return c.last.number - followed
}

// enter makes an epoch of a claim.
func (c *chain) enter(s *statement.Stated, now time.Time) *epoch {
	claim := s.Claim
	e := &epoch{
		number: claim.GetEpoch(), claim: s.ClaimHash, first: claim.GetFirst(), next: claim.GetNext(), at: claim.GetAt().AsTime(), lists: listsOf(s),
	}
	c.epochs[e.number] = e
	c.known.Add(spans.Span{From: e.number, To: e.number + 1})
	if c.last == nil || c.last.number <= e.number {
		c.last, c.final = e, claim.GetFinal()
		c.follower.Forget(c.floor())
	}
	c.expect(e, egress, account{roots: claim.GetRoots(), at: e.at, came: now})
	return e
}

// answer takes the answer to an epoch's claim. What it means depends on what the ingress
// gateway has answered before: that one may be in the spool of another run, and come
// later.
func (c *chain) answer(e *epoch, s *statement.Stated, now time.Time) {
	e.answer, c.answered = s.AnswerHash, now
	if before := answeredBefore(s); before > 0 && (c.epochs[before] == nil || !c.epochs[before].heeded) {
		c.early[before] = append(c.early[before], early{e, s, now})
		e.accounts[ingress] = account{stated: true, at: s.Answer.GetAt().AsTime(), came: now, after: before}
		c.waits[e.number] = e
		return
	}
	c.heed(e, s, now)
}

// answeredBefore is the epoch that the ingress gateway answered before this one; 0 if it
// remembers none.
func answeredBefore(s *statement.Stated) uint64 {
	epoch, missed := s.Claim.GetEpoch(), s.Answer.GetMissed()
	if missed >= epoch {
		return 0
	}
	return epoch - 1 - missed
}

// heed takes an answer, which came then, for what it says of the numbers, and after it
// those that waited for it.
func (c *chain) heed(e *epoch, s *statement.Stated, came time.Time) {
	e.heeded = true
	if e.lists == nil {
		e.lists = listsOf(s)
	}
	for _, n := range s.Deferred() {
		e.lists.unended[n] = true
	}
	for _, d := range s.Answer.GetDifferences() {
		for _, n := range statement.Numbers(d) {
			c.differs(e, d.GetKind(), n)
		}
	}
	if s.Claim.GetResumed() {
		c.repeated(e)
	}
	c.expect(e, ingress, account{roots: s.Answer.GetRoots(), at: s.Answer.GetAt().AsTime(), came: came})
	waited := c.early[e.number]
	delete(c.early, e.number)
	for _, w := range waited {
		if w.of.accounts[ingress].after == e.number { // else it counts no more
			c.heed(w.of, w.stated, w.came)
			c.hold(w.of, ingress)
		}
	}
}

// differs takes up of which number the ingress gateway has a frame, or has none, other
// than the claim says.
func (c *chain) differs(e *epoch, kind crossingv1.Difference_Kind, n uint64) {
	switch kind {
	case crossingv1.Difference_UNSEEN, crossingv1.Difference_UNRECORDED:
		e.lists.unopened[n], c.absent[n] = true, true
	case crossingv1.Difference_UNENDED:
		e.lists.unended[n] = true
	case crossingv1.Difference_UNCLAIMED: // its end may be claimed
		c.openings[ingress].drop(n)
	case crossingv1.Difference_UNCLAIMED_END:
		c.ends[ingress].drop(n)
	case crossingv1.Difference_UNOPENED: // neither will its end be
		if e.first <= n && n < e.next {
			e.lists.extra[n] = true
		} else {
			c.openings[ingress].drop(n)
		}
		c.ends[ingress].drop(n)
	}
}

// repeated are ends that an egress gateway which does not remember claims again: the
// ingress gateway has stated them, and does so no more.
func (c *chain) repeated(e *epoch) {
	for _, n := range e.lists.closed {
		if ends := &c.ends[ingress]; ends.done.Has(n) || ends.wants(n) {
			e.lists.unended[n] = true
		}
	}
}

// expect takes up a side's account of an epoch, and which of its frames are missing.
func (c *chain) expect(e *epoch, s side, a account) {
	a.stated, a.own = true, e.accounts[s].own
	for n, stated := range e.opened(s) {
		if stated && c.openings[s].want(n, e) {
			a.missing++
		}
	}
	for n, stated := range e.ended(s, c.absent) {
		if stated && c.ends[s].want(n, e) {
			a.missing++
		}
	}
	e.accounts[s] = a
	c.waits[e.number] = e
}

// hold holds a side's account of an epoch against its frames, once all are here.
func (c *chain) hold(e *epoch, s side) {
	a := &e.accounts[s]
	if !a.waits() || a.missing > 0 || a.after > 0 {
		return
	}
	var altered []string
	if root, known := c.openings[s].root(e.opened(s)); known && !bytes.Equal(root[:], a.roots.GetOpened()) {
		altered = append(altered, "openings")
	}
	if root, known := c.ends[s].root(e.ended(s, c.absent)); known && !bytes.Equal(root[:], a.roots.GetClosed()) {
		altered = append(altered, "ends")
	}
	if a.altered = strings.Join(altered, " and "); a.altered != "" {
		c.altered = append(c.altered, e)
	}
	c.openings[s].settle(e.opened(s))
	c.ends[s].settle(e.ended(s, c.absent))
	a.held, a.roots = true, nil
	if !e.accounts[egress].waits() && !e.accounts[ingress].waits() {
		e.lists = nil
		delete(c.waits, e.number)
	}
}

// stands takes a heartbeat's word on where the chain stands.
func (c *chain) stands(st *crossingv1.Standing, from side, now time.Time) {
	c.silent[1-from] = time.Time{}
	if st.GetSilent() != nil {
		c.silent[1-from] = st.GetSilent().AsTime()
	}
	if from == ingress {
		return
	}
	c.heard = now
	if st.GetEpoch() > c.promised.epoch {
		c.promised = promise{st.GetEpoch(), now}
	}
}
