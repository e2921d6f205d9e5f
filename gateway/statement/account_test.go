package statement

import (
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// TestDue: a claim is due after an epoch in which anything happened, or at once when
// there is much, and never while one is outstanding.
func TestDue(t *testing.T) {
	p := newPair(t)
	if p.egress.Due(began.Add(time.Hour)) || p.claim(false) != nil {
		t.Fatal("a claim of nothing is due")
	}
	h := p.out()
	if p.egress.Due(began.Add(Epoch-1)) || !p.egress.Due(began.Add(Epoch)) {
		t.Error("not due after an epoch")
	}
	p.in(opening(testChain, ingressSide, 1))
	p.epoch(false)
	if p.egress.Due(p.now.Add(time.Hour)) {
		t.Error("due, and nothing has happened")
	}
	p.endOut(ending(h, done))
	if p.egress.Due(p.now.Add(Epoch-1)) || !p.egress.Due(p.now.Add(Epoch)) {
		t.Error("not due after an epoch with an end")
	}
	for n := range Full {
		h := opening(testChain, egressSide, p.egress.Next())
		frame, at := p.near.spool.half(h)
		if due := p.egress.Opened(h, frame, at); due != (n == Full-1) {
			t.Fatalf("due after %d: %t", n+1, due)
		}
	}
	if !p.egress.Due(p.now) {
		t.Error("not due, and full")
	}
	p.claim(false)
	if p.egress.Due(p.now.Add(time.Hour)) || p.claim(false) != nil {
		t.Error("due while a claim is outstanding")
	}
	p.alone()
	if p.egress.Pending() != nil || p.egress.Due(p.now.Add(time.Hour)) {
		t.Error("something is left")
	}
}

// TestCutWaits for what is being recorded, and for nothing behind it.
func TestCutWaits(t *testing.T) {
	p := newPair(t)
	p.cross()
	slow := p.egress.Next()
	after := p.out()
	p.in(opening(testChain, ingressSide, after.GetKey().GetSequence()))
	p.endOut(ending(after, done))
	st := p.epoch(false)
	if st.Claim.GetNext() != slow || !slices.Equal(st.Closed(), []uint64{1}) {
		t.Errorf("claim of [%d, %d), ends %v, while %d is being recorded", st.Claim.GetFirst(), st.Claim.GetNext(), st.Closed(), slow)
	}
	if p.claim(false) != nil {
		t.Error("a claim of nothing new")
	}
	p.egress.Void(slow)
	p.endIn(ending(opening(testChain, ingressSide, after.GetKey().GetSequence()), done))
	st = p.epoch(false)
	if st.Claim.GetNext() != slow+2 || !slices.Equal(st.Voids(), []uint64{slow}) || !slices.Equal(st.Closed(), []uint64{slow + 1}) {
		t.Errorf("claim of [%d, %d), ends %v", st.Claim.GetFirst(), st.Claim.GetNext(), st.Closed())
	}
	p.egress.Next() // given out, and never used
	if st = p.epoch(true); !st.Claim.GetFinal() || len(st.Voids()) != 1 || !p.egress.Done() {
		t.Errorf("final claim %v", st.Claim)
	}
}

// TestLimits: what is too much for one claim is in the next, and only the last one is
// final.
func TestLimits(t *testing.T) {
	p := newPair(t)
	const all = MaxOpened + 500
	for range all {
		p.cross()
	}
	st := p.epoch(true)
	if st.Claim.GetFinal() || st.Claim.GetNext() != MaxOpened+1 || len(st.Closed()) != MaxClosed {
		t.Fatalf("claim of [%d, %d), %d ends, final %t", st.Claim.GetFirst(), st.Claim.GetNext(), len(st.Closed()), st.Claim.GetFinal())
	}
	if st = p.epoch(true); !st.Claim.GetFinal() || st.Claim.GetNext() != all+1 || !p.ingress.Done() || len(p.near.spool.kept) > 0 {
		t.Errorf("claim of [%d, %d), final %t", st.Claim.GetFirst(), st.Claim.GetNext(), st.Claim.GetFinal())
	}
	far := []uint64{1, 1 << 20, 1 << 40, 1 << 60}
	if n := fitting(far, 1+3+6); n != 3 {
		t.Errorf("%d numbers fit", n)
	}
}

// TestRefusedChain: crossings that were refused at egress are stated by that gateway
// alone.
func TestRefusedChain(t *testing.T) {
	c := Chain{Egress: nearGateway, Run: nearRun}
	e, near := NewEgress(c, began), newParty(t, nearGateway, nearRun)
	var before *Stated
	for epoch := range 3 {
		for range 5 {
			h := opening(c, egressSide, e.Next())
			h.End.Decision, h.End.Reason, h.End.Close = crossingv1.Decision_DENY, crossingv1.Reason_NO_INTENT, crossingv1.Cause_REFUSED
			frame, at := near.spool.half(h)
			e.Opened(h, frame, at)
		}
		st := must[*Stated](t)(Read(e.Cut(Facts{Now: began.Add(time.Duration(epoch) * Epoch), Final: epoch == 2}, near.signer)))
		if st.VerifyEgress(near.key) != nil || st.Claim.GetOpen() != 0 || st.Claim.GetNext() != st.Claim.GetFirst()+5 {
			t.Errorf("claim %v", st.Claim)
		}
		e.Alone()
		near.spool.stated(t, e.Stated())
		if before != nil && string(st.Claim.GetPrevious()) != string(before.ClaimHash[:]) {
			t.Error("the chain is broken")
		}
		before = st
		restored := must[*Egress](t)(RestoreEgress(overWire(t, e.State())))
		if e.Done() != (epoch == 2) || restored.Done() != e.Done() || restored.Next() != e.counter.Load()+1 {
			t.Errorf("restored as %v", restored.State())
		}
	}
	if len(near.spool.kept) > 0 {
		t.Errorf("%d frames are not stated", len(near.spool.kept))
	}
}

// TestStateRefused: a state that is none restores nothing.
func TestStateRefused(t *testing.T) {
	p, _ := answered(t)
	good := p.egress.State()
	for name, change := range map[string]func(s *crossingv1.ChainState){
		"of no chain":               func(s *crossingv1.ChainState) { s.Chain = nil },
		"of the other side":         func(s *crossingv1.ChainState) { s.Side = ingressSide },
		"from number 0":             func(s *crossingv1.ChainState) { s.Next = 0 },
		"without last claim":        func(s *crossingv1.ChainState) { s.Last = nil },
		"with another last claim":   func(s *crossingv1.ChainState) { s.Epoch = 1 },
		"with a bad last claim":     func(s *crossingv1.ChainState) { s.Last = &crossingv1.Statement{} },
		"before its last claim":     func(s *crossingv1.ChainState) { s.Next = 1 },
		"with numbers out of order": func(s *crossingv1.ChainState) { s.Open = []uint64{3, 0} },
		"without epoch":             func(s *crossingv1.ChainState) { s.Epoch = 0 },
	} {
		s := overWire(t, good)
		change(s)
		if e, err := RestoreEgress(s); err == nil {
			t.Errorf("a state %s restores %v", name, e.State())
		}
	}
	if e, err := RestoreEgress(newPair(t).egress.State()); err == nil {
		t.Errorf("a state of which nothing was claimed restores %v: since when?", e.State())
	}
	far := p.ingress.State()
	far.Last = &crossingv1.Statement{Claim: far.Last.Claim, Egress: far.Last.Egress}
	if i, err := RestoreIngress(far); err == nil {
		t.Errorf("a state without answer restores %v", i.State())
	}
	far = p.ingress.State()
	far.Absent = []uint64{1, 0}
	if i, err := RestoreIngress(far); err == nil {
		t.Errorf("a state with numbers out of order restores %v", i.State())
	}
}

// TestReplayRefused: what is no statement of the chain changes nothing.
func TestReplayRefused(t *testing.T) {
	p, st := answered(t)
	other := Chain{Egress: nearGateway, Ingress: farGateway, Run: farRun}
	claim := &crossingv1.Statement{Claim: st.Statement.Claim, Egress: st.Statement.Egress}
	if NewEgress(other, began).Replay(st.Statement) == nil || NewIngress(other).Replay(st.Statement) == nil {
		t.Error("a statement of another chain is replayed")
	}
	if p.egress.Replay(nil) == nil || p.ingress.Replay(nil) == nil || NewIngress(testChain).Replay(claim) == nil {
		t.Error("no statement is replayed")
	}
	if err := p.egress.Replay(claim); err != nil || p.egress.Pending() != nil {
		t.Errorf("a claim that was answered is outstanding again, %v", err)
	}
	if err := p.ingress.Replay(st.Statement); err != nil {
		t.Error(err)
	}
}

// TestReplayStandsByTheAnswer: what an answer said was not here is not here after a
// restart either, although a record of it has been found.
func TestReplayStandsByTheAnswer(t *testing.T) {
	p := newPair(t)
	p.out()
	st := p.epoch(false)
	if d := st.Answer.GetDifferences(); len(d) != 1 || d[0].GetKind() != crossingv1.Difference_UNSEEN {
		t.Fatalf("the answer is %v", st.Answer)
	}
	again := NewIngress(testChain)
	mine := opening(testChain, ingressSide, 1)
	frame, at := p.far.spool.half(mine)
	again.Opened(mine, frame, at)
	end := ending(mine, crossingv1.Cause_GATEWAY_STOPPED)
	frame, at = p.far.spool.close(end)
	again.Closed(end, frame, at)
	if err := again.Replay(st.Statement); err != nil {
		t.Fatal(err)
	}
	if want := p.ingress.State(); !proto.Equal(again.State(), want) || again.Waiting() {
		t.Errorf("after the restart %v, before %v", again.State(), want)
	}
}

// TestFarAhead: numbers far ahead of the claims are not taken.
func TestFarAhead(t *testing.T) {
	p := newPair(t)
	if p.ingress.Take(0) || p.ingress.Take(1+maxAhead) || !p.ingress.Take(maxAhead) {
		t.Error("the bound is another")
	}
	h := opening(testChain, ingressSide, 1<<50)
	frame, at := p.far.spool.half(h)
	p.ingress.Opened(h, frame, at)
	if got := p.ingress.Stated(); !slices.Equal(got, []uint64{at}) {
		t.Errorf("a frame that no claim can be about is kept: %v", got)
	}
}

// TestConcurrentAccounts: crossings, claims and answers at once lose nothing.
func TestConcurrentAccounts(t *testing.T) {
	p := newPair(t)
	p.near.spool, p.far.spool = nil, nil
	frames := someFrames(t)
	var crossing sync.WaitGroup
	for range 4 {
		crossing.Go(func() {
			for range 500 {
				n := p.egress.Next()
				h, i := opening(testChain, egressSide, n), opening(testChain, ingressSide, n)
				p.egress.Opened(h, frames[0], n)
				if !p.ingress.Take(n) {
					t.Errorf("%d is not taken", n)
				}
				p.ingress.Opened(i, frames[1], n)
				p.ingress.Closed(ending(i, done), frames[2], n)
				p.egress.Closed(ending(h, done), frames[3], n)
			}
		})
	}
	over := make(chan struct{})
	go func() { crossing.Wait(); close(over) }()
	stated := 0
	for final := false; !p.egress.Done(); {
		select {
		case <-over:
			final = true
		default:
		}
		s := p.egress.Cut(Facts{Now: p.now, Policy: policyRef, Final: final}, p.near.signer)
		if s == nil {
			continue
		}
		st := p.reviewed(s)
		if len(st.Answer.GetDifferences()) > 0 {
			t.Fatalf("answer %v", st.Answer)
		}
		p.egress.Answered(st)
		stated += len(p.egress.Stated()) + len(p.ingress.Stated())
		if standing := p.egress.Standing(); standing.GetEpoch() != p.ingress.Standing().GetEpoch() || !standing.GetAnswered() {
			t.Errorf("standing %v and %v", standing, p.ingress.Standing())
		}
	}
	if stated != 4*2000 {
		t.Errorf("%d frames are stated, want %d", stated, 4*2000)
	}
}

func someFrames(t testing.TB) (frames [4][]byte) {
	t.Helper()
	s := newSpool(t, nearGateway, nearRun)
	for at := range frames {
		frames[at], _ = s.half(opening(testChain, egressSide, uint64(at+1)))
	}
	return frames
}

// reviewed is the answer to a claim while crossings go on: the review waits for
// what comes.
func (p *pair) reviewed(s *crossingv1.Statement) *Stated {
	p.t.Helper()
	m := Means{Run: farRun, Policy: policyRef, Signer: p.far.signer, Frames: func(uint64) ([]byte, error) { return nil, errGone }}
	r, err := p.ingress.Review(s, p.near.key, m, p.now)
	if err != nil {
		p.t.Fatal(err)
	}
	defer r.Drop()
	<-r.Ready()
	step, err := r.Step(p.now)
	if err != nil || step.Answer == nil {
		p.t.Fatal(step, err)
	}
	r.Commit()
	st, err := p.egress.Check(step.Answer, p.far.key)
	if err != nil {
		p.t.Fatal(err)
	}
	return st
}

// TestEndOfChain: after the final claim nothing opens, and what still ends is let go of.
func TestEndOfChain(t *testing.T) {
	p := newPair(t)
	p.cross()
	odd := opening(testChain, ingressSide, 5)
	p.in(odd)
	if st := p.epoch(true); !slices.Equal(numbersNamed(st, crossingv1.Difference_UNOPENED), []uint64{5}) || !p.ingress.Done() {
		t.Fatalf("final claim answered with %v", st.Answer.GetDifferences())
	}
	p.endIn(ending(odd, done))
	if p.ingress.Waiting() {
		t.Error("an end is held that nobody will claim")
	}
	p.far.spool.stated(t, p.ingress.Stated())
	if len(p.far.spool.kept) > 0 {
		t.Errorf("%d frames are not given back", len(p.far.spool.kept))
	}
	if p.ingress.Take(6) {
		t.Error("a number opens after the final claim")
	}
}
