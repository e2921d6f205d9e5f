package epochs

import (
	"testing"
	"time"
)

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
