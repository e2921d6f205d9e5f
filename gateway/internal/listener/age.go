package listener

import (
	"crypto/x509"
	"time"
)

// lastPart of an SVID's life, one in so many, is when a connection that was made
// with it ends in order: a workload has had its next SVID for long by then, and
// shows it with the next connection. Once the SVID has expired, whatever came on
// the connection would be refused.
const lastPart = 5

// leaf is the SVID that the caller showed; nil if it showed none.
func (c *conn) leaf() *x509.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.chain) == 0 {
		return nil
	}
	return c.chain[0]
}

// ages is when the SVID's last part begins.
func ages(leaf *x509.Certificate) time.Time {
	return leaf.NotAfter.Add(-leaf.NotAfter.Sub(leaf.NotBefore) / lastPart)
}

// leaves says whether the answer to a request that comes now is the last one.
func (c *conn) leaves(now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.retired || len(c.chain) > 0 && now.After(ages(c.chain[0]))
}

// untilExpiry is a deadline for the next request, or the SVID's end if that
// comes first.
func (c *conn) untilExpiry(deadline time.Time) time.Time {
	if leaf := c.leaf(); leaf != nil && leaf.NotAfter.Before(deadline) {
		return leaf.NotAfter
	}
	return deadline
}

// retireInTime retires the connection when the SVID's last part begins, unless
// stop was called before.
func (c *conn) retireInTime() (stop func() bool) {
	leaf := c.leaf()
	if leaf == nil {
		return func() bool { return false }
	}
	return time.AfterFunc(time.Until(ages(leaf)), c.retire).Stop
}
