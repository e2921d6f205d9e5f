package quictunnel

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"

	"github.com/quic-go/quic-go"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.uber.org/zap"

	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel/carrier"
	"github.com/sallyport-mesh/sallyport/gateway/mux"
)

// Dialer dials tunnels. They share one UDP socket until one of them has to
// change its path. It implements tunnel.Dialer.
type Dialer struct {
	cfg carrier.Config
	net network

	mu sync.Mutex // guards ep
	ep *endpoint  // the last one; it closes with its last tunnel
}

var _ tunnel.Dialer = (*Dialer)(nil)

// NewDialer makes a dialler.
func NewDialer(cfg carrier.Config) *Dialer {
	return &Dialer{cfg: cfg.WithDefaults(), net: systemNetwork()}
}

// Dial makes a tunnel to the peer at HOST:PORT, which must prove that it is that
// very one. Of several addresses it takes the first that answers, in order. It
// gives up when the context ends or the handshake's time is over.
func (d *Dialer) Dial(ctx context.Context, addr string, peer spiffeid.ID, class tunnel.Class) (tunnel.Tunnel, error) {
	if peer.IsZero() {
		return nil, fmt.Errorf("dial %s: no SPIFFE ID is expected there", addr)
	}
	ctx, cancel := context.WithTimeout(ctx, d.cfg.Limits.HandshakeTimeout)
	defer cancel()
	to, err := resolve(ctx, addr)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", peer, err)
	}
	var failed []error
	for _, a := range to {
		h := &handshake{cfg: &d.cfg, role: mux.Dialler, want: peer, class: class, addr: a}
		c, err := d.dial(ctx, h)
		if err == nil {
			d.cfg.Log.Info("tunnel up", zap.Stringer("peer", peer), zap.Bool("dialed", true), zap.String("tls", c.info.TLS))
			return c, nil
		}
		h.report(err)
		failed = append(failed, fmt.Errorf("dial %s at %s: %w", peer, a, err))
	}
	return nil, errors.Join(failed...)
}

func (d *Dialer) dial(ctx context.Context, h *handshake) (*conn, error) {
	to := net.UDPAddrFromAddrPort(h.addr)
	local, err := d.net.route(to)
	if err != nil {
		return nil, err
	}
	ep, err := d.endpoint()
	if err != nil {
		return nil, err
	}
	defer ep.release()
	qc, err := ep.tr.Dial(ctx, to, h.tls(), quicConfig(d.cfg.Limits, mux.Dialler))
	if err != nil {
		return nil, fmt.Errorf("QUIC handshake: %w", or(h.refused, err))
	}
	c, err := h.tunnel(ctx, qc, ep)
	if err != nil {
		qc.CloseWithError(code(err), "") //nolint:errcheck // it never fails
		return nil, err
	}
	c.paths = &paths{c: c, net: d.net, peer: to, local: local}
	c.serve()
	return c, nil
}

// or prefers what this end's own verification said to what became of it.
func or(first, second error) error {
	if first != nil {
		return first
	}
	return second
}

// endpoint is the socket to dial from. The caller holds it.
func (d *Dialer) endpoint() (*endpoint, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ep != nil && d.ep.hold() == nil {
		return d.ep, nil
	}
	conn, err := d.net.open()
	if err != nil {
		return nil, err
	}
	d.ep = newEndpoint(&quic.Transport{Conn: conn}, d.cfg.ResetKey)
	return d.ep, nil
}

// resolve gives the addresses of HOST:PORT.
func resolve(ctx context.Context, addr string) ([]netip.AddrPort, error) {
	if ap, err := netip.ParseAddrPort(addr); err == nil {
		return []netip.AddrPort{ap}, nil
	}
	host, service, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	port, err := net.DefaultResolver.LookupPort(ctx, "udp", service)
	if err != nil {
		return nil, err
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	all := make([]netip.AddrPort, len(ips))
	for i, ip := range ips {
		all[i] = netip.AddrPortFrom(ip.Unmap(), uint16(port))
	}
	return all, nil
}
