package opening

import (
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// Carriage is what carries a crossing, as its record says it, with all that this
// may hold in one piece.
type Carriage struct {
	crossingv1.Tunnel
	clock                    crossingv1.Clock
	roundTrip, offset, bound durationpb.Duration
}

// Of fills an empty one.
func (c *Carriage) Of(info tunnel.Info) *crossingv1.Tunnel {
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
		c.RoundTrip = Lasting(&c.roundTrip, info.RoundTrip)
		// What a round trip can tell of the peer's clock is known to half of it.
		c.clock.Offset, c.clock.Error = Lasting(&c.offset, info.ClockOffset), Lasting(&c.bound, info.RoundTrip/2)
		c.Clock = &c.clock
	}
	return &c.Tunnel
}

// Lasting makes a duration in the room for one.
func Lasting(room *durationpb.Duration, d time.Duration) *durationpb.Duration {
	room.Seconds, room.Nanos = int64(d/time.Second), int32(d%time.Second)
	return room
}
