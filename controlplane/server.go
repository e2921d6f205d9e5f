package controlplane

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	"github.com/sallyport-mesh/sallyport/controlplane/internal/api"
)

const (
	// maxMessage bounds one message either way, in bytes.
	maxMessage = 16 << 20
	// maxStreams bounds the streams on one connection: a gateway has two.
	maxStreams = 256
	// handshakeTimeout bounds what an unknown peer can hold up.
	handshakeTimeout = 10 * time.Second
	// pingEvery and pingTimeout find peers that vanished; pingMin is how often a
	// client may ping us, half of what gateways do.
	pingEvery   = 20 * time.Second
	pingTimeout = 10 * time.Second
	pingMin     = 5 * time.Second
	// drainTimeout is how long Run lets calls end by themselves.
	drainTimeout = 5 * time.Second
)

// newServer makes a gRPC server whose every call goes through the API's access
// check.
func newServer(a *api.Server, options ...grpc.ServerOption) *grpc.Server {
	return grpc.NewServer(append([]grpc.ServerOption{
		grpc.UnaryInterceptor(a.Unary),
		grpc.StreamInterceptor(a.Stream),
		grpc.MaxRecvMsgSize(maxMessage),
		grpc.MaxSendMsgSize(maxMessage),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.ConnectionTimeout(handshakeTimeout),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: pingEvery, Timeout: pingTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: pingMin, PermitWithoutStream: true}),
	}, options...)...)
}

// serve serves until ctx ends. Then it calls stop, which ends the streams, and
// lets the other calls end for a bounded time.
func serve(ctx context.Context, server *grpc.Server, l net.Listener, stop func()) error {
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	stop()
	hard := time.AfterFunc(drainTimeout, server.Stop)
	defer hard.Stop()
	server.GracefulStop()
	if err := <-done; !errors.Is(err, grpc.ErrServerStopped) { // ctx ended before it served
		return err
	}
	return nil
}

// expiring are TLS credentials whose connections end when the SVID that the
// peer showed expires: nothing else asks a live connection again who it is.
type expiring struct {
	credentials.TransportCredentials

	refuse func(raw net.Conn, err error) // is told of handshakes that fail
}

func newExpiring(c *tls.Config, refuse func(net.Conn, error)) credentials.TransportCredentials {
	return expiring{credentials.NewTLS(c), refuse}
}

// ServerHandshake does the handshake and starts the clock.
func (e expiring) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := e.TransportCredentials.ServerHandshake(raw)
	if err != nil {
		e.refuse(raw, err)
		return nil, nil, err
	}
	bounded := &boundedConn{Conn: conn}
	if t, ok := info.(credentials.TLSInfo); ok {
		bounded.until(expiry(t.State))
	}
	return bounded, info, nil
}

// Clone keeps the bound on copies that grpc makes.
func (e expiring) Clone() credentials.TransportCredentials {
	return expiring{e.TransportCredentials.Clone(), e.refuse}
}

// expiry is when the first certificate of the peer's chain expires. Every
// connection has a chain: ServerTLS lets no other in.
func expiry(cs tls.ConnectionState) time.Time {
	var first time.Time
	for _, c := range cs.PeerCertificates {
		if first.IsZero() || c.NotAfter.Before(first) {
			first = c.NotAfter
		}
	}
	return first
}

// boundedConn is a connection that closes itself at a given time.
type boundedConn struct {
	net.Conn

	mu    sync.Mutex // guards timer
	timer *time.Timer
}

func (b *boundedConn) until(end time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.timer = time.AfterFunc(time.Until(end), func() { _ = b.Conn.Close() }) // its users see it closed
}

// Close stops the clock and closes the connection.
func (b *boundedConn) Close() error {
	b.mu.Lock()
	if b.timer != nil {
		b.timer.Stop()
	}
	b.mu.Unlock()
	return b.Conn.Close()
}
