package tcptunnel

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel/carrier"
	"github.com/sallyport-mesh/sallyport/gateway/mux"
)

// acceptPause is how long the listener waits after the system had no more
// descriptors or memory for a connection.
const acceptPause = 50 * time.Millisecond

// Listener takes tunnels that peers dial. Handshakes are done apart from one
// another, so that a peer which is slow, or none at all, holds up nobody.
type Listener struct {
	cfg    carrier.Config
	tcp    net.Listener
	ready  chan *conn
	slots  chan struct{} // one for each handshake under way
	ctx    context.Context
	cancel context.CancelFunc
	ended  sync.WaitGroup
	failed error // why accepting ended; readable after dead is closed
	dead   chan struct{}
}

// Listen binds HOST:PORT and begins to take tunnels.
func Listen(addr string, cfg carrier.Config) (*Listener, error) {
	tcp, err := new(net.ListenConfig).Listen(context.Background(), "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen for tunnels: %w", err)
	}
	return ListenOn(tcp, cfg), nil
}

// ListenOn begins to take tunnels on a socket that listens.
func ListenOn(tcp net.Listener, cfg carrier.Config) *Listener {
	l := &Listener{cfg: cfg.WithDefaults(), tcp: tcp, ready: make(chan *conn), dead: make(chan struct{})}
	l.slots = make(chan struct{}, l.cfg.Limits.Handshakes)
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.ended.Go(l.acceptLoop)
	return l
}

// Addr is where it listens.
func (l *Listener) Addr() net.Addr { return l.tcp.Addr() }

// Accept gives the next tunnel whose handshake is done. It fails with the
// context's error, or with net.ErrClosed after Close.
func (l *Listener) Accept(ctx context.Context) (tunnel.Tunnel, error) {
	select {
	case c := <-l.ready:
		return c, nil
	case <-l.dead:
		return nil, l.failed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Close stops listening and ends handshakes that are under way. Tunnels that
// Accept gave out go on.
func (l *Listener) Close() error {
	l.cancel()
	err := l.tcp.Close()
	l.ended.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func (l *Listener) acceptLoop() {
	defer close(l.dead)
	for {
		select {
		case l.slots <- struct{}{}:
		case <-l.ctx.Done():
			l.failed = fmt.Errorf("accept tunnels: %w", net.ErrClosed)
			return
		}
		raw, err := l.tcp.Accept()
		if err == nil {
			l.ended.Go(func() {
				defer func() { <-l.slots }()
				l.handshake(raw)
			})
			continue
		}
		<-l.slots
		if l.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
			l.failed = fmt.Errorf("accept tunnels: %w", net.ErrClosed)
			return
		}
		l.pause(err)
	}
}

// pause waits after an error of the system that passes.
func (l *Listener) pause(err error) {
	l.cfg.Log.Warn("accept", zap.Error(err))
	select {
	case <-time.After(acceptPause):
	case <-l.ctx.Done():
	}
}

func (l *Listener) handshake(raw net.Conn) {
	resendSoon(raw)
	if tcp, ok := raw.(*net.TCPConn); ok {
		tcp.SetKeepAliveConfig(keepAlive()) //nolint:errcheck // a connection that is lost fails soon anyway
	}
	h := &handshake{cfg: &l.cfg, role: mux.Acceptor}
	c, err := h.run(l.ctx, raw)
	if err != nil {
		l.cfg.Log.Debug("tunnel not accepted", zap.Stringer("address", raw.RemoteAddr()), zap.Error(err))
		return
	}
	l.cfg.Log.Info("tunnel up", zap.Stringer("peer", c.info.Peer), zap.Bool("dialed", false), zap.String("tls", c.info.TLS))
	select {
	case l.ready <- c:
	case <-l.ctx.Done():
		c.Close() //nolint:errcheck // it never fails
	}
}
