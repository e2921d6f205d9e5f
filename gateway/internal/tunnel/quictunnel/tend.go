package quictunnel

import (
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/mux"
)

const (
	// pingBusy is the time between two PINGs while streams are open or one was
	// opened within busyFor: a path that is cut must be noticed soon.
	pingBusy = 250 * time.Millisecond
	busyFor  = time.Minute
	// pingIdle is the time between two PINGs else.
	pingIdle = 5 * time.Second
)

// tend pings the peer, looks after the path, and ends the tunnel when an
// identity is gone.
func (c *conn) tend() {
	if c.guard.Stop != nil {
		defer c.guard.Stop()
	}
	var retire, expire <-chan time.Time
	if !c.guard.Expires.IsZero() {
		retire = time.After(c.guard.Retires(time.Now()))
		expire = time.After(time.Until(c.guard.Expires))
	}
	timer := time.NewTimer(c.ping())
	defer timer.Stop()
	var idle <-chan struct{}
	for {
		select {
		case <-c.done:
			return
		case <-timer.C:
			timer.Reset(c.ping())
		case <-c.busy:
			timer.Reset(c.ping())
		case <-c.guard.Changed:
			if err := c.guard.Check(); err != nil {
				c.end(fmt.Errorf("peer's identity no longer holds: %w", err), mux.Identity)
			}
		case <-retire:
			idle = c.goAway()
		case <-idle:
			c.leave(fmt.Errorf("tunnel was drained: %w", net.ErrClosed))
		case <-expire:
			c.end(errors.New("an SVID of the tunnel has expired"), mux.Identity)
		}
	}
}

// ping sends a PING, looks at what the library counts, and says when to do so
// again.
func (c *conn) ping() time.Duration {
	stats := c.qc.ConnectionStats()
	now := time.Now()
	c.mu.Lock()
	silent := c.probes.silent(now, stats.PacketsReceived)
	c.probes.loss.look(now, stats)
	ping := mux.AppendPing(nil, c.probes.next(now))
	busy := len(c.streams) > 0 || now.Sub(c.lastOpened) < busyFor
	c.slow = !busy
	c.mu.Unlock()
	c.say(ping) //nolint:errcheck // what floods is answers
	next := pingIdle
	if busy {
		next = pingBusy
	}
	if c.paths != nil {
		next = min(next, c.paths.look(now, silent, stats.SmoothedRTT))
	}
	return next
}
