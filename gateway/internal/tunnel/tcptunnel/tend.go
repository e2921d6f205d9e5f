package tcptunnel

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/mux"
)

// missed is how many pings may go unanswered, with nothing else heard either,
// before the peer counts as gone.
const missed = 2

// probes is what pings have told.
type probes struct {
	sent      mux.Probe
	waiting   bool // the last one is not answered yet
	heard     bool // any frame came since the last one
	missed    int
	roundTrip time.Duration
	offset    time.Duration // of the peer's clock
}

// answered takes a PONG. One that nobody asked for is ignored.
func (p *probes) answered(a mux.Probe, now time.Time) {
	if !p.waiting || a.Opaque != p.sent.Opaque {
		return
	}
	p.waiting = false
	p.roundTrip = now.Sub(p.sent.Clock)
	p.offset = a.Clock.Sub(p.sent.Clock.Add(p.roundTrip / 2))
}

// tend pings the peer and ends the tunnel when it or an identity is gone.
func (c *conn) tend() {
	if c.guard.Stop != nil {
		defer c.guard.Stop()
	}
	ticker := time.NewTicker(c.limits.PingInterval)
	defer ticker.Stop()
	var retire, expire <-chan time.Time
	if !c.guard.Expires.IsZero() {
		retire = time.After(c.guard.Retires(time.Now()))
		expire = time.After(time.Until(c.guard.Expires))
	}
	c.ping()
	var idle <-chan struct{}
	for {
		select {
		case <-c.done:
			return
		case <-ticker.C:
			c.ping()
		case <-c.guard.Changed:
			if err := c.guard.Check(); err != nil {
				c.end(fmt.Errorf("peer's identity no longer holds: %w", err), mux.Identity)
			}
		case <-retire:
			idle = c.goAway()
		case <-idle:
			c.end(fmt.Errorf("tunnel was drained: %w", net.ErrClosed), mux.Closed)
		case <-expire:
			c.end(errors.New("an SVID of the tunnel has expired"), mux.Identity)
		}
	}
}

// ping sends a PING, or ends the tunnel if too many went unanswered.
func (c *conn) ping() {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := &c.probes
	if p.waiting && !p.heard {
		p.missed++
	} else {
		p.missed = 0
	}
	if p.missed >= missed {
		c.endLocked(fmt.Errorf("peer has not answered %d pings", missed), mux.Silent)
		return
	}
	p.sent = mux.Probe{Opaque: rand.Uint64(), Clock: time.Now()}
	p.waiting, p.heard = true, false
	c.out.pending = mux.AppendPing(c.out.pending, p.sent)
	c.out.wake.Signal()
}
