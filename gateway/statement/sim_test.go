package statement

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

var (
	schedules = flag.Uint64("schedules", 120, "random histories of TestSim")
	seed      = flag.Uint64("seed", 0, "the one history of TestSim to run, if not 0")
)

// crossed is what a model knows of one crossing: what happened to it, of which each
// account knows a part.
type crossed struct {
	n          uint64
	near, far  *crossingv1.Half
	fault      crossingv1.Difference_Kind // of the opening; 0 if none
	mutated    bool                       // the ingress gateway counted other bytes
	left       bool                       // its caller leaves
	unheard    bool                       // its end was put off, and the egress gateway never heard
	nearCause  crossingv1.Cause
	farCause   crossingv1.Cause
	nearOpen   bool // the egress gateway has a record of it
	farOpen    bool // the ingress gateway has
	flying     bool // it is on its way
	nearEnded  bool
	farEnded   bool
	openEpoch  uint64 // the claim about its opening
	closeEpoch uint64 // the claim about its end, not put off
}

// endFault is how the two ends differ.
func (c *crossed) endFault() crossingv1.Difference_Kind {
	switch {
	case c.nearCause == done && c.farCause == done && c.mutated:
		return crossingv1.Difference_ENDED_OTHERWISE
	case (c.nearCause == done) != (c.farCause == done):
		return crossingv1.Difference_BROKEN_OFF
	}
	return 0
}

// sim is a history of a pair, from a seed.
type sim struct {
	*pair
	*rand.Rand
	all      []*crossed
	reviewed map[uint64]bool // epochs that the ingress gateway answered
	named    named
	reused   []uint64
	nearSave *crossingv1.ChainState
	farSave  *crossingv1.ChainState
	opensOn  bool
	forgot   int
	missed   uint64
	unheard  map[uint64]bool // claims that never came to the ingress gateway
}

func newSim(t testing.TB, seed uint64) *sim {
	return &sim{
		pair: newPair(t), Rand: rand.New(rand.NewPCG(1, seed)), reviewed: map[uint64]bool{}, named: named{}, unheard: map[uint64]bool{},
		opensOn: true,
	}
}

// open opens a crossing, perhaps one with a fault.
func (s *sim) open() {
	c := &crossed{n: s.egress.Next(), nearOpen: true, flying: true}
	c.near, c.far = opening(testChain, egressSide, c.n), opening(testChain, ingressSide, c.n)
	switch s.IntN(25) {
	case 0: // lost on its way
		c.fault, c.flying = crossingv1.Difference_UNSEEN, false
	case 1:
		c.fault, c.far.Source = crossingv1.Difference_OPENED_OTHERWISE, "spiffe://near.example/ai/another"
	case 2:
		c.fault, c.nearOpen = crossingv1.Difference_UNOPENED, false
	case 3:
		c.fault = crossingv1.Difference_UNRECORDED
	case 4:
		c.fault = crossingv1.Difference_DENIED
		c.far.End.Decision, c.far.End.Reason = crossingv1.Decision_DENY, crossingv1.Reason_POLICY_MISMATCH
	case 5:
		c.nearOpen, c.flying = false, false // void, and nobody knows of it
	}
	s.all = append(s.all, c)
	if c.nearOpen {
		s.outAs(c.near)
	} else {
		s.egress.Void(c.n)
	}
}

// arrive is a crossing that reaches the ingress gateway.
func (s *sim) arrive(c *crossed) {
	c.flying = false
	switch {
	case !s.ingress.Take(c.n):
	case c.fault == crossingv1.Difference_UNRECORDED:
		s.ingress.Unrecorded(c.n)
	default:
		frame, at := s.far.spool.half(c.far)
		s.ingress.Opened(c.far, frame, at)
		c.farOpen = true
		if c.fault == crossingv1.Difference_DENIED {
			s.endFar(c, crossingv1.Cause_REFUSED)
		}
		if s.IntN(3) == 0 {
			s.ingress.Opened(c.far, frame, at) // told twice
			s.far.spool.kept[at] = true
			s.ingress.book.stated = slices.DeleteFunc(s.ingress.book.stated, func(a uint64) bool { return a == at })
		}
	}
}

func (s *sim) endNear(c *crossed, cause crossingv1.Cause) {
	if c.nearOpen && !c.nearEnded {
		c.nearEnded, c.nearCause = true, cause
		s.endOut(ending(c.near, cause))
	}
}

func (s *sim) endFar(c *crossed, cause crossingv1.Cause) {
	if !c.farOpen || c.farEnded {
		return
	}
	c.farEnded, c.farCause = true, cause
	end := ending(c.far, cause)
	if c.mutated {
		end.RequestBytes++
	}
	s.endIn(end)
}

// end ends a crossing at one of its ends, or at both.
func (s *sim) end(c *crossed) {
	switch {
	case c.flying: // not before it was there
	case c.fault == crossingv1.Difference_DENIED:
		s.endNear(c, crossingv1.Cause_REFUSED_BY_PEER)
	case !c.farOpen:
		s.endNear(c, crossingv1.Cause_PEER_LOST)
	case c.nearEnded || c.farEnded:
		s.endNear(c, s.causeNear(c))
		s.endFar(c, done)
	default:
		c.mutated, c.left = s.IntN(7) == 0, s.IntN(7) == 0
		order := s.IntN(3)
		if order != 0 {
			s.endNear(c, s.causeNear(c))
		}
		if order != 1 {
			s.endFar(c, done)
		}
	}
}

func (s *sim) causeNear(c *crossed) crossingv1.Cause {
	if c.left {
		return crossingv1.Cause_CALLER_GONE
	}
	return done
}

// any is a crossing that is not over.
func (s *sim) any(of func(c *crossed) bool) *crossed {
	var some []*crossed
	for _, c := range s.all {
		if of(c) {
			some = append(some, c)
		}
	}
	if len(some) == 0 {
		return nil
	}
	return some[s.IntN(len(some))]
}

// claimed notes what a claim is about.
func (s *sim) claimed(st *Stated) {
	for _, c := range s.all {
		if c.openEpoch == 0 && c.n >= st.Claim.GetFirst() && c.n < st.Claim.GetNext() {
			c.openEpoch = st.Claim.GetEpoch()
		}
		if c.closeEpoch == st.Claim.GetEpoch() && has(st.deferred, c.n) { // heard after a start
			c.closeEpoch, c.unheard = 0, false
		}
		if c.closeEpoch == 0 && has(st.closed, c.n) && !has(st.deferred, c.n) {
			c.closeEpoch = st.Claim.GetEpoch()
		}
	}
}

// state is an epoch: of all that can happen to it, one thing.
func (s *sim) state(final bool) {
	claim := s.egress.Pending()
	if claim == nil {
		if claim = s.claim(final); claim == nil {
			return
		}
	}
	st, err := Read(claim)
	if err != nil {
		s.t.Fatal(err)
	}
	what := s.IntN(10)
	if final {
		what = 9
	}
	if what == 0 { // never heard
		s.alone()
		s.claimed(st)
		if !s.reviewed[st.Claim.GetEpoch()] {
			s.unheard[st.Claim.GetEpoch()] = true
		}
		return
	}
	answer := s.exchange(claim)
	again := s.exchange(claim)
	if string(answer.GetAnswer()) != string(again.GetAnswer()) {
		s.t.Fatal("a claim that came again got another answer")
	}
	answered, err := Read(answer)
	if err != nil {
		s.t.Fatal(err)
	}
	if !s.reviewed[st.Claim.GetEpoch()] {
		s.missed += answered.Answer.GetMissed()
	}
	s.reviewed[st.Claim.GetEpoch()] = true
	delete(s.unheard, st.Claim.GetEpoch()) // it came again after a start
	s.named.add(answered)
	if answered.Answer.GetForgot() {
		s.forgot++
	}
	if what == 1 { // the answer is lost, and so is its word on what is put off
		s.alone()
		s.claimed(st)
		for _, n := range answered.Deferred() {
			s.of(n).unheard = true
		}
		return
	}
	s.claimed(s.answered(answer))
}

// exchange is a review in which what is on its way arrives while it waits.
func (s *sim) exchange(claim *crossingv1.Statement) *crossingv1.Statement {
	r, err := s.ingress.Review(claim, s.near.key, s.means(), s.now)
	if err != nil {
		s.t.Fatal(err)
	}
	defer r.Drop()
	for turn := uint32(0); ; {
		step, err := r.Step(s.now)
		switch {
		case err != nil:
			s.t.Fatal(err)
		case step.Ask != nil:
			turn++
			told, err := s.egress.Tell(turn, step.Ask, s.near.spool.read)
			if err != nil {
				s.t.Fatal(err)
			}
			if err := r.Told(told); err != nil {
				s.t.Fatal(err)
			}
		case step.Answer != nil:
			s.far.spool.statement(step.Answer)
			r.Commit()
			s.far.spool.stated(s.t, s.ingress.Stated())
			return step.Answer
		default:
			s.wait(r, step)
		}
	}
}

// wait is the time in which what is on its way arrives.
func (s *sim) wait(r *Review, step Step) {
	for _, n := range s.Perm(len(s.all)) {
		if c := s.all[n]; c.flying {
			s.arrive(c)
		}
	}
	select {
	case <-r.Ready():
	default:
		s.now = step.Wait
	}
}

// restartNear goes on from what the egress gateway saved and wrote.
func (s *sim) restartNear() {
	e := NewEgress(testChain, began)
	if s.nearSave.GetLast() != nil {
		e = must[*Egress](s.t)(RestoreEgress(s.nearSave))
	}
	s.egress, s.opensOn = e, false // its numbers are another run's
	replay(s.t, s.near.spool, e.Opened, e.Closed, e.Replay)
	s.near.spool.stated(s.t, e.Stated())
	for _, c := range s.all {
		if c.nearOpen && !c.nearEnded {
			if c.flying { // its tunnel ended too
				c.flying, c.fault = false, crossingv1.Difference_UNSEEN
			}
			s.endNear(c, crossingv1.Cause_GATEWAY_STOPPED)
		}
	}
}

// restartFar does so of the ingress gateway.
func (s *sim) restartFar() {
	i := NewIngress(testChain)
	if s.farSave.GetLast() != nil {
		i = must[*Ingress](s.t)(RestoreIngress(s.farSave))
	}
	s.ingress = i
	open := func(h *crossingv1.Half, frame []byte, at uint64) bool { i.Opened(h, frame, at); return false }
	end := func(c *crossingv1.Close, frame []byte, at uint64) bool { i.Closed(c, frame, at); return false }
	replay(s.t, s.far.spool, open, end, i.Replay)
	s.far.spool.stated(s.t, i.Stated())
	for _, c := range s.all {
		if c.fault == crossingv1.Difference_UNRECORDED && !c.flying && !s.reviewed[c.openEpoch] {
			c.fault = crossingv1.Difference_UNSEEN // nobody remembers that it came
		}
		if c.farOpen && !c.farEnded {
			s.endFar(c, crossingv1.Cause_GATEWAY_STOPPED)
			s.endNear(c, crossingv1.Cause_PEER_LOST)
		}
	}
	s.reused = slices.DeleteFunc(s.reused, func(n uint64) bool { // what was only in memory
		return s.named[difference{crossingv1.Difference_REUSED, n}] == 0
	})
}

// replay tells an account what was written and is not gone.
func replay(t testing.TB, s *spool, open func(*crossingv1.Half, []byte, uint64) bool, end func(*crossingv1.Close, []byte, uint64) bool,
	statement func(*crossingv1.Statement) error,
) {
	t.Helper()
	for at := s.cut; at < len(s.frames); at++ {
		if s.frames[at].frame != nil {
			s.kept[uint64(at)] = true // who starts again counts again
		}
		switch of := s.frames[at].of.(type) {
		case *crossingv1.Half:
			open(of, s.frames[at].frame, uint64(at))
		case *crossingv1.Close:
			end(of, s.frames[at].frame, uint64(at))
		case *crossingv1.Statement:
			if err := statement(of); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// save saves both states, and lets go of what they do not need.
func (s *sim) save() {
	s.nearSave, s.farSave = overWire(s.t, s.egress.State()), overWire(s.t, s.ingress.State())
	s.near.spool.trim()
	s.far.spool.trim()
}

func (s *sim) step() {
	switch s.IntN(12) {
	case 0, 1, 2:
		if s.opensOn {
			s.open()
		}
	case 3, 4:
		if c := s.any(func(c *crossed) bool { return c.flying }); c != nil {
			s.arrive(c)
		}
	case 5, 6, 7, 8:
		if c := s.any(func(c *crossed) bool { return !c.flying && (c.nearOpen && !c.nearEnded || c.farOpen && !c.farEnded) }); c != nil {
			s.end(c)
		}
	case 9:
		s.state(false)
	case 10:
		switch s.IntN(8) {
		case 0:
			s.restartFar()
		case 1:
			if len(s.all) > 60 {
				s.restartNear()
			}
		default:
			s.save()
		}
	case 11:
		if c := s.any(func(c *crossed) bool { return c.farOpen && c.openEpoch == 0 }); c != nil && s.IntN(4) == 0 {
			s.ingress.Reused(c.n)
			s.reused = append(s.reused, c.n)
		}
	}
}

// finish brings everything to its end.
func (s *sim) finish() {
	for _, c := range s.all {
		if c.flying {
			s.arrive(c)
		}
	}
	for _, c := range s.all {
		for range 2 {
			s.end(c)
		}
	}
	for tries := 0; !s.egress.Done(); tries++ {
		if tries > 10 {
			s.t.Fatalf("no end: %v", s.egress.State())
		}
		s.state(true)
	}
}

// expected is what must have been named, by the model alone.
func (s *sim) expected() map[difference]bool {
	want := map[difference]bool{}
	for _, c := range s.all {
		opened, ended := s.reviewed[c.openEpoch], s.reviewed[c.closeEpoch] && !c.unheard
		name := func(k crossingv1.Difference_Kind) { want[difference{k, c.n}] = true }
		switch {
		case opened && c.fault != 0 && (c.farOpen || c.nearOpen):
			name(c.fault)
		case c.openEpoch > 0 && !opened && c.farOpen: // a claim that was never heard
			name(crossingv1.Difference_UNCLAIMED)
		case c.openEpoch == 0 && c.farOpen: // from the end of the final claim on
			name(crossingv1.Difference_UNOPENED)
		}
		if c.farEnded && !ended && (c.nearOpen || c.openEpoch > 0 && !opened) {
			name(crossingv1.Difference_UNCLAIMED_END)
		}
		switch {
		case !ended:
		case c.farOpen && c.endFault() != 0:
			name(c.endFault())
		case !c.farOpen && !opened:
			name(crossingv1.Difference_UNENDED)
		}
	}
	for _, n := range s.reused {
		want[difference{crossingv1.Difference_REUSED, n}] = true
	}
	return want
}

// check compares what was named with what must have been.
func (s *sim) check() error {
	want := s.expected()
	for d := range want {
		epoch, ok := s.named[d]
		if !ok {
			return fmt.Errorf("%s of %d is not named: %+v", d.kind, d.number, s.of(d.number))
		}
		c, between := s.of(d.number), 0
		for answered := range s.reviewed {
			if answered > max(c.openEpoch, c.closeEpoch) && answered < epoch {
				between++
			}
		}
		if d.kind < crossingv1.Difference_UNCLAIMED && c.openEpoch > 0 && between > 1 {
			return fmt.Errorf("%s of %d is named in epoch %d, after %d others: %+v", d.kind, d.number, epoch, between, c)
		}
	}
	for d := range s.named {
		if !want[d] {
			return fmt.Errorf("%s of %d is invented in epoch %d: %+v", d.kind, d.number, s.named[d], s.of(d.number))
		}
	}
	switch {
	case s.missed != uint64(len(s.unheard)):
		return fmt.Errorf("%d claims are said to have been missed, of %d", s.missed, len(s.unheard))
	case s.forgot > 0:
		return fmt.Errorf("%d answers are said to be forgotten", s.forgot)
	case !s.ingress.Done():
		return fmt.Errorf("the ingress gateway is not done: %v", s.ingress.State())
	case s.ingress.Waiting():
		return fmt.Errorf("the ingress gateway has something left: %v", s.ingress.State())
	}
	return nil
}

func (s *sim) of(n uint64) *crossed {
	at := slices.IndexFunc(s.all, func(c *crossed) bool { return c.n == n })
	if at < 0 {
		return &crossed{}
	}
	return s.all[at]
}

// TestSim: over random histories of two gateways, of crossings that are lost,
// changed, used again, put out of order, of claims and answers that are lost, and
// of either gateway starting again from what it saved, every fault is named with
// its kind and number, and none is invented.
func TestSim(t *testing.T) {
	total := map[crossingv1.Difference_Kind]int{}
	from, to := uint64(1), *schedules
	if *seed != 0 {
		from, to = *seed, *seed
	}
	for seed := from; seed <= to; seed++ {
		s := newSim(t, seed)
		s.save()
		for range 50 + s.IntN(400) {
			s.step()
		}
		s.finish()
		if err := s.check(); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		for d := range s.named {
			total[d.kind]++
		}
	}
	t.Logf("%d histories named %v", to-from+1, total)
	if *seed == 0 && len(slices.Collect(maps.Keys(total))) < 10 {
		t.Errorf("only the kinds %v; the test tests little", total)
	}
}
