package listener

import (
	"time"
)

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
