package tcptunnel

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/mux"
)

const (
	// giveUp is how long a peer may leave a PING unanswered, with nothing else
	// heard, before it counts as gone.
	giveUp = 30 * time.Second
	// pingBusy is the time between two PINGs while streams are open: new ones
	// must find another path within a second of this one's loss.
	pingBusy = 250 * time.Millisecond
	// busyFor is how long after a stream was opened the next one is expected.
	busyFor = 60 * time.Second
	// lossInterval is the time between two looks at what the kernel counts.
	lossInterval = time.Second
)

// probes is what pings have told.
type probes struct {
	sent      mux.Probe
	waiting   bool      // the last one is not answered yet
	heard     bool      // any frame came since the last look
	last      time.Time // when something was heard, to a look
	roundTrip time.Duration
	offset    time.Duration // of the peer's clock
}

// silent is how long the peer owes an answer, with nothing else heard.
func (p *probes) silent(now time.Time) time.Duration {
	switch {
	case !p.waiting || p.heard:
		return 0
	case p.last.After(p.sent.Clock):
		return now.Sub(p.last)
	}
	return now.Sub(p.sent.Clock)
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
	timer := time.NewTimer(c.look())
	defer timer.Stop()
	var retire, expire <-chan time.Time
	if !c.guard.Expires.IsZero() {
		retire = time.After(c.guard.Retires(time.Now()))
		expire = time.After(time.Until(c.guard.Expires))
	}
	var idle <-chan struct{}
	for {
		select {
		case <-c.done:
			return
		case <-timer.C:
			timer.Reset(c.look())
		case <-c.haste:
			timer.Reset(c.look())
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

// look pings the peer unless it still owes an answer, ends the tunnel if it has
// owed it for too long, and says when to look again.
func (c *conn) look() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	now, p := time.Now(), &c.probes
	if p.heard {
		p.last, p.heard = now, false
	}
	if c.path.due(now) {
		c.loss = c.path.loss(c.loss)
	}
	if p.silent(now) >= giveUp {
		c.endLocked(fmt.Errorf("peer has not answered a ping for %s", giveUp), mux.Silent)
		return giveUp
	}
	if !p.waiting {
		p.sent, p.waiting = mux.Probe{Opaque: rand.Uint64(), Clock: now}, true
		c.out.pending = mux.AppendPing(c.out.pending, p.sent)
		c.kick()
	}
	c.slow = c.mux.Len() == 0 && now.Sub(c.lastOpen) >= busyFor
	if c.slow {
		return c.limits.PingInterval
	}
	return min(pingBusy, c.limits.PingInterval)
}

// hasten makes tend look more often, for a stream was opened. The caller holds
// mu.
func (c *conn) hasten(s *stream) {
	c.lastOpen = c.info.Since.Add(s.since)
	if c.slow {
		c.slow = false
		signal(c.haste)
	}
}
