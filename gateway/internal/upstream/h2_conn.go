package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/http2"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// stallTimeout is how long a destination may take nothing of a request for want
// of window: a consumer of a stream may be slow, and must not be for ever.
const stallTimeout = 10 * time.Minute

// errNotH2 says that the TLS handshake settled on no HTTP/2.
var errNotH2 = errors.New("the destination does not select HTTP/2 by ALPN")

// h2Conn is one connection.
type h2Conn struct {
	*http2.Conn
	socket *socket
	pool   *h2Pool
	site   *site
	addr   string
	peer   *crossingv1.Peer // not to be changed: every record of the connection has it

	greeted chan struct{} // closed once the destination has said its SETTINGS
	known   bool          // they have come; the reading goroutine's
	over    chan struct{} // closed when the connection has ended
	fault   error         // why, then
}

// connect makes a connection on which the destination has said how many streams
// it takes: so none is asked that it would refuse, and a destination that speaks
// another protocol counts as not reached.
func (p *h2Pool) connect(ctx context.Context, addr string, st *site) (*h2Conn, error) {
	nc, s, err := p.u.dial(ctx, addr, p.key, "h2")
	if err != nil {
		return nil, err
	}
	if secure, ok := nc.(*tls.Conn); ok && secure.ConnectionState().NegotiatedProtocol != "h2" {
		s.cut()
		return nil, errNotH2
	}
	c := &h2Conn{
		socket: s, pool: p, site: st, addr: addr, peer: peerOf(nc, addr),
		greeted: make(chan struct{}), over: make(chan struct{}),
	}
	c.Conn = http2.Client(nc, http2.Config{
		Secure: !p.key.plaintext, Changed: c.changed,
		IdleTimeout: idleTimeout, StallTimeout: stallTimeout,
	})
	go c.run()
	select {
	case <-c.greeted:
		return c, nil
	case <-c.over:
		return nil, fmt.Errorf("greet in HTTP/2: %w", c.fault)
	case <-ctx.Done():
		s.cut()
		return nil, fmt.Errorf("greet in HTTP/2: %w", ctx.Err())
	}
}

func (c *h2Conn) run() {
	c.fault = c.Run()
	close(c.over)
	c.pool.forget(c)
}

// changed is called from Run. Whoever waits looks again.
func (c *h2Conn) changed() {
	if c.known {
		c.pool.roomier(c.site, math.MaxInt)
		return
	}
	c.known = true
	close(c.greeted)
}
