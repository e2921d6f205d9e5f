package upstream

import (
	"context"
	"fmt"
	"net"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// Connect opens a byte stream to the destination. The gateway adds no TLS of its
// own: what runs inside is between the caller and the destination, who know one
// another.
func (u *Upstream) Connect(ctx context.Context, d Destination) (net.Conn, *crossingv1.Peer, error) {
	addr, err := u.pick(d)
	if err != nil {
		return nil, nil, err
	}
	dialer := &net.Dialer{Timeout: dialTimeout}
	nc, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, nil, fmt.Errorf("connect to %s: %w", addr, err)
	}
	return nc, &crossingv1.Peer{Attach: crossingv1.Attach_PLAINTEXT, Address: addr}, nil
}
