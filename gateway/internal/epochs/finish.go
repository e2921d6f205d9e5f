package epochs

import (
	"context"
	"sync"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// SetPeers says which gateways are peers from now on, and gives those with whom there
// are chains and who are none any more: Part from them while there are tunnels.
func (k *Keeper) SetPeers(ids []spiffeid.ID) (gone []spiffeid.ID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, p := range k.peers {
		p.named = false
	}
	for _, id := range ids {
		k.meet(id).named = true
	}
	seen := map[spiffeid.ID]bool{}
	for _, c := range k.own {
		if c.peer.IsZero() {
			continue
		}
		named := k.meet(c.peer).named
		if was := c.parted.Swap(!named); !named && !was && !seen[c.peer] {
			seen[c.peer] = true
			gone = append(gone, c.peer)
		}
	}
	return gone
}

// Part states what there is to state with peers that are none any more, while the
// context lasts. What ends later is stated alone.
func (k *Keeper) Part(ctx context.Context, gone []spiffeid.ID) {
	var parting sync.WaitGroup
	for _, id := range gone {
		k.mu.RLock()
		c := k.own[id.String()]
		k.mu.RUnlock()
		if c != nil {
			c.hurry()
			parting.Go(func() { k.state(ctx, c) })
		}
	}
	parting.Wait()
}

// Finish makes the final claims of this run, when nothing is open any more that went
// out in it, and returns when they are answered, cannot be or the context ends. Those
// that were not are left to the process that takes the run's spool over.
func (k *Keeper) Finish(ctx context.Context) {
	k.mu.RLock()
	var own []*outgoing
	for _, c := range k.own {
		own = append(own, c)
	}
	k.mu.RUnlock()
	var finishing sync.WaitGroup
	for _, c := range own {
		c.ended.Store(true)
		c.hurried.Store(true)
		c.hurry()
		finishing.Go(func() { k.state(ctx, c) })
	}
	finishing.Wait()
}
