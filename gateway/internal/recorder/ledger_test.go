package recorder

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// ledger keeps books as simply as can be: a statement is on all that it has been told
// of, and nobody answers.
type ledger struct {
	mu     sync.Mutex // guards what follows
	rec    *Recorder  // nil until there is one
	chains map[chain]*account
	voids  map[chain][]uint64
	free   []uint64 // places that were given back before there was a recorder
	faults []string

	taken, others []string // runs
}

type chain struct{ egress, ingress, run string }

// account is what the ledger has of a chain.
type account struct {
	side         crossingv1.Side
	epoch, last  uint64 // last number given out
	next         uint64 // first one that was not stated
	open         map[uint64]bool
	opened, ends map[uint64]uint64 // places of what was not stated, by number
}

func newLedger() *ledger {
	return &ledger{chains: map[chain]*account{}, voids: map[chain][]uint64{}}
}

func (l *ledger) of(c chain, side crossingv1.Side) *account {
	a := l.chains[c]
	if a == nil {
		a = &account{side: side, next: 1, open: map[uint64]bool{}, opened: map[uint64]uint64{}, ends: map[uint64]uint64{}}
		l.chains[c] = a
	}
	return a
}

func chainOf(k *crossingv1.Key) chain { return chain{k.GetEgress(), k.GetIngress(), k.GetRun()} }

// attach gives the ledger its recorder.
func (l *ledger) attach(r *Recorder) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rec = r
	r.Stated(l.free...)
	l.free = nil
}

// stated gives places back. The caller holds mu.
func (l *ledger) stated(at ...uint64) {
	if l.rec == nil {
		l.free = append(l.free, at...)
		return
	}
	l.rec.Stated(at...)
}

func (l *ledger) Next(ingress string) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.of(chain{self.String(), ingress, l.rec.RunID()}, crossingv1.Side_EGRESS)
	a.last++
	return a.last
}

func (l *ledger) Void(ingress string, n uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := chain{self.String(), ingress, l.rec.RunID()}
	l.voids[c] = append(l.voids[c], n)
}

func (l *ledger) Unrecorded(h *crossingv1.Half) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := chainOf(h.GetKey())
	l.voids[c] = append(l.voids[c], h.GetKey().GetSequence())
}

func (l *ledger) Opened(h *crossingv1.Half, _ []byte, at uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.opens(h, at) {
		l.stated(at)
	}
}

func (l *ledger) opens(h *crossingv1.Half, at uint64) bool {
	a, n := l.of(chainOf(h.GetKey()), h.GetSide()), h.GetKey().GetSequence()
	if _, twice := a.opened[n]; twice || n < a.next {
		return false
	}
	a.opened[n] = at
	return true
}

func (l *ledger) Closed(c *crossingv1.Close, _ []byte, at uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.ended(c, at) {
		l.stated(at)
	}
}

func (l *ledger) ended(c *crossingv1.Close, at uint64) bool {
	a, n := l.of(chainOf(c.GetKey()), c.GetSide()), c.GetKey().GetSequence()
	if _, twice := a.ends[n]; twice || n < a.next && !a.open[n] {
		return false
	}
	a.ends[n] = at
	return true
}

func (l *ledger) Replay(f *crossingv1.Frame, _ []byte, at uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case f.GetOpen() != nil:
		return l.opens(f.GetOpen(), at)
	case f.GetClose() != nil:
		return l.ended(f.GetClose(), at)
	case f.GetStatement() != nil:
		c := new(crossingv1.Claim)
		if err := proto.Unmarshal(f.GetStatement().GetClaim(), c); err != nil {
			l.faults = append(l.faults, err.Error())
			return false
		}
		l.commit(c)
	}
	return false
}

// claim states everything. It gives nil if there is nothing new.
func (l *ledger) claim(c chain) *crossingv1.Claim {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.chains[c]
	claim := &crossingv1.Claim{
		Chain: &crossingv1.Chain{Egress: c.egress, Ingress: c.ingress, Run: c.run}, Epoch: a.epoch + 1, First: a.next, Next: a.next,
	}
	for _, ok := a.opened[claim.Next]; ok || slices.Contains(l.voids[c], claim.Next); _, ok = a.opened[claim.Next] {
		claim.Next++
	}
	for _, n := range slices.Sorted(maps.Keys(a.ends)) {
		if n < claim.Next && (n%5 != 0 || claim.Epoch%4 == 0) { // some wait, as where the other end goes on
			claim.Closed = append(claim.Closed, n)
		}
	}
	if claim.Next == claim.First && len(claim.Closed) == 0 {
		return nil
	}
	return claim
}

// state states everything of all chains, and puts the statements in the spool first.
func (l *ledger) state() error {
	l.mu.Lock()
	names := slices.Collect(maps.Keys(l.chains))
	l.mu.Unlock()
	for _, c := range names {
		claim := l.claim(c)
		if claim == nil {
			continue
		}
		text, err := proto.Marshal(claim)
		if err != nil {
			return err
		}
		if err := l.rec.Say(&crossingv1.Frame{Statement: &crossingv1.Statement{Claim: text}}, true); err != nil {
			return err
		}
		l.mu.Lock()
		l.commit(claim)
		l.mu.Unlock()
	}
	return nil
}

// commit goes on behind a claim. The caller holds mu.
func (l *ledger) commit(c *crossingv1.Claim) {
	side := crossingv1.Side_EGRESS
	if c.GetChain().GetEgress() != self.String() {
		side = crossingv1.Side_INGRESS
	}
	of := chain{c.GetChain().GetEgress(), c.GetChain().GetIngress(), c.GetChain().GetRun()}
	a := l.of(of, side)
	if c.GetEpoch() <= a.epoch {
		return
	}
	if c.GetEpoch() != a.epoch+1 {
		l.faults = append(l.faults, fmt.Sprintf("epoch %d after %d", c.GetEpoch(), a.epoch))
	}
	for n := a.next; n < c.GetNext(); n++ {
		if of.ingress != "" && !slices.Contains(l.voids[of], n) {
			a.open[n] = true
		}
	}
	a.epoch, a.next = c.GetEpoch(), c.GetNext()
	for _, n := range c.GetClosed() {
		delete(a.open, n)
	}
	l.drop(a)
}

// drop gives back what is stated. The caller holds mu.
func (l *ledger) drop(a *account) {
	for n, at := range a.opened {
		if n < a.next {
			delete(a.opened, n)
			l.stated(at)
		}
	}
	for n, at := range a.ends {
		if n < a.next && !a.open[n] {
			delete(a.ends, n)
			l.stated(at)
		}
	}
}

func (l *ledger) Chains() []*crossingv1.ChainState {
	l.mu.Lock()
	defer l.mu.Unlock()
	var states []*crossingv1.ChainState
	for c, a := range l.chains {
		states = append(states, &crossingv1.ChainState{
			Chain: &crossingv1.Chain{Egress: c.egress, Ingress: c.ingress, Run: c.run}, Side: a.side,
			Epoch: a.epoch, Next: a.next, Open: slices.Sorted(maps.Keys(a.open)),
		})
	}
	return states
}

func (l *ledger) Runs(taken, others []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.taken, l.others = taken, others
}

// runs are what the ledger was told last of other runs.
func (l *ledger) runs() (taken, others []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.taken, l.others
}

func (l *ledger) Restore(states []*crossingv1.ChainState) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range states {
		a := l.of(chain{s.GetChain().GetEgress(), s.GetChain().GetIngress(), s.GetChain().GetRun()}, s.GetSide())
		if s.GetEpoch() <= a.epoch {
			continue
		}
		a.epoch, a.next, a.open = s.GetEpoch(), s.GetNext(), map[uint64]bool{}
		for _, n := range s.GetOpen() {
			a.open[n] = true
		}
		l.drop(a)
	}
}

// hasOpening says that an opening is stated, or to be stated.
func (l *ledger) hasOpening(k *crossingv1.Key) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.chains[chainOf(k)]
	if a == nil {
		return false
	}
	_, ok := a.opened[k.GetSequence()]
	return ok || k.GetSequence() < a.next
}

// hasEnd says that of an end.
func (l *ledger) hasEnd(k *crossingv1.Key) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.chains[chainOf(k)]
	if a == nil {
		return false
	}
	_, ok := a.ends[k.GetSequence()]
	return ok || k.GetSequence() < a.next && !a.open[k.GetSequence()]
}

// places are those that the ledger holds on to.
func (l *ledger) places() []uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []uint64
	for _, a := range l.chains {
		all = slices.AppendSeq(all, maps.Values(a.opened))
		all = slices.AppendSeq(all, maps.Values(a.ends))
	}
	return all
}

// check holds that nothing was impossible, and that the spool holds what the ledger
// does.
func (l *ledger) check(t testing.TB) {
	t.Helper()
	places := l.places()
	for _, at := range places {
		if _, err := l.rec.Frame(at); err != nil {
			t.Errorf("the ledger holds on to %x: %v", at, err)
		}
	}
	held := l.rec.spool.Held()
	for _, left := range l.rec.left.all() {
		held += left.spool.Held()
	}
	l.rec.library.mu.Lock()
	for _, v := range l.rec.library.volumes {
		for _, n := range v.held {
			held += n
		}
	}
	l.rec.library.mu.Unlock()
	if held != len(places) {
		t.Errorf("the spool holds %d places, the ledger %d", held, len(places))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.faults) > 0 {
		t.Errorf("the ledger was told: %q", l.faults)
	}
}
