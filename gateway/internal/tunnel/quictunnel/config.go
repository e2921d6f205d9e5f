package quictunnel

import (
	"time"

	"github.com/quic-go/quic-go"

	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel/carrier"
	"github.com/sallyport-mesh/sallyport/gateway/mux"
)

const (
	// firstStreamWindow and firstTunnelWindow are what a peer may send before it
	// gets credit. They grow to Limits.LargestWindow and Limits.TunnelWindow as
	// readers keep up.
	firstStreamWindow = 512 << 10
	firstTunnelWindow = 1 << 20
	// idleTimeout is how long the path may be cut before the tunnel is lost.
	idleTimeout = 30 * time.Second
	// keepAlive keeps the tables of firewalls on the way when PINGs cannot leave,
	// because streams that nobody reads have used up the tunnel's window.
	keepAlive = 10 * time.Second
)

// quicConfig is the QUIC library's configuration. Segmentation offload and path
// MTU discovery are on by default; so is the wish for UDP buffers of 7 MB, and
// one warning on the standard log if the kernel does not grant them.
func quicConfig(l carrier.Limits, role mux.Role) *quic.Config {
	streams := int64(l.Streams)
	if role == mux.Acceptor {
		streams++ // the control stream
	}
	most := uint64(l.TunnelWindow)
	return &quic.Config{
		Versions:                       []quic.Version{quic.Version1},
		HandshakeIdleTimeout:           l.HandshakeTimeout / 2, // the library takes twice that in all
		MaxIdleTimeout:                 idleTimeout,
		KeepAlivePeriod:                keepAlive,
		InitialStreamReceiveWindow:     min(firstStreamWindow, most),
		MaxStreamReceiveWindow:         min(uint64(l.LargestWindow), most),
		InitialConnectionReceiveWindow: min(firstTunnelWindow, most),
		MaxConnectionReceiveWindow:     most,
		MaxIncomingStreams:             streams,
		MaxIncomingUniStreams:          -1,
		Allow0RTT:                      false, // what is replayed would be a crossing

		EnableStreamResetPartialDelivery: true, // what was written before a reset arrives
	}
}
