package statements

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/statement"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// honest are two gateways as they are, with what they have written and not delivered.
type honest struct {
	*duo

	rt         *rapid.T
	egress     *statement.Egress
	ingress    *statement.Ingress
	signers    [sides]*statement.Signer
	keys       [sides]*statement.Key
	spools     [sides][]*crossingv1.Frame
	frames     [sides][][]byte // by place
	open, here []uint64        // at egress, at ingress
	opened     uint64
	differs    map[uint64]string // what is to be named
}

func newHonest(t *testing.T, rt *rapid.T, gates *duo) *honest {
	t.Helper()
	d := *gates // making SVIDs takes longer than all the rest
	d.book = NewBook()
	d.book.Serve(noon)
	h := &honest{duo: &d, rt: rt, differs: map[uint64]string{}}
	chain := statement.Chain{Egress: h.e.id, Ingress: h.i.id, Run: h.e.run}
	h.egress, h.ingress = statement.NewEgress(chain, h.now), statement.NewIngress(chain)
	for s, g := range [sides]*gate{h.e, h.i} {
		h.signers[s] = statement.NewSigner()
		a, err := h.signers[s].Announce(g.id, g.run, g.chain, g.svid, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if h.keys[s], err = statement.VerifyAnnouncement(a, g.id, h.trust); err != nil {
			t.Fatal(err)
		}
		h.spools[s] = append(h.spools[s], g.frame(&crossingv1.Frame{Announcement: a}))
	}
	return h
}

// write spools a frame of a side's, and gives its bytes and its place.
func (h *honest) write(s side, f *crossingv1.Frame) ([]byte, uint64) {
	data, err := crossing.MarshalFrame(f)
	if err != nil {
		h.t.Fatal(err)
	}
	h.spools[s] = append(h.spools[s], f)
	h.frames[s] = append(h.frames[s], data)
	return data, uint64(len(h.frames[s]) - 1)
}

func (h *honest) read(s side) statement.Frames {
	return func(at uint64) ([]byte, error) { return h.frames[s][at], nil }
}

// begin opens one crossing, whatever comes of it.
func (h *honest) begin() {
	n := h.egress.Next()
	h.opened = n
	fate := rapid.SampledFrom([]string{"well", "well", "well", "void", "lost", "unrecorded", "altered", "unopened"}).Draw(h.rt, "fate")
	switch fate {
	case "void":
		h.egress.Void(n)
		return
	case "unopened": // the egress gateway's disk lost its opening
		h.differs[n] = "UNOPENED"
		h.egress.Void(n)
		h.arrive(h.opening(h.i, n))
		return
	}
	f := h.opening(h.e, n)
	data, at := h.write(egress, f)
	h.egress.Opened(f.GetOpen(), data, at)
	h.open = append(h.open, n)
	switch fate {
	case "lost":
		h.differs[n] = "UNSEEN"
		return
	case "unrecorded":
		h.differs[n] = "UNRECORDED"
		if h.ingress.Take(n) {
			h.ingress.Unrecorded(n)
		}
		return
	}
	f = h.opening(h.i, n)
	if fate == "altered" {
		h.differs[n] = "OPENED_OTHERWISE"
		f.Open.Source = "spiffe://onprem.demo/ai/somebody-else"
	}
	h.arrive(f)
}

// arrive opens a crossing at the ingress gateway.
func (h *honest) arrive(f *crossingv1.Frame) {
	n := f.GetOpen().GetKey().GetSequence()
	if !h.ingress.Take(n) {
		h.t.Fatalf("%d is not taken", n)
	}
	data, at := h.write(ingress, f)
	h.ingress.Opened(f.GetOpen(), data, at)
	h.here = append(h.here, n)
}

// end ends one crossing at a side.
func (h *honest) end(s side) {
	open := &h.open
	if s == ingress {
		open = &h.here
	}
	if len(*open) == 0 {
		return
	}
	at := rapid.IntRange(0, len(*open)-1).Draw(h.rt, "which")
	n := (*open)[at]
	*open = slices.Delete(*open, at, at+1)
	g := [sides]*gate{h.e, h.i}[s]
	f := h.ending(g, n)
	data, place := h.write(s, f)
	if s == egress {
		h.egress.Closed(f.GetClose(), data, place)
	} else {
		h.ingress.Closed(f.GetClose(), data, place)
	}
}

// state makes a statement of what there is, if there is something.
func (h *honest) state(final bool) {
	h.now = h.now.Add(2 * time.Second)
	claim := h.egress.Cut(statement.Facts{Now: h.now, Final: final}, h.signers[egress])
	if claim == nil {
		return
	}
	h.spools[egress] = append(h.spools[egress], stated(h.e, claim))
	review, err := h.ingress.Review(claim, h.keys[egress], statement.Means{Run: h.i.run, Signer: h.signers[ingress], Frames: h.read(ingress)}, h.now)
	if err != nil {
		h.t.Fatal(err)
	}
	whole := h.finish(review)
	h.spools[ingress] = append(h.spools[ingress], stated(h.i, whole))
	review.Commit()
	checked, err := h.egress.Check(whole, h.keys[ingress])
	if err != nil {
		h.t.Fatal(err)
	}
	h.spools[egress] = append(h.spools[egress], stated(h.e, whole))
	h.egress.Answered(checked)
}

// alone makes a statement that the other gateway never hears of.
func (h *honest) alone() {
	h.now = h.now.Add(2 * time.Second)
	if claim := h.egress.Cut(statement.Facts{Now: h.now}, h.signers[egress]); claim != nil {
		h.spools[egress] = append(h.spools[egress], stated(h.e, claim))
		h.egress.Alone()
	}
}

// finish steps through a review, as fast as time passes.
func (h *honest) finish(review *statement.Review) *crossingv1.Statement {
	for range 1000 {
		step, err := review.Step(h.now)
		switch {
		case err != nil:
			h.t.Fatal(err)
		case step.Answer != nil:
			return step.Answer
		case step.Ask != nil:
			told, err := h.egress.Tell(step.Ask.GetTurn(), step.Ask, h.read(egress))
			if err != nil {
				h.t.Fatal(err)
			}
			if err := review.Told(told); err != nil {
				h.t.Fatal(err)
			}
		default:
			h.now = step.Wait
		}
	}
	h.t.Fatal("the review does not end")
	return nil
}

// flush delivers some of what a side has written.
func (h *honest) flush(s side, all bool) {
	n := len(h.spools[s])
	if !all {
		n = rapid.IntRange(0, n).Draw(h.rt, "frames")
	}
	h.deliver(h.spools[s][:n]...)
	h.spools[s] = h.spools[s][n:]
}

// run does so many of some steps, lets everything end, and delivers all.
func (h *honest) run(steps ...string) {
	for range rapid.IntRange(1, 60).Draw(h.rt, "steps") {
		switch rapid.SampledFrom(steps).Draw(h.rt, "step") {
		case "begin":
			h.begin()
		case "end":
			h.end(egress)
		case "end here":
			h.end(ingress)
		case "state":
			h.state(false)
		case "alone":
			h.alone()
		case "deliver":
			h.flush(side(rapid.IntRange(0, 1).Draw(h.rt, "who")), false)
		}
	}
	for len(h.open)+len(h.here) > 0 {
		h.end(egress)
		h.end(ingress)
	}
	for range 4 { // what was put off is stated again
		h.state(true)
	}
	h.flush(egress, true)
	h.flush(ingress, true)
	h.now = h.now.Add(2 * Late)
}

// differences are those that are found. Anything else that is found is an error.
func (h *honest) differences() map[uint64]string {
	all := map[uint64]string{}
	for _, f := range h.book.Findings(h.now) {
		if f.GetKind() != controlv1.Finding_DIFFERENCE {
			h.rt.Errorf("found %v", f)
		}
		all[f.GetNumber()] += f.GetDifference().String()
	}
	return all
}

// What honest gateways state is what they deliver, whatever happens to crossings and
// whichever delivers first; and what they state to differ is found, and no more.
func TestHonestGateways(t *testing.T) {
	gates := newDuo(t)
	rapid.Check(t, func(rt *rapid.T) {
		h := newHonest(t, rt, gates)
		h.run("begin", "begin", "end", "end here", "state", "deliver")
		if diff := cmp.Diff(h.differs, h.differences()); diff != "" {
			rt.Errorf("differences (-want +got):\n%s", diff)
		}
	})
}

// Neither is anything invented where one gateway has to state some epochs alone.
func TestHonestGatewaysThatMissClaims(t *testing.T) {
	gates := newDuo(t)
	rapid.Check(t, func(rt *rapid.T) {
		h := newHonest(t, rt, gates)
		h.run("begin", "begin", "end", "end here", "state", "alone", "deliver")
		h.differences()
	})
}
