package pack

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/finding"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/verifytest"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// history is a mesh in which things go wrong as they do, and both gateways say so.
type history struct {
	*verifytest.Mesh

	r      *rand.Rand
	egress []*crossingv1.Half // that are open there
	far    []*crossingv1.Half
	away   []*crossingv1.Half // that have not come yet
}

func take(r *rand.Rand, all *[]*crossingv1.Half) *crossingv1.Half {
	if len(*all) == 0 {
		return nil
	}
	at := r.IntN(len(*all))
	h := (*all)[at]
	*all = slices.Delete(*all, at, at+1)
	return h
}

// step is one thing that happens.
func (h *history) step() {
	switch h.r.IntN(12) {
	case 0, 1, 2:
		h.Cross()
	case 3, 4, 5:
		out := h.Out()
		h.egress, h.away = append(h.egress, out), append(h.away, out)
	case 6, 7:
		h.come()
	case 8, 9:
		if out := take(h.r, &h.egress); out != nil {
			h.Ended(h.ending(out))
		}
	case 10:
		if in := take(h.r, &h.far); in != nil {
			h.Ended(h.ending(in))
		}
	case 11:
		h.Void()
	}
}

// come has a crossing come to the ingress gateway, or not.
func (h *history) come() {
	out := take(h.r, &h.away)
	if out == nil {
		return
	}
	n := out.GetKey().GetSequence()
	in := h.Open(verifytest.Ingress, n)
	switch h.r.IntN(5) {
	case 0:
		h.Unrecorded(n)
		return
	case 1:
		in.Transition.Owner = "nobody"
	case 2:
		in.End.Decision, in.End.Reason, in.End.Intent = crossingv1.Decision_DENY, crossingv1.Reason_POLICY_MISMATCH, ""
	}
	if h.Takes(n) {
		h.Taken(in)
		h.far = append(h.far, in)
	}
}

func (h *history) ending(of *crossingv1.Half) *crossingv1.Close {
	c := h.End(of)
	switch h.r.IntN(4) {
	case 0:
		c.Cause, c.Status = crossingv1.Cause_PEER_LOST, 0
	case 1:
		c.ResponseBytes += uint64(h.r.IntN(2))
	}
	return c
}

// live is a history of some epochs.
func live(t testing.TB, seed uint64) *history {
	h := &history{Mesh: verifytest.New(t), r: rand.New(rand.NewPCG(seed, 1))}
	for range 2 + h.r.IntN(6) {
		for range h.r.IntN(12) {
			h.step()
		}
		if h.r.IntN(5) == 0 {
			h.Alone()
		} else {
			h.Epoch(false)
		}
	}
	return h
}

// faults are what a report has beside what the gateways themselves say.
func faults(r *Report) (all []finding.Finding) {
	for _, f := range r.Findings.All {
		if f.Weight != finding.Note && f.Kind != finding.Difference {
			all = append(all, f)
		}
	}
	return all
}

// TestHistories: whatever happens between two gateways that say what happened, their pack
// has no fault but those that they tell. If a frame of the egress gateway's is taken out
// that a statement is over, it has one.
func TestHistories(t *testing.T) {
	missed, seeds := 0, uint64(150)
	if raceEnabled {
		seeds = 20
	}
	for seed := range seeds {
		h := live(t, seed)
		k := believing(t, h.Mesh)
		r := check(t, k, h.Pack(), nil)
		if f := faults(r); len(f) > 0 {
			t.Fatalf("seed %d: %d faults:\n%s", seed, len(f), found(r))
		}
		for range min(4, len(h.Frames)) {
			at := h.r.IntN(len(h.Frames))
			whole := h.Frames
			h.Frames = slices.Delete(slices.Clone(whole), at, at+1)
			found := len(faults(check(t, k, h.Pack(), nil))) > 0
			if !found && bytes.Contains(whole[at][:80], []byte(h.Near.ID)) && h.stated(whole[at]) {
				t.Errorf("seed %d: frame %d is taken out, and nothing is found", seed, at)
			}
			if !found {
				missed++
			}
			h.Frames = whole
		}
	}
	t.Logf("%d frames that no statement is over", missed)
}

// stated says that a claim is over a frame of the egress gateway.
func (h *history) stated(data []byte) bool {
	for _, s := range h.Statements {
		for n := s.Claim.GetFirst(); n < s.Claim.GetNext(); n++ {
			if bytes.Equal(h.FrameOf(verifytest.Egress, false, n), data) {
				return true
			}
		}
		for _, n := range s.Closed() {
			if bytes.Equal(h.FrameOf(verifytest.Egress, true, n), data) {
				return true
			}
		}
	}
	return false
}

// TestPutBack: an egress gateway whose spool was put back says so, and claims again what it
// finds there. The ingress gateway has stated that, and has no frame for it a second time.
func TestPutBack(t *testing.T) {
	m := verifytest.New(t)
	long := m.Out()
	in := m.Open(verifytest.Ingress, long.GetKey().GetSequence())
	m.In(in)
	m.Epoch(false)
	before, end := m.State(), m.End(long)
	m.Ended(end)
	m.Ended(m.End(in))
	m.Cross()
	m.Epoch(false)
	m.PutBack(before, end)
	st := m.Epoch(false)
	if !st.Claim.GetResumed() || !slices.Equal(st.Closed(), []uint64{1}) {
		t.Fatalf("claim %v: the test shows nothing", st.Claim)
	}
	r := check(t, believing(t, m), m.Pack(), nil)
	finds(t, r, finding.RolledBack, "epoch 3", "near-1 did not remember")
	if len(r.Findings.All) != 1 {
		t.Errorf("it finds more:\n%s", found(r))
	}
}
