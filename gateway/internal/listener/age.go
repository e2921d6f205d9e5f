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

// untilAged is a deadline for the next request: at the latest soon after the connection has
// aged, for what began just before its SVID ends would be cut off.
func (c *conn) untilAged(deadline time.Time) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.chain) == 0 {
		return deadline
	}
	aged := c.ages.Add(c.chain[0].NotAfter.Sub(c.ages) / 4)
	if aged.Before(deadline) {
		return aged
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
