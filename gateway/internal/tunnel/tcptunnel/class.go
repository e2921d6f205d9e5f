package tcptunnel

import (
	"time"

	"go.uber.org/zap"

	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
)

// A stream that carries bulkBytes within bulkTime, both ways together, makes its
// connection a bulk one: see FORMAT.md.
const (
	bulkBytes = 1 << 20
	bulkTime  = 10 * time.Second
)

// carried counts what a stream has carried. The caller holds mu.
func (c *conn) carried(s *stream, n int) {
	if s.bulk {
		return
	}
	if s.bytes += n; s.bytes < bulkBytes {
		return
	}
	now := time.Now()
	if now.Sub(s.since) > bulkTime {
		s.bytes, s.since = 0, now
		return
	}
	s.bulk = true
	if c.class == tunnel.Interactive {
		c.class = tunnel.Bulk
		c.log.Info("tunnel turns bulk", zap.Stringer("peer", c.info.Peer), zap.Bool("dialed", c.info.Dialed))
	}
}
