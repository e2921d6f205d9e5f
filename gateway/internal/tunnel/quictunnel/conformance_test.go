package quictunnel

import (
	"testing"

	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel/carrier"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel/tunneltest"
)

func TestConformance(t *testing.T) {
	tunneltest.Conformance(t, func(t *testing.T, l carrier.Limits) (dialler, acceptor tunnel.Tunnel) {
		a, b, _ := virtualPair(t, l)
		return a, b
	})
}

// TestConformanceWithLoss: the same on a path that loses packets.
func TestConformanceWithLoss(t *testing.T) {
	tunneltest.Conformance(t, func(t *testing.T, l carrier.Limits) (dialler, acceptor tunnel.Tunnel) {
		a, b, v := virtualPair(t, l)
		v.wire.set(0.03, nil)
		return a, b
	})
}
