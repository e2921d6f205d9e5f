package epochs

import (
	"sync/atomic"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.uber.org/zap"

	"github.com/sallyport-mesh/sallyport/gateway/statement"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

const (
	// maxChains is how many chains of one peer are known: that of its run, and those
	// of runs before.
	maxChains = 64
	// maxStreams is how many streams of one peer are heard at a time.
	maxStreams = 16
)

// incoming is a chain that a peer counts.
type incoming struct {
	key *crossingv1.Announcement // of what signed the last claim; for who has the turn

	book *statement.Ingress
	peer spiffeid.ID
	turn chan struct{} // who reviews a claim puts something in: it holds one
	last atomic.Int64  // when something was claimed or said of it last, in Unix nanoseconds
	// unspoken is how many heartbeats in a row did not speak of it.
	unspoken atomic.Int32
}

func newIncoming(book *statement.Ingress, now time.Time) *incoming {
	c := &incoming{book: book, turn: make(chan struct{}, 1)}
	c.peer, _ = spiffeid.FromString(book.Chain().Egress) // else it is nobody's
	c.last.Store(now.UnixNano())
	return c
}

// spoken takes note that something was said of the chain.
func (c *incoming) spoken(at int64) {
	c.last.Store(at)
	c.unspoken.Store(0)
}

// peer is what is known of a peer gateway.
type peer struct {
	streams atomic.Int32 // that it speaks in
	last    atomic.Int64 // when it said something that is true, in Unix nanoseconds
	beating atomic.Bool  // a heartbeat is on its way there

	chains int  // that it counts; the keeper's mu guards it
	named  bool // it is a peer by the policy; as that
}

// hears takes note that the peer is there.
func (p *peer) hears(now time.Time) { p.last.Store(now.UnixNano()) }

// peerOf is what is known of a peer gateway.
func (k *Keeper) peerOf(id spiffeid.ID) *peer {
	k.mu.RLock()
	p := k.peers[id]
	k.mu.RUnlock()
	if p != nil {
		return p
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.meet(id)
}

// meet is peerOf for who holds mu.
func (k *Keeper) meet(id spiffeid.ID) *peer {
	p := k.peers[id]
	if p == nil {
		p = new(peer)
		p.hears(k.cfg.Now())
		k.peers[id] = p
	}
	return p
}

// forget drops the chains of peers of which nothing was heard for long, and of its own
// those that were at their end so long ago. What such a peer never claimed is in the
// record, in no statement, and not kept for one any more.
func (k *Keeper) forget(now time.Time) {
	before := now.Add(-k.cfg.Memory).UnixNano()
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, c := range k.in {
		switch waits := c.book.Waiting(); {
		case c.last.Load() >= before:
		case !waits:
			k.drop(c)
		case k.answers.Load(): // else another process has heard more
			k.cfg.Log.Error("chain is abandoned: its gateway was silent for too long", zap.Stringer("peer", c.peer), zap.String("run", c.book.Chain().Run))
			k.giveUp(c)
		}
	}
	for chain, c := range k.out {
		if chain.Run != k.run && c.book.Done() && c.settledBefore(now.Add(-k.cfg.Memory), now) {
			delete(k.out, chain)
		}
	}
}
