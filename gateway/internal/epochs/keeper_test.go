package epochs

import (
	"context"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/statement"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

func TestStated(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.cross(50)
		long := w.send(true)
		pass(3 * time.Second)
		if n := len(w.near.statements()); n == 0 {
			t.Fatal("nothing was stated within three seconds")
		}
		long.end()
		w.cross(5)
		pass(4 * time.Second)
		w.wantAgreed(56)
		if n := w.near.counted("stated EGRESS"); n != len(w.near.statements()) {
			t.Errorf("%d epochs were counted of %d", n, len(w.near.statements()))
		}
		if n := w.far.counted("stated INGRESS"); n != len(w.far.statements()) {
			t.Errorf("%d epochs were counted of %d at the other end", n, len(w.far.statements()))
		}
	})
}

// TestFullEpoch: a thousand crossings make an epoch, however soon.
func TestFullEpoch(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		pass(100 * time.Millisecond) // between two looks
		w.cross(statement.Full)
		pass(time.Millisecond)
		if n := len(w.near.statements()); n == 0 {
			t.Error("a full epoch waits for its time to pass")
		}
		pass(4 * time.Second)
		w.wantAgreed(statement.Full)
	})
}

// TestIdle: where nothing crosses nothing is claimed, and heartbeats go on.
func TestIdle(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.cross(1)
		pass(3 * time.Second)
		claims := len(w.near.statements())
		pass(time.Minute)
		if n := len(w.near.statements()); n != claims {
			t.Errorf("%d claims about nothing", n-claims)
		}
		beats := w.near.beats()
		if n := len(beats); n < 6 || n > 7 {
			t.Errorf("%d heartbeats in a minute", n)
		}
		last := beats[len(beats)-1].GetStandings()
		if len(last) != 1 || last[0].GetNext() != 2 || !last[0].GetAnswered() || last[0].GetSilent() != nil {
			t.Errorf("the chain stands at %v", last)
		}
		if w.near.keeper.Silent()+w.far.keeper.Silent() > 0 {
			t.Error("somebody is silent")
		}
	})
}

// TestRefusedHere: what this gateway refused itself is stated without anybody's answer.
func TestRefusedHere(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		for range 3 {
			h := w.near.half(w.near.keeper.Next(""), crossing.NewID(time.Now()), crossingv1.Side_EGRESS)
			h.Key.Ingress = ""
			h.End.Decision, h.End.Reason, h.End.Close = crossingv1.Decision_DENY, crossingv1.Reason_NO_INTENT, crossingv1.Cause_REFUSED
			w.near.open(h)
		}
		pass(3 * time.Second)
		all := w.near.statements()
		if len(all) != 1 || all[0].Chain.Ingress != "" || all[0].Claim.GetNext() != 4 || all[0].Answer != nil {
			t.Fatalf("%d statements: %v", len(all), all)
		}
		if n := w.near.heldPlaces(); n > 0 {
			t.Errorf("%d places are held", n)
		}
		if len(w.far.statements()) > 0 || w.near.keeper.Silent() > 0 {
			t.Error("the other gateway has to do with it")
		}
	})
}

// TestUnseen: a crossing that never came is named, and comes no more.
func TestUnseen(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.cross(3)
		lost := w.send(false)
		w.cross(3)
		pass(5 * time.Second)
		if n := w.near.counted("UNSEEN"); n != 1 {
			t.Errorf("%d numbers are unseen, want 1", n)
		}
		if lost.arrive() {
			t.Error("it was taken after it was stated that it never came")
		}
	})
}

// TestVoid: a number that never opened is no difference.
func TestVoid(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.cross(1)
		ingress := w.far.id.String()
		w.near.keeper.Void(ingress, w.near.keeper.Next(ingress))
		w.cross(1)
		pass(3 * time.Second)
		w.wantAgreed(3)
	})
}

// TestUnrecordedAndReused: what the far gateway refused is named.
func TestUnrecordedAndReused(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c := w.send(false)
		k := c.near.GetKey()
		w.far.keeper.Take(k.GetEgress(), k.GetRun(), k.GetSequence())
		w.far.keeper.Unrecorded(c.far)
		again := w.send(true)
		w.far.keeper.Reused(k.GetEgress(), k.GetRun(), again.n)
		pass(5 * time.Second)
		for _, kind := range []string{"UNRECORDED", "REUSED"} {
			if n := w.near.counted(kind); n != 1 {
				t.Errorf("%d numbers are %s, want 1", n, kind)
			}
		}
	})
}

// TestSilent: a peer that does not answer is named within two heartbeats, and what
// crosses is stated alone until it is back.
func TestSilent(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.cross(1)
		pass(3 * time.Second)
		w.cut(true)
		w.cross(1)
		pass(26 * time.Second)
		for _, g := range []*gateway{w.near, w.far} {
			if n := g.keeper.Silent(); n != 1 {
				t.Errorf("%s: %d peers are silent, want 1", g.id, n)
			}
		}
		if n := w.near.counted("alone EGRESS"); n != 1 {
			t.Errorf("%d epochs were stated alone, want 1", n)
		}
		pass(10 * time.Second)
		for _, g := range []*gateway{w.near, w.far} {
			beats := g.beats()
			if s := beats[len(beats)-1].GetStandings(); len(s) != 1 || s[0].GetSilent() == nil {
				t.Errorf("%s: heartbeat with %v", g.id, s)
			}
		}
		w.cut(false)
		w.cross(1)
		pass(15 * time.Second)
		for _, g := range []*gateway{w.near, w.far} {
			if n := g.keeper.Silent(); n != 0 {
				t.Errorf("%s: %d peers are silent still", g.id, n)
			}
			if n := g.heldPlaces(); n > 0 {
				t.Errorf("%s holds on to %d places", g.id, n)
			}
		}
		missed := uint64(0)
		for _, s := range w.far.statements() {
			missed += s.Answer.GetMissed()
		}
		if missed != 1 || w.near.counted("UNCLAIMED") != 1 {
			t.Errorf("missed %d claims, %d numbers unclaimed, want one of each", missed, w.near.counted("UNCLAIMED"))
		}
	})
}

// TestShortSilence: a claim that is not answered at once is answered later.
func TestShortSilence(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.cut(true)
		w.cross(10)
		pass(9 * time.Second)
		w.cut(false)
		pass(7 * time.Second)
		w.wantAgreed(10)
	})
}

// TestFinish: a gateway that stops has the last word answered.
func TestFinish(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.cross(5)
		w.near.keeper.Finish(t.Context())
		all := w.near.statements()
		if last := all[len(all)-1]; !last.Claim.GetFinal() || last.Answer == nil {
			t.Errorf("the last claim is final: %t, answered: %t", last.Claim.GetFinal(), last.Answer != nil)
		}
		w.near.keeper.release()
		pass(2 * time.Second)
		w.wantAgreed(5)
		w.near.stop()
		pass(time.Minute)
		if n := w.far.keeper.Silent(); n > 0 {
			t.Error("a gateway that has ended its chain is silent")
		}
	})
}

// TestFinishIsBounded: nobody waits for a peer that is not there.
func TestFinishIsBounded(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.cross(5)
		w.cut(true)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		begin := time.Now()
		w.near.keeper.Finish(ctx)
		if d := time.Since(begin); d > 2*time.Second {
			t.Errorf("it took %s", d)
		}
		w.near.stop()
		w.cut(false)
		w.near.begin()
		pass(4 * time.Second)
		w.wantAgreed(5)
	})
}

// TestPart: with a peer that is none any more all is stated that there is; what ends
// later is stated alone, at once. It may come back.
func TestPart(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.cross(2)
		long := w.send(true)
		gone := w.near.keeper.SetPeers(nil)
		if len(gone) != 1 || gone[0] != w.far.id {
			t.Fatalf("gone are %v", gone)
		}
		w.near.keeper.Part(t.Context(), gone)
		if all := w.near.statements(); len(all) != 1 || all[0].Answer == nil {
			t.Fatalf("%d statements", len(all))
		}
		w.cut(true)
		long.end()
		pass(2 * time.Second)
		if n := w.near.counted("alone EGRESS"); n != 1 {
			t.Errorf("%d epochs were stated alone, want 1", n)
		}
		if w.near.keeper.SetPeers(nil) != nil || w.near.keeper.Silent() > 0 {
			t.Error("it is gone again, or silent")
		}
		w.cut(false)
		w.near.keeper.SetPeers([]spiffeid.ID{w.far.id})
		w.cross(1)
		pass(4 * time.Second)
		all := w.near.statements()
		if last := all[len(all)-1]; last.Answer == nil || last.Claim.GetNext() != 5 {
			t.Error("it came back, and is not asked")
		}
	})
}

// TestLastClaim: the last claim to a peer that is none any more leaves nothing open, and
// is not final: the peer may be one again in this run, and the chain goes on without a
// gap to its one end.
func TestLastClaim(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.cross(2)
		long := w.send(true)
		w.near.keeper.Part(t.Context(), w.near.keeper.SetPeers(nil))
		if c := last(t, w.near).Claim; c.GetOpen() != 1 || c.GetNext() != 4 {
			t.Fatalf("claimed at the parting: %v", c)
		}
		w.cut(true)
		long.end()
		pass(2 * time.Second)
		if s := last(t, w.near); s.Claim.GetOpen() != 0 || s.Claim.GetFinal() || s.Answer != nil {
			t.Errorf("the last claim is %v, answered with %v", s.Claim, s.Answer)
		}
		claims := len(w.near.statements())
		pass(time.Hour)
		if n := len(w.near.statements()); n != claims || w.near.heldPlaces() > 0 {
			t.Errorf("%d claims came after it, %d places are held", n-claims, w.near.heldPlaces())
		}
		w.cut(false)
		w.near.keeper.SetPeers([]spiffeid.ID{w.far.id})
		w.cross(1)
		pass(15 * time.Second)
		w.near.keeper.Finish(t.Context())
		if s := last(t, w.near); !s.Claim.GetFinal() || s.Answer == nil || s.Claim.GetNext() != 5 {
			t.Errorf("the run's last claim is %v, answered with %v", s.Claim, s.Answer)
		}
		follow := statement.Follow(last(t, w.near).Chain)
		for _, s := range append(w.near.statements(), w.far.statements()...) {
			for _, f := range follow.Add(s) {
				if f.Fault != statement.Missed && f.Fault != statement.Differs {
					t.Errorf("epoch %d: %s", f.Epoch, f.Fault)
				}
			}
		}
	})
}

// TestRotate: a new SVID has the key announced again, before anything else is said.
func TestRotate(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.cross(1)
		pass(3 * time.Second)
		for _, name := range []string{"near.test", "far.test"} {
			d := w.mesh[name]
			d.Rotate(map[string]*gateway{"near.test": w.near, "far.test": w.far}[name].source)
		}
		w.cross(1)
		pass(3 * time.Second)
		w.wantAgreed(2)
		for _, g := range []*gateway{w.near, w.far} {
			if n := g.announcements(); n != 2 {
				t.Errorf("%s announced its key %d times, want 2", g.id, n)
			}
		}
	})
}

// announcements counts those on disk.
func (g *gateway) announcements() int {
	g.disk.mu.Lock()
	defer g.disk.mu.Unlock()
	n := 0
	for _, b := range g.disk.frames {
		if f, _ := crossing.UnmarshalFrame(b); f.GetAnnouncement() != nil {
			n++
		}
	}
	return n
}

// TestFullDisk: what cannot be spooled is not said.
func TestFullDisk(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.cross(3)
		for _, g := range []*gateway{w.near, w.far} {
			g.disk.mu.Lock()
			g.disk.full = true
			g.disk.mu.Unlock()
		}
		pass(5 * time.Second)
		for _, g := range []*gateway{w.near, w.far} {
			if n := len(g.statements()); n > 0 {
				t.Fatalf("%d statements on a full disk", n)
			}
			g.disk.mu.Lock()
			g.disk.full = false
			g.disk.mu.Unlock()
		}
		pass(8 * time.Second)
		w.wantAgreed(3)
	})
}
