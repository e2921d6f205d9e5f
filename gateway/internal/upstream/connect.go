package upstream

import (
	"context"
	"io"
	"net"
	"net/http"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// connect opens a byte stream. The gateway adds no TLS of its own: what runs
// inside is between the caller and the destination, who know one another.
func (u *Upstream) connect(ctx context.Context, addr string, r *Request) (*Response, error) {
	raw, err := u.connecting(ctx, addr, nil)
	if err != nil {
		return nil, err
	}
	b := &byteStream{TCPConn: raw.(*net.TCPConn)}
	b.stop = context.AfterFunc(ctx, func() {
		b.TCPConn.Close() //nolint:errcheck // whoever uses it then is told
	})
	go b.send(r.Body)
	return &Response{
		Head:     l7.ResponseHead{Status: http.StatusOK},
		Body:     b,
		Trailers: func() l7.Fields { return nil },
		Peer:     &crossingv1.Peer{Attach: crossingv1.Attach_PLAINTEXT, Address: addr},
	}, nil
}

// byteStream is the destination's side of a byte stream. Each direction ends
// by itself: a half-closed stream goes on.
type byteStream struct {
	*net.TCPConn
	stop func() bool // lets go of the request's context
}

// Close ends both directions.
func (b *byteStream) Close() error {
	b.stop()
	return b.TCPConn.Close()
}

func (b *byteStream) send(body io.ReadCloser) {
	defer body.Close()
	if _, err := io.Copy(b.TCPConn, body); err != nil {
		b.TCPConn.Close() //nolint:errcheck // the caller is gone, or the destination is
		return
	}
	b.CloseWrite()
}
