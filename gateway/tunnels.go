package gateway

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

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
		Generation: g.inheritance.Generation(),
	}
	var err error
	if cfg.ResetKey, err = resetKey(filepath.Join(g.bootstrap.GetStateDir(), "quic.key")); err != nil {
		return err
	}
	addr, dialers := g.bootstrap.GetTunnel(), map[string]tunnel.Dialer{}
	if g.uses(tunnel.TCP) {
		dialers[tunnel.TCP] = tcptunnel.NewDialer(cfg)
		if addr != "" {
			tcp, err := g.sockets.Listen("tunnel", addr)
			if err != nil {
				return fmt.Errorf("listen for tunnels: %w", err)
			}
			g.tunnels = append(g.tunnels, tcptunnel.ListenOn(tcp, cfg))
		}
	}
	if g.uses(tunnel.QUIC) {
		dialers[tunnel.QUIC] = quictunnel.NewDialer(cfg)
		if addr != "" {
			l := newLateQUIC(addr, cfg)
			if err := l.bind(); err != nil && (g.inheritance == nil || !errors.Is(err, syscall.EADDRINUSE)) {
				return err
			}
			g.tunnels, dialers[tunnel.QUIC] = append(g.tunnels, l), l
		}
	}
	g.pool = tunnel.NewPool(tunnel.PoolConfig{
		Dialers: dialers, DialsOut: addr == "", Awaits: g.inheritance != nil, Chose: g.metrics.Chose, Moved: g.metrics.Moved, Log: g.log.Named("tunnel"),
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
		case ctx.Err() != nil || g.isRetiring():
			return nil //nolint:nilerr // told to stop
		case err != nil:
			return fmt.Errorf("accept tunnels: %w", err)
		}
		g.pool.Add(t)
	}
}

// resetKey is the key that outlives a run, so that the next one can tell peers
// that tunnels of the run before are gone. Whoever has it can end tunnels, and
// nothing else.
func resetKey(file string) (key [32]byte, err error) {
	text, err := os.ReadFile(file)
	switch {
	case err == nil && len(text) == len(key):
		return [32]byte(text), nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return key, fmt.Errorf("read the key of QUIC's stateless resets: %w", err)
	}
	rand.Read(key[:]) // it never fails
	if err := os.WriteFile(file, key[:], 0o600); err != nil {
		return key, fmt.Errorf("keep the key of QUIC's stateless resets: %w", err)
	}
	return key, nil
}
