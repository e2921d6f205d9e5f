package epochs

import (
	"testing"
	"time"
)

// TestNotAbandonedWhileCutOff: a peer that is heard before its next heartbeat has not
// said that it knows nothing of a chain.
func TestNotAbandonedWhileCutOff(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.cross(3)
		pass(5 * time.Second)
		w.cut(true)
		pass(43 * time.Second)
		w.far.keeper.peerOf(w.near.id).hears(time.Now()) // as when it answers a claim
		pass(5 * time.Second)
		w.cut(false)
		w.cross(2)
		w.near.keeper.Finish(t.Context())
		all := w.far.statements()
		last := all[len(all)-1]
		if !last.Claim.GetFinal() || last.Answer.GetForgot() || last.Answer.GetMissed() > 0 {
			t.Errorf("last statement %v, answered with %v", last.Claim, last.Answer)
		}
	})
}
