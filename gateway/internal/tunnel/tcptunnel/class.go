package tcptunnel

import (
	"time"

	"go.uber.org/zap"

	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel/carrier"
)

// carried counts what a stream has carried, both ways together: see FORMAT.md.
// The caller holds mu.
func (c *conn) carried(s *stream, n int) {
	if s.bulk {
		return
	}
	if s.bytes += n; s.bytes < carrier.TurnsBulkBytes {
		return
	}
	now := time.Since(c.info.Since)
	if now-s.since > carrier.TurnsBulkWithin {
		s.bytes, s.since = 0, now
		return
	}
	s.bulk = true
	if c.class == tunnel.Interactive {
		c.class = tunnel.Bulk
		c.log.Info("tunnel turns bulk", zap.Stringer("peer", c.info.Peer), zap.Bool("dialed", c.info.Dialed))
	}
}
