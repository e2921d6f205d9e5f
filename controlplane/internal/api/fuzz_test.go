package api

import (
	"context"
	"crypto/x509"
	"errors"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.uber.org/zap"

	"github.com/sallyport-mesh/sallyport/controlplane/internal/store"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// noPolicies is a store in which nothing was published.
type noPolicies struct{ Store }

func (noPolicies) Policy(context.Context) (*policyv1.SignedPolicy, uint64, error) {
	return nil, 0, store.ErrNotFound
}

// FuzzDeliver hands any bytes in as a frame of a gateway: it is rejected in
// words or it is a frame, and nothing else happens.
func FuzzDeliver(f *testing.F) {
	f.Add([]byte(nil))
	f.Add([]byte{0xff})
	f.Add([]byte("\x0a\x2cspiffe://onprem.demo/sallyport/gateway/onprem-1"))
	id := spiffeid.RequireFromString(onprem1)
	c := &crossings{
		config:   Config{Trust: func([]*x509.Certificate, time.Time) error { return errors.New("nobody is trusted") }},
		charters: newCharters(noPolicies{}, zap.NewNop()),
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		ack := new(controlv1.Ack)
		accepted, err := c.check(t.Context(), id, &controlv1.Batch{Frames: [][]byte{data}}, ack)
		if err != nil {
			t.Fatal(err)
		}
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
