package tcptunnel

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.uber.org/zap"

	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel/carrier"
	"github.com/sallyport-mesh/sallyport/gateway/mux"
)

// keepAlive finds hosts that vanished between two pings and tells the kernel's
// tables of firewalls on the way that the connection lives.
func keepAlive() net.KeepAliveConfig {
	return net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 15 * time.Second, Count: 3}
}

// Dialer dials tunnels. It implements tunnel.Dialer.
type Dialer struct{ cfg carrier.Config }

var _ tunnel.Dialer = (*Dialer)(nil)

// NewDialer makes a dialler.
func NewDialer(cfg carrier.Config) *Dialer { return &Dialer{cfg: cfg.WithDefaults()} }

// Dial connects to HOST:PORT and makes a tunnel to the peer, which must prove
// that it is that very one. It gives up when the context ends or the
// handshake's time is over.
func (d *Dialer) Dial(ctx context.Context, addr string, peer spiffeid.ID, class tunnel.Class) (tunnel.Tunnel, error) {
	if peer.IsZero() {
		return nil, fmt.Errorf("dial %s: no SPIFFE ID is expected there", addr)
	}
	ctx, cancel := context.WithTimeout(ctx, d.cfg.Limits.HandshakeTimeout)
	defer cancel()
	dialer := net.Dialer{KeepAliveConfig: keepAlive()} // TCP_NODELAY is Go's default
	raw, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", peer, err)
	}
	resendSoon(raw)
	h := &handshake{cfg: &d.cfg, role: mux.Dialler, want: peer, class: class}
	c, err := h.run(ctx, raw)
	if err != nil {
		return nil, fmt.Errorf("dial %s at %s: %w", peer, addr, err)
	}
	d.cfg.Log.Info("tunnel up", zap.Stringer("peer", peer), zap.Bool("dialed", true), zap.String("tls", c.info.TLS))
	return c, nil
}
