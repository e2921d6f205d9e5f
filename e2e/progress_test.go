package e2e

import (
	"testing"
	"time"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/localmesh"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// TestProgressOfStreams: while an event stream, a byte stream and a gRPC stream go on,
// both gateways' halves of each record say how far it has come, and further later.
func TestProgressOfStreams(t *testing.T) {
	t.Parallel()
	m := streamingMesh(t, func(cfg *localmesh.Config) { cfg.ProgressEvery = 200 * time.Millisecond })
	for _, s := range openStreams(t, m) {
		further := func(than *crossingv1.Record) *crossingv1.Record {
			return m.Follow(t, &controlv1.ListCrossingsRequest{Id: s.crossing}, func(r *crossingv1.Record) bool {
				return r.GetEgress().GetResponseBytes() > than.GetEgress().GetResponseBytes() &&
					r.GetIngress().GetResponseBytes() > than.GetIngress().GetResponseBytes()
			})
		}
		r := further(nil)
		if s.name == "event stream" { // the others say no more by themselves
			r = further(r)
		}
		if r.GetState() != crossingv1.Record_OPEN {
			t.Errorf("%s: %s", s.name, r.GetState())
		}
	}
}
