package epochs

import (
	"testing"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// TestKillEgress: the process that comes after one that was killed states what was not,
// to the run's end, and what was on its way ends with it.
func TestKillEgress(t *testing.T) {
	for _, c := range []struct{ answered, trimmed bool }{{true, false}, {false, false}, {false, true}} {
		inWorld(t, func(t *testing.T, w *world) {
			w.near.disk.trimmed = c.trimmed
			w.cross(7)
			pass(3 * time.Second)
			w.cut(!c.answered)
			long := w.send(true)
			w.cross(3)
			pass(1500 * time.Millisecond) // a claim is made, and answered or not
			late := w.send(true)
			w.near.kill()
			w.far.close(long.far, w.far.run, crossingv1.Cause_PEER_LOST)
			w.cut(false)
			w.near.begin()
			pass(5 * time.Second)
			w.far.close(late.far, w.far.run, crossingv1.Cause_PEER_LOST)
			pass(15 * time.Second)
			all := w.far.statements()
			if last := all[len(all)-1]; !last.Claim.GetFinal() || last.Claim.GetNext() != 13 {
				t.Errorf("the run's last claim is final: %t, next is %d, want 13", last.Claim.GetFinal(), last.Claim.GetNext())
			}
			for _, kind := range []string{"UNSEEN", "UNOPENED", "UNCLAIMED", "OPENED_OTHERWISE", "ENDED_OTHERWISE"} {
				if n := w.far.counted(kind); n > 0 {
					t.Errorf("%d numbers are %s", n, kind)
				}
			}
			if n := w.near.heldPlaces(); n > 0 {
				t.Errorf("%d places are held", n)
			}
			w.cross(2) // the next run's
			pass(3 * time.Second)
			all = w.near.statements()
			if last := all[len(all)-1]; last.Chain.Run != w.near.run || last.Answer == nil || last.Claim.GetNext() != 3 {
				t.Errorf("the next run states %v", last.Claim)
			}
		})
	}
}

// TestClosedStaysClosed: a chain that was stated to its end is not begun again by what an
// earlier process knew of it, which was less.
func TestClosedStaysClosed(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.cross(7)
		pass(3 * time.Second)
		knew := w.near.keeper.Chains()
		w.cross(3)
		w.near.kill()
		w.near.begin()
		pass(5 * time.Second)
		before := len(w.near.statements())
		w.near.keeper.Restore(knew)
		w.near.keeper.Runs(nil, nil)
		pass(5 * time.Second)
		if all := w.near.statements(); len(all) != before || !all[before-1].Claim.GetFinal() {
			t.Errorf("%d statements after %d, the last of epoch %d", len(all), before, all[len(all)-1].Claim.GetEpoch())
		}
	})
}

// TestKillIngress: an ingress gateway that was killed knows what it has answered, and
// gives an answer again that never arrived.
func TestKillIngress(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.cross(4)
		pass(3 * time.Second)
		w.cross(4)
		w.far.kill()
		pass(3 * time.Second)
		w.far.begin()
		pass(6 * time.Second)
		w.cross(4)
		pass(4 * time.Second)
		w.wantAgreed(12)
		if n := w.near.counted("alone EGRESS"); n > 0 {
			t.Errorf("%d epochs were stated alone", n)
		}
	})
}

// TestAnswerLost: an answer that was spooled and did not arrive is given again, by the
// next process too.
func TestAnswerLost(t *testing.T) {
	for _, c := range []struct{ killed, trimmed bool }{{false, false}, {true, false}, {true, true}} {
		inWorld(t, func(t *testing.T, w *world) {
			w.far.disk.trimmed = c.trimmed
			w.loseAnswers(true)
			w.cross(4)
			pass(2 * time.Second)
			if n := w.far.counted("stated INGRESS"); n != 1 {
				t.Fatalf("%d epochs were answered", n)
			}
			if c.killed {
				w.far.kill()
				w.far.begin()
			}
			w.loseAnswers(false)
			pass(8 * time.Second)
			w.wantAgreed(4)
		})
	}
}

// TestKillBoth: both gateways are killed at once, again and again.
func TestKillBoth(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		for range 5 {
			w.cross(3)
			pass(700 * time.Millisecond)
			w.near.kill()
			w.far.kill()
			w.near.begin()
			w.far.begin()
		}
		pass(15 * time.Second)
		for _, kind := range []string{"UNSEEN", "UNOPENED", "UNCLAIMED", "OPENED_OTHERWISE", "ENDED_OTHERWISE", "UNENDED"} {
			if n := w.far.counted(kind); n > 0 {
				t.Errorf("%d numbers are %s", n, kind)
			}
		}
		for _, g := range []*gateway{w.near, w.far} {
			if n := g.heldPlaces(); n > 0 {
				t.Errorf("%s holds on to %d places", g.id, n)
			}
		}
	})
}

// TestHandover: of two processes of a gateway one answers, and what the other one has
// answered is known first.
func TestHandover(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.far.keeper.Retire()
		w.cross(2)
		pass(5 * time.Second)
		if n := len(w.far.statements()); n > 0 {
			t.Fatalf("a gateway that has retired answered %d claims", n)
		}
		w.far.keeper.Runs(nil, []string{crossing.NewRun()})
		w.far.keeper.TakeOver()
		pass(8 * time.Second)
		w.wantAgreed(2)
		if w.far.counted("followed") == 0 {
			t.Error("it did not look what the other process has answered")
		}
		if n := w.near.counted("refused refused") + w.far.counted("refused diverges"); n > 0 {
			t.Errorf("%d times somebody was at fault", n)
		}
	})
}

// TestUnclaimedIsNotKept: of a chain of which nothing was claimed yet the frames say all,
// and since when.
func TestUnclaimedIsNotKept(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		began := time.Now()
		w.cross(2)
		if kept := append(w.near.keeper.Chains(), w.far.keeper.Chains()...); len(kept) > 0 {
			t.Errorf("states are kept that begin nowhere: %v", kept)
		}
		w.near.kill()
		pass(time.Hour)
		w.near.begin()
		pass(15 * time.Second)
		all := w.far.statements()
		if len(all) == 0 || !all[0].Claim.GetSince().AsTime().Equal(began) {
			t.Errorf("statements %v, want the first since %s", all, began)
		}
	})
}

// TestRunsOfOthers: the chains of a run that another process writes are its own to
// state; those of one that was removed are the newest process's.
func TestRunsOfOthers(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.cross(3)
		run := w.near.run
		w.cut(true)
		pass(1500 * time.Millisecond)
		w.near.kill()
		w.near.others = []string{run}
		w.near.begin()
		w.cut(false)
		pass(15 * time.Second)
		if n := len(w.far.statements()); n > 0 {
			t.Fatalf("%d claims were made for a process that goes on", n)
		}
		w.near.keeper.Retire()
		w.near.keeper.Runs(nil, nil)
		pass(5 * time.Second)
		if n := len(w.far.statements()); n > 0 {
			t.Fatal("a process that has retired states what was removed")
		}
		w.near.keeper.TakeOver()
		w.near.keeper.Runs(nil, nil)
		pass(5 * time.Second)
		if all := w.far.statements(); len(all) == 0 || !all[len(all)-1].Claim.GetFinal() {
			t.Errorf("the run that was removed has %d statements", len(all))
		}
	})
}

// TestTakenOnce: what came to a process that was killed does not come to the next one,
// though the egress gateway has heard of neither.
func TestTakenOnce(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c := w.send(true)
		w.far.kill()
		w.far.begin()
		if c.arrive() {
			t.Error("a number has opened in two runs")
		}
		if c = w.send(false); !c.arrive() {
			t.Error("a number that never came is not taken")
		}
	})
}
