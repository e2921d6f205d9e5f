package upstream

import (
	"context"
	"net"
	"time"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// Connect opens a byte stream to the destination. The gateway adds no TLS of its
// own: what runs inside is between the caller and the destination, who know one
// another.
func (u *Upstream) Connect(ctx context.Context, d Destination) (net.Conn, *crossingv1.Peer, error) {
	c := &connecting{peer: &crossingv1.Peer{Attach: crossingv1.Attach_PLAINTEXT}}
	if err := u.try(ctx, d, c); err != nil {
		return nil, nil, err
	}
	return c.nc, c.peer, nil
}

// connecting is a byte stream that is being opened.
type connecting struct {
	nc   net.Conn
	peer *crossingv1.Peer
}

func (c *connecting) try(ctx context.Context, addr string, share time.Duration) (err error) {
	ctx, cancel := context.WithTimeout(ctx, share)
	defer cancel()
	c.peer.Address = addr
	if c.nc, err = new(net.Dialer).DialContext(ctx, "tcp", addr); err != nil {
		return &unreached{addr, err}
	}
	return nil
}
