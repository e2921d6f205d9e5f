package tcptunnel

import (
	"testing"

	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel/carrier"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel/tunneltest"
)

func TestConformance(t *testing.T) {
	tunneltest.Conformance(t, func(t *testing.T, l carrier.Limits) (dialler, acceptor tunnel.Tunnel) {
		return pair(t, l)
	})
}
