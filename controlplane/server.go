package controlplane

import (
	"context"
	"errors"
	"net"
	"time"

	"google.golang.org/grpc"
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
