package epochs

import (
	"bytes"
	"slices"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.uber.org/zap"

	"github.com/sallyport-mesh/sallyport/gateway/statement"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

const (
	// abandoned is how many heartbeats in a row do not speak of a chain before it is
	// taken to be one that the peer knows nothing of.
	abandoned = 4
	// maxOut is how many chains of its own a gateway knows before it believes nobody
	// that there are more.
	maxOut = 4096
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
// this gateway knows: one of the two has lost what it knew. One of an earlier run that
// this gateway knows nothing of goes on where the peer says that it stands.
func (k *Keeper) recall(peer spiffeid.ID, standings []*crossingv1.Standing) {
	for _, s := range standings {
		chain, err := statement.ParseChain(s.GetChain())
		if err != nil || chain.Egress != k.cfg.Self.String() || chain.Ingress != peer.String() {
			continue
		}
		k.mu.RLock()
		c, settled := k.out[chain], k.cfg.Now().Add(-k.cfg.Heartbeat)
		k.mu.RUnlock()
		switch {
		case c == nil:
			k.recover(chain)
		case !c.book.Done() && c.stands(s, settled):
			c.claimAgain()
		}
	}
}

// recover takes up a chain of this gateway of which a peer reminds it: all that there
// was of it is lost.
func (k *Keeper) recover(chain statement.Chain) {
	k.mu.Lock()
	defer k.mu.Unlock()
	goes := chain.Run == k.run || k.running == nil || slices.Contains(k.running, chain.Run)
	if goes || !k.answers.Load() || k.out[chain] != nil || len(k.out) >= maxOut {
		return
	}
	c := newOutgoing(statement.NewEgress(chain, k.cfg.Now()))
	c.ended.Store(true)
	c.urgent.Store(true)
	k.out[chain] = c
	k.start(c)
}

// abandon lets go of chains of which the peer's heartbeats do not speak any more: it
// knows nothing of them, and will claim nothing.
func (k *Keeper) abandon() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, c := range k.in {
		if c.unspoken.Load() >= abandoned && !c.book.Done() {
			k.cfg.Log.Error("chain is abandoned: its gateway knows nothing of it", zap.Stringer("peer", c.peer), zap.String("run", c.book.Chain().Run))
			k.giveUp(c)
		}
	}
}

// giveUp drops a chain of which nobody will claim what there is. The caller holds mu.
func (k *Keeper) giveUp(c *incoming) {
	k.recorder.Stated(c.book.Abandon()...)
	k.drop(c)
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

// settledBefore says that the last claim was settled before a time. Of one that an
// earlier process has settled the time counts from now.
func (c *outgoing) settledBefore(before, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.settled.IsZero() {
		c.settled = now
	}
	return c.settled.Before(before)
}
