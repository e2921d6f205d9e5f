package exchange

import (
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// fakeLedger has stated what the test says.
type fakeLedger struct {
	barred bool
	reused []uint64
}

func (l *fakeLedger) Take(egress, _ string, _ uint64) bool {
	return egress == near.String() && !l.barred
}

func (l *fakeLedger) Reused(_, _ string, n uint64) { l.reused = append(l.reused, n) }

// TestBarred: what was stated as never having come does not come any more.
func TestBarred(t *testing.T) {
	w := newWorld(t, nil)
	w.ingress.cfg.Ledger = &fakeLedger{barred: true}
	if r := w.ask(t, request("POST", "/v1/chat", "hello")); r.head.Status == 200 {
		t.Error("a barred crossing was answered")
	}
	w.journal.never(t, "destination asked")
	if len(w.far.opened) > 0 || len(w.far.closed) > 0 || len(w.far.refused) > 0 {
		t.Errorf("the far gateway recorded %v, %v, %v of what it has stated", w.far.opened, w.far.closed, w.far.refused)
	}
	if got := w.near.closed[0].GetCause(); got != crossingv1.Cause_REFUSED_BY_PEER {
		t.Errorf("the near gateway says %v", got)
	}
}

// TestReused: a number that comes with another crossing than before is named.
func TestReused(t *testing.T) {
	w := newWorld(t, nil)
	ledger := &fakeLedger{}
	w.ingress.cfg.Ledger = ledger
	var h *crossingv1.Header
	w.tunnel.lied = func(said *crossingv1.Header) { h = proto.CloneOf(said) }
	w.ask(t, request("POST", "/v1/chat", "hello"))
	h.Id = "0197f2d0-0000-7000-8000-000000000001"
	reset := w.arrive(t, h, false)
	if reset == nil || reset.Code != tunnel.ProtocolError {
		t.Errorf("a number that was reused: %v, want the code %s", reset, tunnel.ProtocolError)
	}
	if !slices.Equal(ledger.reused, []uint64{h.GetSequence()}) {
		t.Errorf("the ledger was told of %v, want %d", ledger.reused, h.GetSequence())
	}
	if len(w.far.refused) != 1 || len(w.far.opened) != 1 {
		t.Errorf("refused %v, %d recorded", w.far.refused, len(w.far.opened))
	}
}
