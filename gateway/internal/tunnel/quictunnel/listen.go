package quictunnel

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"

	"github.com/quic-go/quic-go"
	"go.uber.org/zap"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel/carrier"
	"github.com/sallyport-mesh/sallyport/gateway/mux"
)

// errBusy turns away a peer while there are as many handshakes as may be.
var errBusy = errors.New("too many handshakes")

// Listener takes tunnels that peers dial. Handshakes are done apart from one
// another, so that a peer which is slow, or none at all, holds up nobody. While
// half of the slots are taken, peers must prove their address first.
type Listener struct {
	cfg    carrier.Config
	ep     *endpoint
	quic   *quic.Listener
	ready  chan *conn
	slots  chan struct{} // one for each handshake under way
	ctx    context.Context
	cancel context.CancelFunc
	ended  sync.WaitGroup
	once   sync.Once // closes
	dead   chan struct{}
}

// Listen binds HOST:PORT and begins to take tunnels.
func Listen(addr string, cfg carrier.Config) (*Listener, error) {
	socket, err := openSocket(addr)
	if err != nil {
		return nil, fmt.Errorf("listen for tunnels: %w", err)
	}
	return listenOn(socket, cfg)
}

func listenOn(socket net.PacketConn, cfg carrier.Config) (*Listener, error) {
	l := &Listener{cfg: cfg.WithDefaults(), ready: make(chan *conn), dead: make(chan struct{})}
	l.slots = make(chan struct{}, l.cfg.Limits.Handshakes)
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.ep = newEndpoint(&quic.Transport{
		Conn:                socket,
		ConnContext:         l.admit,
		VerifySourceAddress: func(net.Addr) bool { return 2*len(l.slots) >= cap(l.slots) },
	}, l.cfg.ResetKey)
	var err error
	if l.quic, err = l.ep.tr.Listen(l.tls(), quicConfig(l.cfg.Limits, mux.Acceptor)); err != nil {
		l.ep.release()
		return nil, fmt.Errorf("listen for tunnels: %w", err)
	}
	l.ended.Go(l.acceptLoop)
	return l, nil
}

// Addr is where it listens.
func (l *Listener) Addr() net.Addr { return l.quic.Addr() }

// Dialer makes a dialler that shares the listener's socket.
func (l *Listener) Dialer() *Dialer {
	return &Dialer{cfg: l.cfg, net: systemNetwork(), ep: l.ep}
}

// Accept gives the next tunnel whose handshake is done. It fails with the
// context's error, or with net.ErrClosed after Close.
func (l *Listener) Accept(ctx context.Context) (tunnel.Tunnel, error) {
	select {
	case c := <-l.ready:
		return c, nil
	case <-l.dead:
		return nil, fmt.Errorf("accept tunnels: %w", net.ErrClosed)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Close stops listening and ends handshakes that are under way. Tunnels that
// Accept gave out go on; the last one closes the socket.
func (l *Listener) Close() error {
	l.once.Do(func() {
		l.cancel()
		l.quic.Close() //nolint:errcheck // it never fails
		l.ended.Wait()
		l.ep.release()
	})
	return nil
}

type handshakeKey struct{}

// admit takes note of a connection that begins. Its end, if it never becomes a
// tunnel, says why.
func (l *Listener) admit(ctx context.Context, info *quic.ClientInfo) (context.Context, error) {
	select {
	case l.slots <- struct{}{}:
	default:
		return nil, errBusy
	}
	h := &handshake{cfg: &l.cfg, role: mux.Acceptor, addr: address(info.RemoteAddr)}
	l.ended.Add(1)
	context.AfterFunc(ctx, func() { l.refuse(h, context.Cause(ctx)) })
	return context.WithValue(ctx, handshakeKey{}, h), nil
}

// settle gives a handshake's slot back. It says whether it ends now: it does so
// once, well or not.
func (l *Listener) settle(h *handshake) bool {
	if !h.over.CompareAndSwap(false, true) {
		return false
	}
	<-l.slots
	return true
}

// refuse ends a handshake that made no tunnel.
func (l *Listener) refuse(h *handshake, err error) {
	if !l.settle(h) {
		return
	}
	defer l.ended.Done()
	if l.ctx.Err() == nil {
		h.report(err)
		l.cfg.Log.Debug("tunnel not accepted", zap.Stringer("address", h.addr), zap.Error(err))
	}
}

// tls lets in nobody by itself: each connection has a configuration of its own.
func (l *Listener) tls() *tls.Config {
	cfg := certs.ServerTLS(l.cfg.Source, nil, ALPN)
	cfg.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		h, ok := hello.Context().Value(handshakeKey{}).(*handshake)
		if !ok {
			return nil, errors.New("connection was not admitted")
		}
		return h.tls(), nil
	}
	return cfg
}

func (l *Listener) acceptLoop() {
	defer close(l.dead)
	for {
		// Close ends it, once those are taken that had finished their handshake.
		qc, err := l.quic.Accept(context.Background())
		if err != nil {
			return
		}
		h, ok := qc.Context().Value(handshakeKey{}).(*handshake)
		if !ok {
			qc.CloseWithError(quic.ApplicationErrorCode(mux.Closed), "") //nolint:errcheck // it never fails
			continue
		}
		l.ended.Go(func() { l.handshake(h, qc) })
	}
}

func (l *Listener) handshake(h *handshake, qc *quic.Conn) {
	ctx, cancel := context.WithTimeout(l.ctx, l.cfg.Limits.HandshakeTimeout)
	defer cancel()
	c, err := h.tunnel(ctx, qc, l.ep)
	if err != nil {
		l.refuse(h, err)
		qc.CloseWithError(code(err), "") //nolint:errcheck // it never fails
		return
	}
	c.serve()
	if l.settle(h) {
		l.ended.Done()
	}
	l.cfg.Log.Info("tunnel up", zap.Stringer("peer", c.info.Peer), zap.Bool("dialed", false), zap.String("tls", c.info.TLS))
	select {
	case l.ready <- c:
	case <-l.ctx.Done():
		c.Close() //nolint:errcheck // it never fails
	}
}
