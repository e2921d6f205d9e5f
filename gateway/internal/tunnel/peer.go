package tunnel

import (
	"context"
	"fmt"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// PickPeer is Pick for one gateway and for what is no crossing. Its streams stay in
// the tunnel that they were opened in: who speaks in them must bear to say the same
// twice. No choice of a carrier is counted.
func (p *Pool) PickPeer(ctx context.Context, peer spiffeid.ID, class Class) (Tunnel, error) {
	t, err := p.find(ctx, wanted{gateway: peer, class: class})
	if err != nil {
		return nil, fmt.Errorf("reach gateway %s: %w", peer, err)
	}
	return direct{t}, nil
}

// direct is a tunnel whose streams are settled as they are opened.
type direct struct{ *picked }

// Open implements Tunnel.
func (t direct) Open(ctx context.Context, h *crossingv1.Header) (Stream, error) {
	return t.orElsewhere(ctx, func(in *picked, _ Choice) (Stream, error) { return in.Tunnel.Open(ctx, h) })
}
