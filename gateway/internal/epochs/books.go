package epochs

import (
	"slices"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.uber.org/zap"

	"github.com/sallyport-mesh/sallyport/gateway/internal/recorder"
	"github.com/sallyport-mesh/sallyport/gateway/statement"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

var _ recorder.Books = (*Keeper)(nil)

// Next implements recorder.Books.
func (k *Keeper) Next(ingress string) uint64 {
	k.mu.RLock()
	c := k.own[ingress]
	k.mu.RUnlock()
	if c == nil {
		c = k.open(ingress)
	}
	return c.book.Next()
}

// open makes sure of a chain of this run.
func (k *Keeper) open(ingress string) *outgoing {
	k.mu.Lock()
	defer k.mu.Unlock()
	c := k.own[ingress]
	if c == nil {
		ingress = strings.Clone(ingress)
		chain := statement.Chain{Egress: k.cfg.Self.String(), Ingress: ingress, Run: k.run}
		c = newOutgoing(statement.NewEgress(chain, k.cfg.Now()))
		k.own[ingress], k.out[chain] = c, c
		k.start(c)
	}
	return c
}

// Void implements recorder.Books.
func (k *Keeper) Void(ingress string, n uint64) { k.open(ingress).book.Void(n) }

// Unrecorded implements recorder.Books.
func (k *Keeper) Unrecorded(h *crossingv1.Half) {
	if c := k.incomingOf(statement.ChainOf(h.GetKey())); c != nil {
		c.book.Unrecorded(h.GetKey().GetSequence())
	}
}

// Opened implements recorder.Books.
func (k *Keeper) Opened(h *crossingv1.Half, frame []byte, at uint64) {
	if !k.opened(h, frame, at) {
		k.recorder.Stated(at)
	}
}

// opened enters an opening. It says whether the books hold on to its place.
func (k *Keeper) opened(h *crossingv1.Half, frame []byte, at uint64) (kept bool) {
	chain := statement.ChainOf(h.GetKey())
	if h.GetSide() == crossingv1.Side_EGRESS {
		if c := k.outgoingOf(chain, h.GetEnd().GetOpen().AsTime()); c.book.Opened(h, frame, at) {
			c.stir()
		}
		return true
	}
	c := k.incomingOf(chain)
	if c != nil {
		c.book.Opened(h, frame, at)
	}
	return c != nil
}

// Closed implements recorder.Books.
func (k *Keeper) Closed(e *crossingv1.Close, frame []byte, at uint64) {
	if !k.ended(e, frame, at) {
		k.recorder.Stated(at)
	}
}

// ended is opened for an end.
func (k *Keeper) ended(e *crossingv1.Close, frame []byte, at uint64) (kept bool) {
	chain := statement.ChainOf(e.GetKey())
	if e.GetSide() == crossingv1.Side_EGRESS {
		if c := k.outgoingOf(chain, k.cfg.Now()); c.book.Closed(e, frame, at) {
			c.stir()
		}
		return true
	}
	c := k.incomingOf(chain)
	if c != nil {
		c.book.Closed(e, frame, at)
	}
	return c != nil
}

// outgoingOf is a chain that this gateway counts; one that is not known has begun then.
func (k *Keeper) outgoingOf(chain statement.Chain, began time.Time) *outgoing {
	k.mu.RLock()
	c := k.out[chain]
	k.mu.RUnlock()
	if c != nil {
		return c
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if c = k.out[chain]; c == nil {
		chain = chain.Clone()
		c = newOutgoing(statement.NewEgress(chain, began))
		k.out[chain] = c
	}
	return c
}

// incomingOf is a chain that a peer counts; nil if it has too many.
func (k *Keeper) incomingOf(chain statement.Chain) *incoming {
	k.mu.RLock()
	c := k.in[chain]
	k.mu.RUnlock()
	if c != nil {
		return c
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if c = k.in[chain]; c != nil {
		return c
	}
	c = newIncoming(statement.NewIngress(chain.Clone()), k.cfg.Now())
	if !k.keep(c) {
		return nil
	}
	return c
}

// keep keeps a new chain of a peer, in the place of one that nothing is to be stated
// of if it has too many. The caller holds mu.
func (k *Keeper) keep(c *incoming) bool {
	p := k.meet(c.peer)
	if bound := k.recorder != nil; bound && p.chains >= maxChains && !k.dropOldest(c.peer) {
		k.cfg.Meter.Mistold(tooMuch)
		return false
	}
	p.chains++
	k.in[c.book.Chain()] = c
	return true
}

// dropOldest drops the chain of a peer that was not heard of for longest, of those that
// nothing is to be stated of. The caller holds mu.
func (k *Keeper) dropOldest(id spiffeid.ID) bool {
	var oldest *incoming
	for _, c := range k.in {
		if c.peer == id && !c.book.Waiting() && (oldest == nil || c.last.Load() < oldest.last.Load()) {
			oldest = c
		}
	}
	if oldest == nil {
		return false
	}
	k.drop(oldest)
	return true
}

// drop forgets a chain. The caller holds mu.
func (k *Keeper) drop(c *incoming) {
	k.recorder.Stated(c.book.Stated()...)
	delete(k.in, c.book.Chain())
	k.meet(c.peer).chains--
}

// Take says whether a number may open here: no answer has said that it never came, and
// it has not opened here before, not in an earlier run either.
// After true, Opened or Unrecorded is called of it.
func (k *Keeper) Take(egress, run string, number uint64) bool {
	c := k.incomingOf(statement.Chain{Egress: egress, Ingress: k.cfg.Self.String(), Run: run})
	return c == nil || c.book.Take(number)
}

// Reused takes note that a number came with another crossing too.
func (k *Keeper) Reused(egress, run string, number uint64) {
	if c := k.incomingOf(statement.Chain{Egress: egress, Ingress: k.cfg.Self.String(), Run: run}); c != nil {
		c.book.Reused(number)
	}
}

// Replay implements recorder.Books.
func (k *Keeper) Replay(f *crossingv1.Frame, frame []byte, at uint64) (kept bool) {
	switch {
	case f.GetOpen() != nil:
		return k.opened(f.GetOpen(), frame, at)
	case f.GetClose() != nil:
		return k.ended(f.GetClose(), frame, at)
	case f.GetStatement() != nil:
		k.restate(f.GetStatement())
	case f.GetAnnouncement() != nil:
		k.keys.remember(f.GetAnnouncement())
	}
	return false
}

// restate learns from a statement that another run of this gateway has spooled.
func (k *Keeper) restate(s *crossingv1.Statement) {
	stated, err := statement.Read(s)
	switch self := k.cfg.Self.String(); {
	case err != nil:
	case stated.Chain.Egress == self:
		err = k.outgoingOf(stated.Chain, k.cfg.Now()).book.Replay(s)
	case stated.Chain.Ingress == self:
		if c := k.incomingOf(stated.Chain); c != nil {
			err = c.book.Replay(s)
		}
	}
	if err != nil {
		k.cfg.Log.Error("spooled statement not understood", zap.Error(err))
	}
}

// Chains implements recorder.Books.
func (k *Keeper) Chains() []*crossingv1.ChainState {
	out, in := k.chains()
	states := make([]*crossingv1.ChainState, 0, len(out)+len(in))
	for _, c := range out {
		states = append(states, c.book.State())
	}
	for _, c := range in {
		states = append(states, c.book.State())
	}
	// Of a chain of which nothing was claimed the frames say all.
	return slices.DeleteFunc(states, func(s *crossingv1.ChainState) bool { return s.GetLast() == nil })
}

// Restore implements recorder.Books.
func (k *Keeper) Restore(chains []*crossingv1.ChainState) {
	for _, s := range chains {
		if err := k.restore(s); err != nil {
			k.cfg.Log.Error("kept state of a chain not understood", zap.Error(err))
		}
	}
}

func (k *Keeper) restore(s *crossingv1.ChainState) error {
	chain, err := statement.ParseChain(s.GetChain())
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if s.GetSide() == crossingv1.Side_EGRESS {
		if c := k.out[chain]; c != nil {
			return catchUp(c.book, s)
		}
		book, err := statement.RestoreEgress(s)
		if err == nil {
			k.out[chain] = newOutgoing(book)
		}
		return err
	}
	if c := k.in[chain]; c != nil {
		return catchUp(c.book, s)
	}
	book, err := statement.RestoreIngress(s)
	if err == nil {
		k.keep(newIncoming(book, k.cfg.Now()))
	}
	return err
}

// catchUp has a book learn the last statement of a state that is ahead of it: what it
// holds beside stays.
func catchUp(book interface {
	State() *crossingv1.ChainState
	Replay(s *crossingv1.Statement) error
}, s *crossingv1.ChainState,
) error {
	if s.GetLast() == nil || !statement.Ahead(s, book.State()) {
		return nil
	}
	return book.Replay(s.GetLast())
}
