package epochs

import (
	"testing"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/statement"
)

// lose takes what a disk has from the n-th frame on, while no process runs.
func (g *gateway) lose(n int) {
	g.disk.mu.Lock()
	defer g.disk.mu.Unlock()
	g.disk.frames = g.disk.frames[:n]
}

// size is how many frames a disk has.
func (g *gateway) size() int {
	g.disk.mu.Lock()
	defer g.disk.mu.Unlock()
	return len(g.disk.frames)
}

// stays holds that the near gateway claims nothing after an epoch.
func (w *world) stays(epoch uint64) {
	w.t.Helper()
	pass(time.Minute)
	if n := last(w.t, w.near).Claim.GetEpoch(); n != epoch {
		w.t.Errorf("it is claimed again and again, to epoch %d", n)
	}
}

// TestReturned: of a peer that is back the chain is claimed again, though nothing has
// crossed since: what it had and was never told of is named.
func TestReturned(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.cross(1)
		pass(3 * time.Second)
		w.cut(true)
		w.cross(1)
		pass(26 * time.Second)
		if s := last(t, w.near); s.Answer != nil || s.Claim.GetEpoch() != 2 {
			t.Fatalf("epoch %d was answered: %t", s.Claim.GetEpoch(), s.Answer != nil)
		}
		w.cut(false)
		pass(15 * time.Second)
		s := last(t, w.near)
		if c := s.Claim; c.GetEpoch() != 3 || c.GetFirst() != c.GetNext() || s.Answer.GetMissed() != 1 || w.near.counted("UNCLAIMED") != 1 {
			t.Errorf("last is %v, answered with %v", s.Claim, s.Answer)
		}
		w.stays(3)
	})
}

// TestRecall: a peer that says of a chain that it stands at an earlier epoch has lost an
// answer that it gave; the next claim has it say so.
func TestRecall(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.cross(3)
		pass(3 * time.Second)
		kept := w.far.size()
		w.cross(2)
		pass(3 * time.Second)
		w.far.kill()
		w.far.lose(kept)
		w.far.begin()
		pass(30 * time.Second)
		if s := last(t, w.near); s.Claim.GetEpoch() != 3 || !s.Answer.GetForgot() {
			t.Errorf("last is %v, answered with %v", s.Claim, s.Answer)
		}
		w.stays(3)
	})
}

// TestRecover: a gateway that has lost all there was of a run goes on where its peer saw
// it last, and ends the chain.
func TestRecover(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.cross(3)
		pass(3 * time.Second)
		w.cross(2) // never claimed
		run := w.near.run
		w.near.kill()
		w.near.lose(0)
		w.near.begin()
		pass(30 * time.Second)
		s := last(t, w.near)
		if s.Chain.Run != run || !s.Claim.GetResumed() || !s.Claim.GetFinal() || s.Claim.GetEpoch() != 2 || s.Answer == nil {
			t.Fatalf("last is %v, answered with %v", s.Claim, s.Answer)
		}
		if n := w.near.counted("UNOPENED"); n != 2 {
			t.Errorf("%d numbers are named that it knows nothing of, want 2", n)
		}
		if n := w.near.heldPlaces(); n > 0 {
			t.Errorf("%d places are held", n)
		}
		if n := w.far.heldPlaces(); n > 0 {
			t.Errorf("the peer holds on to %d places", n)
		}
	})
}

// TestNotRecovered: nobody has a gateway take up a chain that is another process's, or
// that of its own run, or one more than it has room for.
func TestNotRecovered(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		k, other := w.near.keeper, crossing.NewRun()
		recovered := func(run string) bool {
			c := statement.Chain{Egress: w.near.id.String(), Ingress: w.far.id.String(), Run: run}
			k.recover(c)
			k.mu.Lock()
			defer k.mu.Unlock()
			return k.out[c] != nil
		}
		k.Runs(nil, []string{other})
		if recovered(other) || recovered(w.near.run) {
			t.Error("a chain is taken up that goes on")
		}
		k.Retire()
		if recovered(crossing.NewRun()) {
			t.Error("a process that has retired takes a chain up")
		}
		k.TakeOver()
		w.cut(true)
		if !recovered(crossing.NewRun()) {
			t.Error("a chain is not taken up")
		}
		k.mu.Lock()
		for len(k.out) < maxOut {
			c := statement.Chain{Egress: w.near.id.String(), Run: crossing.NewRun()}
			k.out[c] = newOutgoing(statement.NewEgress(c, time.Now()))
		}
		k.mu.Unlock()
		if recovered(crossing.NewRun()) {
			t.Errorf("more than %d chains are taken up", maxOut)
		}
	})
}

// TestAbandoned: a chain of which its gateway does not speak, though it is heard, is let
// go of, and not at once.
func TestAbandoned(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.cross(3)
		w.near.kill()
		w.near.lose(0)
		w.near.others = []string{w.near.run} // so that it does not take it up
		w.near.begin()
		pass(25 * time.Second)
		if n := w.far.heldPlaces(); n != 6 {
			t.Fatalf("%d places are held after two heartbeats, want 6", n)
		}
		w.far.keeper.Retire() // another process may have heard of it
		pass(time.Minute)
		if n := w.far.heldPlaces(); n != 6 {
			t.Fatalf("a process that has retired holds on to %d places, want 6", n)
		}
		w.far.keeper.TakeOver()
		pass(11 * time.Second)
		if n := w.far.heldPlaces(); n > 0 {
			t.Errorf("%d places are held", n)
		}
		if _, in := w.far.keeper.chains(); len(in) > 0 {
			t.Errorf("%d chains are known", len(in))
		}
	})
}

// TestSilentForGood: what a peer that never returns did not claim is let go of after
// some time, by the process that answers, and so is what ends later. If the peer does return,
// the chain goes on.
func TestSilentForGood(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.far.stop()
		w.far.memory = time.Hour
		w.far.begin()
		w.cross(2)
		pass(3 * time.Second)
		w.cut(true)
		w.cross(2)
		long := w.send(true)
		pass(59 * time.Minute)
		if near, far := w.near.heldPlaces(), w.far.heldPlaces(); near != 0 || far != 5 {
			t.Fatalf("%d and %d places are held, want 0 and 5", near, far)
		}
		w.far.keeper.Retire()
		pass(10 * time.Minute)
		if n := w.far.heldPlaces(); n != 5 {
			t.Fatalf("a process that has retired holds on to %d places, want 5", n)
		}
		w.far.keeper.TakeOver()
		pass(11 * time.Second)
		if n := w.far.heldPlaces(); n > 0 {
			t.Fatalf("%d places are held after an hour", n)
		}
		long.end()
		pass(time.Hour + time.Minute)
		_, in := w.far.keeper.chains()
		if n := w.far.heldPlaces(); n > 0 || len(in) > 0 {
			t.Errorf("%d places of %d chains are held", n, len(in))
		}
		w.cut(false)
		w.cross(1)
		pass(15 * time.Second)
		if s := last(t, w.far); s.Claim.GetNext() != 7 || s.Answer.GetMissed() == 0 {
			t.Errorf("last is %v, answered with %v", s.Claim, s.Answer)
		}
		if n := w.near.heldPlaces() + w.far.heldPlaces(); n > 0 {
			t.Errorf("%d places are held", n)
		}
	})
}
