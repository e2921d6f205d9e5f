package exchange

import (
	"slices"
	"testing"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// fakeLedger has stated what the test says.
type fakeLedger struct {
	bar    func() bool // asked for each number; nil for none
	held   map[uint64]uuid.UUID
	reused []uint64
}

func (l *fakeLedger) Barred(egress, _ string, _ uint64) bool {
	return egress == near.String() && l.bar != nil && l.bar()
}

func (l *fakeLedger) Holds(_, _ string, n uint64, instead uuid.UUID) bool {
	id, known := l.held[n]
	return known && id != instead
}

func (l *fakeLedger) Reused(_, _ string, n uint64) { l.reused = append(l.reused, n) }

// TestBarred: what was stated as never having come does not come any more, not even if
// it was stated while the crossing was recorded.
func TestBarred(t *testing.T) {
	for _, c := range []struct {
		name     string
		from     int // the how-manieth look finds it barred
		recorded int
		cause    crossingv1.Cause
	}{
		{"before", 1, 0, crossingv1.Cause_REFUSED_BY_PEER},
		{"meanwhile", 2, 1, crossingv1.Cause_REFUSED_BY_PEER},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, looks := newWorld(t, nil), 0
			w.ingress.cfg.Ledger = &fakeLedger{bar: func() bool { looks++; return looks >= c.from }}
			r := w.ask(t, request("POST", "/v1/chat", "hello"))
			if r.head.Status == 200 {
				t.Error("a barred crossing was answered")
			}
			w.journal.never(t, "destination asked")
			if len(w.far.opened) != c.recorded || len(w.far.closed) != c.recorded {
				t.Errorf("the far gateway recorded %d openings and %d ends, want %d", len(w.far.opened), len(w.far.closed), c.recorded)
			}
			for _, end := range w.far.closed {
				if end.GetCause() != crossingv1.Cause_REFUSED || end.GetReason() != crossingv1.Reason_NOT_RECORDED {
					t.Errorf("ended by %v, %v", end.GetCause(), end.GetReason())
				}
			}
			if got := w.near.closed[0].GetCause(); got != c.cause {
				t.Errorf("the near gateway says %v, want %v", got, c.cause)
			}
			if len(w.far.refused) > 0 {
				t.Errorf("refused %v, want nothing: it is stated", w.far.refused)
			}
		})
	}
}

// TestReused: a number that comes with another crossing than before is named, be it
// that the ledger alone knows.
func TestReused(t *testing.T) {
	for _, inBooks := range []bool{false, true} {
		w := newWorld(t, nil)
		ledger := &fakeLedger{held: map[uint64]uuid.UUID{}}
		w.ingress.cfg.Ledger = ledger
		var h *crossingv1.Header
		w.tunnel.lied = func(said *crossingv1.Header) { h = proto.CloneOf(said) }
		w.ask(t, request("POST", "/v1/chat", "hello"))
		if inBooks {
			id, err := crossing.ParseID(h.GetId())
			if err != nil {
				t.Fatal(err)
			}
			h.Sequence += keptIDs
			ledger.held[h.GetSequence()] = id
		}
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
}
