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

// unused is how long nobody has to use a connection for it to be closed before its SVID ends.
const unused = time.Minute

// untilAged is a deadline for the next request: at the latest the SVID's end, and of a
// connection that nobody uses soon after it has aged, for what began on it just before that
// end would be cut off. One that is in use takes a last request, whose answer says so.
func (c *conn) untilAged(now, deadline time.Time) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.chain) == 0 {
		return deadline
	}
	end := c.chain[0].NotAfter
	aged := c.ages.Add(end.Sub(c.ages) / 4)
	if idle := now.Add(unused); aged.Before(idle) {
		aged = idle
	}
	for _, at := range [...]time.Time{aged, end} {
		if at.Before(deadline) {
			deadline = at
		}
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
