package gateway

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel/carrier"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel/quictunnel"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel/tcptunnel"
)

// acceptor takes tunnels that peers dial by one carrier.
type acceptor interface {
	Accept(ctx context.Context) (tunnel.Tunnel, error)
	io.Closer
}

// tunnel makes the pool of tunnels and binds where peers dial: TCP and UDP on
// one port, for the carriers that the bootstrap file names.
func (g *Gateway) tunnel() error {
	cfg := carrier.Config{
		Source: g.source, Authorize: g.authorizePeer, Refuse: g.refuseTunnel, Log: g.log.Named("tunnel"),
	}
	addr, dialers := g.bootstrap.GetTunnel(), map[string]tunnel.Dialer{}
	if g.uses(tunnel.TCP) {
		dialers[tunnel.TCP] = tcptunnel.NewDialer(cfg)
		if addr != "" {
			l, err := tcptunnel.Listen(addr, cfg)
			if err != nil {
				return err
			}
			g.tunnels = append(g.tunnels, l)
		}
	}
	if g.uses(tunnel.QUIC) {
		dialers[tunnel.QUIC] = quictunnel.NewDialer(cfg)
		if addr != "" {
			l, err := quictunnel.Listen(addr, cfg)
			if err != nil {
				return err
			}
			g.tunnels = append(g.tunnels, l)
		}
	}
	g.pool = tunnel.NewPool(tunnel.PoolConfig{
		Dialers: dialers, DialsOut: addr == "", Chose: g.metrics.Chose, Log: g.log.Named("tunnel"),
	})
	return nil
}

// uses says whether the bootstrap file has a carrier used; it has all if it
// names none.
func (g *Gateway) uses(carrier string) bool {
	named := g.bootstrap.GetCarriers()
	return len(named) == 0 || slices.Contains(named, carrier)
}

// accept hands tunnels that peers dialled to the pool.
func (g *Gateway) accept(ctx context.Context, l acceptor) error {
	for {
		t, err := l.Accept(ctx)
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // told to stop
		case err != nil:
			return fmt.Errorf("accept tunnels: %w", err)
		}
		g.pool.Add(t)
	}
}
