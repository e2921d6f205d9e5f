package statement

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// numbersNamed are those that an answer names as that kind.
func numbersNamed(st *Stated, kind crossingv1.Difference_Kind) (numbers []uint64) {
	for _, d := range st.Answer.GetDifferences() {
		if d.GetKind() == kind {
			numbers = append(numbers, Numbers(d)...)
		}
	}
	slices.Sort(numbers)
	return numbers
}

// TestEgressRolledBack: a spool of the egress gateway that was put back is told by
// the ingress gateway, adopted, and named; what only the ingress gateway has is named
// by number; and whoever follows the statements sees the fork.
func TestEgressRolledBack(t *testing.T) {
	p := newPair(t)
	f := Follow(testChain)
	for range 10 {
		p.cross()
	}
	p.epoch(false)
	old, frames := p.egress.State(), len(p.near.spool.frames)
	long := p.out() // opens before, and ends after
	p.in(opening(testChain, ingressSide, long.GetKey().GetSequence()))
	for range 10 {
		p.cross()
	}
	p.epoch(false) // 2
	lost := p.cross()
	p.epoch(false) // 3
	unstated := p.cross()
	p.endIn(ending(opening(testChain, ingressSide, long.GetKey().GetSequence()), done))
	for _, st := range p.answers {
		f.Add(st)
	}

	p.near.spool.frames = p.near.spool.frames[:frames]
	e, err := RestoreEgress(old)
	if err != nil {
		t.Fatal(err)
	}
	p.egress = e
	replay(t, p.near.spool, e.Opened, e.Closed, e.Replay)
	claim := p.claim(true)
	_, err = p.review(claim)
	var refused *RefusedError
	if !errors.As(err, &refused) || refused.Code != crossingv1.Refused_BEHIND {
		t.Fatalf("a claim of before is refused with %v", err)
	}
	if err := e.Adopt(overWire(t, refused.Message()).GetLast(), p.far.key); err == nil {
		t.Fatal("a claim was adopted that another's key signed")
	}
	if err := e.Adopt(overWire(t, refused.Message()).GetLast(), p.near.key); err != nil {
		t.Fatal(err)
	}
	restored, err := RestoreEgress(overWire(t, e.State())) // it may stop right then
	if err != nil {
		t.Fatal(err)
	}
	p.egress = restored
	st := p.epoch(true)
	if !st.Claim.GetResumed() || st.Claim.GetEpoch() != 4 || st.Claim.GetFirst() != lost+1 {
		t.Fatalf("claim %v", st.Claim)
	}
	if got := numbersNamed(st, crossingv1.Difference_UNOPENED); !slices.Equal(got, []uint64{unstated}) {
		t.Errorf("without a record at egress: %v, want %d", got, unstated)
	}
	if got := numbersNamed(st, crossingv1.Difference_UNCLAIMED_END); !slices.Equal(got, []uint64{long.GetKey().GetSequence()}) {
		t.Errorf("ends that nobody claims: %v, want %v", got, long.GetKey().GetSequence())
	}
	if !p.ingress.Done() || !p.egress.Done() || p.ingress.Waiting() {
		t.Error("the chain is not at its end")
	}
	found := f.Add(st)
	read, err := Read(claim)
	if err != nil {
		t.Fatal(err)
	}
	found = append(found, f.Add(read)...)
	var faults []Fault
	for _, one := range found {
		faults = append(faults, one.Fault)
	}
	if !slices.Equal(faults, []Fault{Resumed, Differs, Differs, Forked}) {
		t.Errorf("found %v", faults)
	}
}

// TestIngressRolledBack: an ingress gateway whose spool was put back says that it
// forgot, and how many claims it missed; its records of what it cannot place are
// named.
func TestIngressRolledBack(t *testing.T) {
	p := newPair(t)
	for range 10 {
		p.cross()
	}
	p.epoch(false)
	old, frames := overWire(t, p.ingress.State()), len(p.far.spool.frames)
	n := p.cross()
	long := p.out()
	p.in(opening(testChain, ingressSide, long.GetKey().GetSequence()))
	kept := len(p.far.spool.frames)
	p.epoch(false)
	p.cross()
	p.epoch(false)

	p.far.spool.frames = append(slices.Clone(p.far.spool.frames[:frames]), p.far.spool.frames[frames:kept]...)
	i, err := RestoreIngress(old)
	if err != nil {
		t.Fatal(err)
	}
	p.ingress = i
	open := func(h *crossingv1.Half, frame []byte, at uint64) bool { i.Opened(h, frame, at); return false }
	end := func(c *crossingv1.Close, frame []byte, at uint64) bool { i.Closed(c, frame, at); return false }
	replay(t, p.far.spool, open, end, i.Replay)
	i.Stated()
	p.cross()
	p.endOut(ending(long, done))
	st := p.epoch(false)
	if !st.Answer.GetForgot() || st.Answer.GetMissed() != 2 {
		t.Errorf("answer %v", st.Answer)
	}
	if got := numbersNamed(st, crossingv1.Difference_UNCLAIMED); !slices.Equal(got, []uint64{n, n + 1}) {
		t.Errorf("unclaimed openings: %v", got)
	}
	if got := numbersNamed(st, crossingv1.Difference_UNCLAIMED_END); !slices.Equal(got, []uint64{n}) {
		t.Errorf("unclaimed ends: %v", got)
	}
	if !slices.Equal(st.Deferred(), []uint64{n + 1}) {
		t.Errorf("deferred %v", st.Deferred())
	}
	p.endIn(ending(opening(testChain, ingressSide, n+1), done))
	if st := p.epoch(true); len(st.Answer.GetDifferences()) > 0 || !p.ingress.Done() || p.ingress.Waiting() {
		t.Errorf("final answer %v", st.Answer)
	}
}

// TestIngressWithoutState: what it knows nothing of it says so of.
func TestIngressWithoutState(t *testing.T) {
	p := newPair(t)
	long := p.out()
	p.in(opening(testChain, ingressSide, 1))
	p.epoch(false)
	p.cross()
	p.epoch(false)
	p.ingress = NewIngress(testChain)
	p.endOut(ending(long, done))
	st := p.epoch(false)
	if !st.Answer.GetForgot() || st.Answer.GetMissed() != 2 || !slices.Equal(numbersNamed(st, crossingv1.Difference_UNENDED), []uint64{1}) {
		t.Errorf("answer %v", st.Answer)
	}
}

// TestBarred: what an answer says that it never came never comes, not even while the
// answer is made.
func TestBarred(t *testing.T) {
	p := newPair(t)
	h := p.out()
	claim := p.claim(false)
	r, err := p.ingress.Review(claim, p.near.key, p.means(), p.now)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.ingress.Review(claim, p.near.key, p.means(), p.now); err == nil {
		t.Fatal("two reviews at a time")
	}
	if !p.ingress.Take(1) {
		t.Fatal("not taken while there is time")
	}
	step, err := r.Step(p.now)
	if err != nil || step.Wait.IsZero() {
		t.Fatalf("step %v, %v; want to wait", step, err)
	}
	p.now = step.Wait
	if step, err = r.Step(p.now); err != nil || !step.Wait.After(p.now) {
		t.Fatalf("step %v, %v; want to wait for what is being recorded", step, err)
	}
	frame, at := p.far.spool.half(opening(testChain, ingressSide, 1))
	p.ingress.Opened(opening(testChain, ingressSide, 1), frame, at)
	<-r.Ready()
	if step, err = r.Step(p.now); err != nil || step.Answer == nil {
		t.Fatalf("step %v, %v; want the answer", step, err)
	}
	r.Commit()
	st, err := p.egress.Check(step.Answer, p.far.key)
	if err != nil || len(st.Answer.GetDifferences()) > 0 {
		t.Fatalf("answer %v, %v", st.Answer, err)
	}
	p.egress.Answered(st)

	p.out()
	p.endOut(ending(h, done))
	claim = p.claim(false)
	if r, err = p.ingress.Review(claim, p.near.key, p.means(), p.now); err != nil {
		t.Fatal(err)
	}
	if _, err = r.Step(p.now.Add(2 * Patience)); err != nil {
		t.Fatal(err)
	}
	if p.ingress.Take(2) {
		t.Error("2 is taken that is being named as unseen")
	}
	r.Drop()
	if p.ingress.Take(2) {
		t.Error("2 is taken after the review was dropped")
	}
	s, err := p.review(claim)
	if err != nil {
		t.Fatal(err)
	}
	if st := p.answered(s); !slices.Equal(numbersNamed(st, crossingv1.Difference_UNSEEN), []uint64{2}) || !slices.Equal(st.Deferred(), []uint64{1}) {
		t.Errorf("answer %v", st.Answer)
	}
}

// TestTraffic: what two gateways tell one another to find faults is few digests a
// crossing, and a few frames a fault.
func TestTraffic(t *testing.T) {
	const crossings, perClaim = 30_000, 1000
	p := newPair(t)
	random := rand.New(rand.NewPCG(3, 5))
	want, got := map[difference]bool{}, named{}
	for at := range crossings {
		h := p.out()
		n := h.GetKey().GetSequence()
		i := opening(testChain, ingressSide, n)
		kind := crossingv1.Difference_KIND_UNSPECIFIED
		if random.Float64() < 0.0015 {
			kind = []crossingv1.Difference_Kind{
				crossingv1.Difference_UNSEEN, crossingv1.Difference_OPENED_OTHERWISE, crossingv1.Difference_ENDED_OTHERWISE,
			}[random.IntN(3)]
			want[difference{kind, n}] = true
		}
		if kind == crossingv1.Difference_OPENED_OTHERWISE {
			i.Operation.Name = "GET /"
		}
		end := ending(i, done)
		if kind == crossingv1.Difference_ENDED_OTHERWISE {
			end.Status = 500
		}
		if kind != crossingv1.Difference_UNSEEN {
			p.in(i)
			p.endIn(end)
		}
		p.endOut(ending(h, done))
		if (at+1)%perClaim == 0 {
			got.add(p.epoch(false))
		}
	}
	for d := range want {
		if got[d] == 0 {
			t.Errorf("%v is not named", d)
		}
	}
	if len(got) != len(want) || len(want) < 20 {
		t.Errorf("%d named, want %d", len(got), len(want))
	}
	per := float64(p.digests) / crossings
	t.Logf("%d faults, %d digests, %d frames, %d questions: %.4f digests a crossing", len(want), p.digests, p.frames, p.asks, per)
	if per > 0.1 || p.frames > len(want) {
		t.Errorf("%.4f digests a crossing, %d frames for %d faults", per, p.frames, len(want))
	}
}

// TestWhollyOtherwise: two accounts that differ in every number still come to an
// answer that fits, in few questions.
func TestWhollyOtherwise(t *testing.T) {
	p := newPair(t)
	for n := range uint64(2 * MaxOpened) {
		h := p.out()
		i := opening(testChain, ingressSide, n+1)
		p.fields(i, n)
		p.in(i)
		p.endOut(ending(h, done))
		end := ending(i, done)
		end.RequestBytes += n%2 + 1
		end.Status += uint32(n % 3)
		p.endIn(end)
	}
	for range 2 {
		p.asks = 0
		st := p.epoch(false)
		if n := len(numbersNamed(st, crossingv1.Difference_OPENED_OTHERWISE)); n != MaxOpened {
			t.Errorf("%d openings differ", n)
		}
		if n := len(numbersNamed(st, crossingv1.Difference_ENDED_OTHERWISE)); n != MaxClosed {
			t.Errorf("%d ends differ", n)
		}
		if p.asks > MaxAsks/2 {
			t.Errorf("%d questions", p.asks)
		}
		t.Logf("%d bytes of claim, %d of answer, %d questions", len(st.Statement.GetClaim()), len(st.Statement.GetAnswer()), p.asks)
	}
}

// fields makes a half differ in fields that depend on the number.
func (p *pair) fields(h *crossingv1.Half, n uint64) {
	texts := []*string{
		&h.Source, &h.Destination, &h.Transition.Owner, &h.Operation.Service, &h.Operation.Name, &h.Operation.Authority,
	}
	for at, text := range texts {
		if (n+1)>>at&1 == 1 {
			*text += "0"
		}
	}
	h.Trace = nearRun
}
