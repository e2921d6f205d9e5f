package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel/carrier"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel/quictunnel"
)

// bindPause is the time between two tries to bind a UDP port.
const bindPause = 250 * time.Millisecond

// lateQUIC listens as soon as the UDP port is free, and dials from another one
// until then: packets of one port cannot be told apart for two processes, so that
// the one before this keeps it until its QUIC tunnels have ended.
type lateQUIC struct {
	addr string
	cfg  carrier.Config

	mu       sync.Mutex // guards what follows
	closed   bool
	listener *quictunnel.Listener // nil until the port is this process's
	dialer   *quictunnel.Dialer
}

var (
	_ acceptor      = (*lateQUIC)(nil)
	_ tunnel.Dialer = (*lateQUIC)(nil)
)

func newLateQUIC(addr string, cfg carrier.Config) *lateQUIC {
	return &lateQUIC{addr: addr, cfg: cfg, dialer: quictunnel.NewDialer(cfg)}
}

// bind binds the port, once.
func (q *lateQUIC) bind() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return fmt.Errorf("accept tunnels: %w", net.ErrClosed)
	}
	if q.listener != nil {
		return nil
	}
	l, err := quictunnel.Listen(q.addr, q.cfg)
	if err != nil {
		return err
	}
	q.listener, q.dialer = l, l.Dialer()
	return nil
}

// Accept implements acceptor.
func (q *lateQUIC) Accept(ctx context.Context) (tunnel.Tunnel, error) {
	for {
		err := q.bind()
		if err == nil {
			return q.listener.Accept(ctx) // it does not change any more
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			return nil, err
		}
		select {
		case <-time.After(bindPause):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Dial implements tunnel.Dialer.
func (q *lateQUIC) Dial(ctx context.Context, addr string, peer spiffeid.ID, class tunnel.Class) (tunnel.Tunnel, error) {
	q.mu.Lock()
	d := q.dialer
	q.mu.Unlock()
	return d.Dial(ctx, addr, peer, class)
}

// Close implements acceptor.
func (q *lateQUIC) Close() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	if q.listener == nil {
		return nil
	}
	return q.listener.Close()
}
