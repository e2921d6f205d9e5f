package exchange

import (
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	"github.com/sallyport-mesh/sallyport/gateway/policy"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// bulkRequest is the length of a request, in bytes, from which it is bulk
// whatever its service speaks.
const bulkRequest = 1 << 20

// classOf is the class of a crossing's traffic, as far as its head tells: what
// moves images, models and data sets is bulk. A crossing that turns out to be
// bulk later turns its connection so.
func classOf(s *policy.Service, head *l7.RequestHead) tunnel.Class {
	if s != nil && (s.Protocol == "oci" || s.Protocol == "s3" || s.Protocol == "hub") {
		return tunnel.Bulk
	}
	if n, known, err := head.Fields.ContentLength(); known && err == nil && n >= bulkRequest {
		return tunnel.Bulk
	}
	return tunnel.Interactive
}

// moved records the tunnel that carries the crossing, if it is another one than
// it opened in.
func (a *account) moved() {
	if info, moved := tunnel.Moved(a.stream); moved {
		a.close.Tunnel = new(carriage).of(info)
	}
}

// carriage is what carries a crossing, as its record says it, with all that this
// may hold in one piece.
type carriage struct {
	crossingv1.Tunnel
	clock                    crossingv1.Clock
	roundTrip, offset, bound durationpb.Duration
}

// of fills an empty one.
func (c *carriage) of(info tunnel.Info) *crossingv1.Tunnel {
	c.Carrier, c.Tls, c.Class = info.Carrier, info.TLS, crossingv1.Tunnel_INTERACTIVE
	if info.Class == tunnel.Bulk {
		c.Class = crossingv1.Tunnel_BULK
	}
	switch info.Choice {
	case tunnel.Usual:
		c.Choice = crossingv1.Tunnel_USUAL
	case tunnel.Lossy:
		c.Choice = crossingv1.Tunnel_LOSSY
	case tunnel.Failover:
		c.Choice = crossingv1.Tunnel_FAILOVER
	}
	if info.RoundTrip > 0 {
		c.RoundTrip = last(&c.roundTrip, info.RoundTrip)
		// What a round trip can tell of the peer's clock is known to half of it.
		c.clock.Offset, c.clock.Error = last(&c.offset, info.ClockOffset), last(&c.bound, info.RoundTrip/2)
		c.Clock = &c.clock
	}
	return &c.Tunnel
}
