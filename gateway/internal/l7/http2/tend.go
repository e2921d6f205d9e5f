package http2

import "time"

const (
	// napAfter is how long a connection without open streams keeps its buffers.
	napAfter = time.Second
	// earned is how many frames without content a frame with some pays for: peers
	// grant credit for each, and measure the path with each.
	earned = 4

	longPace = 10 * time.Second

	livePing  = 0x53616c6c79706f72 // what the PINGs of this end say
	drainPing = 0x746472_61696e21
)

// tending is what a timer looks after. The Conn's mu guards it.
type tending struct {
	timer     *time.Timer
	lastHeard time.Time // to a look
	idleSince time.Time // when the last stream ended
	pinged    time.Time // when the peer was pinged, zero if it owes no answer
	napped    bool      // the buffers were given back since the last stream
}

func (c *Conn) startTending() {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tending.lastHeard, c.tending.idleSince = now, now
	c.tending.timer = time.AfterFunc(c.pace(), c.tend)
}

func (t *tending) stop() { t.timer.Stop() }

// pace is the time between two looks where nothing is due sooner.
func (c *Conn) pace() time.Duration {
	return min(c.cfg.PingAfter, c.cfg.IdleTimeout, c.cfg.WriteTimeout, c.cfg.StallTimeout, longPace*4) / 4
}

// tendBy makes the next look come no later than after d. The caller holds mu.
func (c *Conn) tendBy(d time.Duration) { c.tending.timer.Reset(min(d, c.pace())) }

func (c *Conn) tend() {
	c.mu.Lock()
	gone := c.look(time.Now())
	c.mu.Unlock()
	for _, f := range gone {
		f()
	}
}

// look does what is due and sets when to look again. What it gives must be called
// without mu, which the caller holds.
func (c *Conn) look(now time.Time) (gone []func()) {
	if c.cause != nil {
		return nil
	}
	t := &c.tending
	if c.heard.Swap(false) {
		t.lastHeard, t.pinged = now, time.Time{}
	}
	next := c.pace()
	if wait := c.pingDue(now); wait <= 0 {
		return c.endLocked(&ConnError{Detail: "peer has not answered a PING", Code: NoError}, true)
	} else {
		next = min(next, wait)
	}
	if len(c.streams) > 0 {
		t.napped = false
		gone = c.unstall(now)
	} else {
		next = min(next, c.idle(now))
	}
	if c.drain.begun && !c.drain.said {
		if !now.Before(c.drain.by) {
			c.sayLast()
		} else {
			next = min(next, c.drain.by.Sub(now))
		}
	}
	if c.cause == nil {
		t.timer.Reset(next)
	}
	return gone
}

// pingDue pings a peer that is silent and gives the time until the next look at
// it; nothing is left to one that has not answered.
func (c *Conn) pingDue(now time.Time) time.Duration {
	t := &c.tending
	if !c.server && len(c.streams) == 0 {
		t.pinged = time.Time{}
		return c.pace()
	}
	if !t.pinged.IsZero() {
		return t.pinged.Add(c.cfg.PingTimeout).Sub(now)
	}
	if wait := t.lastHeard.Add(c.cfg.PingAfter).Sub(now); wait > 0 {
		return wait
	}
	t.pinged = now
	c.out.pending = appendPing(c.out.pending, 0, livePing)
	c.kick()
	return c.cfg.PingTimeout
}

// idle looks after a connection without open streams: it gives its buffers back,
// and in the end goes.
func (c *Conn) idle(now time.Time) time.Duration {
	t := &c.tending
	wait := t.idleSince.Add(c.cfg.IdleTimeout).Sub(now)
	if wait <= 0 {
		c.startDrain()
		return c.pace()
	}
	if now.Sub(t.idleSince) >= napAfter && !t.napped {
		t.napped = true
		c.nc.SetReadDeadline(time.Unix(1, 0)) //nolint:errcheck // reading says what is wrong
		if !c.out.writing && len(c.out.pending) == 0 {
			c.out.pending, c.out.spare = nil, nil
			c.out.batch++
		}
	}
	return wait
}

// unstall resets streams whose peer grants no window: it holds up who writes, and
// what he holds. It gives what the streams' owners want to be told by.
func (c *Conn) unstall(now time.Time) (gone []func()) {
	for _, s := range c.streams {
		switch {
		case len(s.data) == 0 || s.moved || s.stalled.IsZero():
			s.stalled, s.moved = now, false
		case now.Sub(s.stalled) >= c.cfg.StallTimeout:
			if f := c.resetLocked(s, Cancel); f != nil {
				gone = append(gone, f)
			}
		}
	}
	return gone
}
