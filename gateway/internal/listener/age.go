package listener

import (
	"crypto/x509"
	"math/rand/v2"
	"time"
)

// ages is when a connection that is made now with an SVID is to end in order:
// after three quarters of what is left of the SVID's life, give or take some, so
// that not all connections end at once. A workload has its next SVID by then, and
// shows it with the next connection. Once an SVID has expired, whatever comes on
// its connection is refused.
func ages(leaf *x509.Certificate, now time.Time) time.Time {
	left := leaf.NotAfter.Sub(now)
	return now.Add(time.Duration(float64(left) * (0.7 + 0.1*rand.Float64())))
}

// leaves says whether the answer to a request that comes now is the last one.
func (c *conn) leaves(now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.retired || !c.ages.IsZero() && now.After(c.ages)
}

// untilExpiry is a deadline for the next request, or the SVID's end if that
// comes first.
func (c *conn) untilExpiry(deadline time.Time) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.chain) > 0 && c.chain[0].NotAfter.Before(deadline) {
		return c.chain[0].NotAfter
	}
	return deadline
}

// retireInTime retires the connection when its SVID's time comes, unless stop was
// called before.
func (c *conn) retireInTime() (stop func() bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ages.IsZero() {
		return func() bool { return false }
	}
	return time.AfterFunc(time.Until(c.ages), c.retire).Stop
}
