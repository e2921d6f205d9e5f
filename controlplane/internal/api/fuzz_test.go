package api

import (
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
)

// FuzzDeliver hands any bytes in as a frame of a gateway: it is rejected in
// words or it is a frame, and nothing else happens.
func FuzzDeliver(f *testing.F) {
	f.Add([]byte(nil))
	f.Add([]byte{0xff})
	f.Add([]byte("\x0a\x2cspiffe://onprem.demo/sallyport/gateway/onprem-1"))
	id := spiffeid.RequireFromString(onprem1)
	c := &crossings{}
	f.Fuzz(func(t *testing.T, data []byte) {
		ack := new(controlv1.Ack)
		accepted := c.check(id, &controlv1.Batch{Frames: [][]byte{data}}, ack)
		if len(accepted)+len(ack.GetRejected()) != 1 {
			t.Fatalf("%d accepted and %d rejected of one frame", len(accepted), len(ack.GetRejected()))
		}
		for _, a := range accepted {
			if a.frame.GetGateway() != onprem1 {
				t.Fatalf("a frame of %q was accepted from %q", a.frame.GetGateway(), onprem1)
			}
		}
	})
}
