package gateway

import (
	"context"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/sallyport-mesh/sallyport/gateway/internal/epochs"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// lastWords is how long a gateway that stops, or parts from a peer, waits for the
// peer's word on what crossed. What is not stated then is stated by the next process.
const lastWords = 2 * time.Second

// peerStreams opens streams in which two gateways talk about what crossed.
type peerStreams struct{ g *Gateway }

var _ epochs.Peers = peerStreams{}

// Open implements epochs.Peers.
func (p peerStreams) Open(ctx context.Context, peer spiffeid.ID) (tunnel.Stream, error) {
	t, err := p.g.pool.PickPeer(ctx, peer, tunnel.Interactive)
	if err != nil {
		return nil, err
	}
	return t.Open(ctx, &crossingv1.Header{Kind: crossingv1.Header_STATEMENTS, Run: p.g.recorder.RunID()})
}

// serveStream serves a stream that a peer opened: a crossing, or talk about those that
// there were.
func (g *Gateway) serveStream(ctx context.Context, t tunnel.Tunnel, s tunnel.Stream, over func()) {
	if s.Header().GetKind() != crossingv1.Header_STATEMENTS {
		g.ingress.ServeStream(ctx, t, s, over)
		return
	}
	defer over()
	g.epochs.Serve(ctx, t.Info(), s)
}

// finish returns when the gateway is done with crossings that go out and has had its
// last word on them: its tunnels can close. Peers open no more streams here then.
func (g *Gateway) finish(carrying context.Context, attached <-chan struct{}) {
	<-carrying.Done()
	g.pool.Retire()
	<-attached
	g.sayLast()
}

// sayLast makes the final claims of this run.
func (g *Gateway) sayLast() {
	ctx, cancel := context.WithTimeout(context.Background(), lastWords)
	defer cancel()
	g.epochs.Finish(ctx)
}

// part states what there is to state with peers that are none any more, as long as
// there are tunnels to them and the policy does not change again.
func (g *Gateway) part(ctx context.Context, gone []spiffeid.ID, changed <-chan struct{}) {
	ctx, cancel := context.WithTimeout(ctx, lastWords)
	defer cancel()
	go func() {
		select {
		case <-changed:
			cancel()
		case <-ctx.Done():
		}
	}()
	g.epochs.Part(ctx, gone)
}
