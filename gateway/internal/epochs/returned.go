package epochs

import (
	"bytes"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/sallyport-mesh/sallyport/gateway/statement"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// returned takes note that a peer is there. A chain of which it was silent is claimed
// again now, though there may be nothing new to say: it may hold numbers that it never
// heard a claim of.
func (k *Keeper) returned(peer spiffeid.ID) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	for _, c := range k.out {
		if c.peer == peer && !c.silence().IsZero() {
			c.claimAgain()
		}
	}
}

// recall has chains claimed again of which a peer says that they stand elsewhere than
// this gateway knows: one of the two has lost what it knew.
func (k *Keeper) recall(peer spiffeid.ID, standings []*crossingv1.Standing) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	for _, s := range standings {
		chain, err := statement.ParseChain(s.GetChain())
		if err != nil || chain.Ingress != peer.String() {
			continue
		}
		if c := k.out[chain]; c != nil && c.stands(s, k.cfg.Now().Add(-k.cfg.Heartbeat)) {
			c.claimAgain()
		}
	}
}

// stands says that the ingress gateway has not got the last claim, which was settled
// before a time: what it said since cannot be from before.
func (c *outgoing) stands(there *crossingv1.Standing, before time.Time) bool {
	c.mu.Lock()
	settled := c.settled
	c.mu.Unlock()
	here := c.book.Standing()
	return c.book.Pending() == nil && settled.Before(before) && !bytes.Equal(here.GetClaim(), there.GetClaim())
}

// claimAgain has the next claim made now, though there may be nothing to say.
func (c *outgoing) claimAgain() {
	if !c.again.Swap(true) {
		c.stir()
	}
}
