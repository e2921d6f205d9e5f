package epochs

import (
	"testing"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// BenchmarkBooks is what books cost a crossing at both gateways, beside its spool: its
// number, both openings and both ends.
func BenchmarkBooks(b *testing.B) {
	w := newWorld(b)
	defer w.near.stop()
	defer w.far.stop()
	near, far := w.near.half(1, crossing.NewID(time.Now()), crossingv1.Side_EGRESS), w.far.half(1, "", crossingv1.Side_INGRESS)
	far.Id = near.GetId()
	nearEnd := &crossingv1.Close{Id: near.GetId(), Key: near.GetKey(), Side: near.GetSide(), Cause: crossingv1.Cause_DONE}
	farEnd := &crossingv1.Close{Id: far.GetId(), Key: far.GetKey(), Side: far.GetSide(), Cause: crossingv1.Cause_DONE}
	frame := make([]byte, 500)
	ingress := w.far.id.String()
	b.ReportAllocs()
	for b.Loop() {
		n := w.near.keeper.Next(ingress)
		near.Key.Sequence, far.Key.Sequence = n, n
		w.near.keeper.Opened(near, frame, n)
		w.far.keeper.Take(near.GetKey().GetEgress(), near.GetKey().GetRun(), n)
		w.far.keeper.Opened(far, frame, n)
		w.far.keeper.Closed(farEnd, frame, n)
		w.near.keeper.Closed(nearEnd, frame, n)
	}
}
