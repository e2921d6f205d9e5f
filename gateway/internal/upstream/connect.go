package upstream

import (
	"context"
	"net"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// Connect opens a byte stream to the destination. The gateway adds no TLS of its
// own: what runs inside is between the caller and the destination, who know one
// another.
func (u *Upstream) Connect(ctx context.Context, d Destination) (net.Conn, *crossingv1.Peer, error) {
	var nc net.Conn
	peer := &crossingv1.Peer{Attach: crossingv1.Attach_PLAINTEXT}
	err := u.try(ctx, d, func(ctx context.Context, addr string) (err error) {
		peer.Address = addr
		nc, err = u.connecting(ctx, addr, nil)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	return nc, peer, nil
}
