package epochs

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"github.com/sallyport-mesh/sallyport/gateway/statement"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

const (
	// firstTry and lastTry are the least and the most between two tries to have a
	// claim answered.
	firstTry = time.Second
	lastTry  = 5 * time.Second
)

// outgoing is a chain that this gateway counts, in this run or in one before.
type outgoing struct {
	book *statement.Egress
	peer spiffeid.ID   // zero of the crossings that were refused here
	wake chan struct{} // holds one signal for who tells of the chain
	turn chan struct{} // who tells of it puts something in: it holds one

	ended   atomic.Bool // its run has: there is a final claim to make
	urgent  atomic.Bool // the next claim is due, whatever the time
	again   atomic.Bool // it is, though there may be nothing to say
	parted  atomic.Bool // its peer is none any more: claims that fail stand alone at once
	hurried atomic.Bool // the gateway stops: a claim that fails is left to the next start

	started bool // somebody tells of it; the keeper's mu guards it

	mu      sync.Mutex            // guards what follows
	spooled *crossingv1.Statement // the claim that is
	silent  time.Time             // since when the peer has not answered; zero if it has
	settled time.Time             // when the last claim was answered or left alone; zero if one of an earlier process was
}

func newOutgoing(book *statement.Egress) *outgoing {
	c := &outgoing{book: book, wake: make(chan struct{}, 1), turn: make(chan struct{}, 1)}
	c.peer, _ = spiffeid.FromString(book.Chain().Ingress) // else it is nobody's
	c.spooled = book.Pending()
	return c
}

// hurry makes a claim due and has it made.
func (c *outgoing) hurry() {
	c.urgent.Store(true)
	c.stir()
}

// stir has whoever tells of the chain look again now.
func (c *outgoing) stir() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// start has a chain told of from now on, if that is this process's to do. The caller
// holds mu.
func (k *Keeper) start(c *outgoing) {
	if g := k.group; g != nil && !c.started && (c.book.Chain().Run == k.run || c.ended.Load()) {
		c.started = true
		g.Go(func() { k.tell(g.ctx, c) })
	}
}

// Runs implements recorder.Books: the chains of runs that were taken over are this
// process's to state, to their ends. Those of a run that was removed are the newest
// process's, if there is anything left to state.
func (k *Keeper) Runs(taken, others []string) {
	k.beside.Store(len(others) > 0)
	removed := k.answers.Load()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.running = append(make([]string, 0, len(others)), others...)
	for chain, c := range k.out {
		ours := slices.Contains(taken, chain.Run) || removed && !slices.Contains(others, chain.Run)
		if chain.Run != k.run && ours && !c.ended.Swap(true) {
			c.urgent.Store(true)
			k.start(c)
		}
	}
}

// tell states a chain, epoch by epoch, until all of it is or the context ends.
func (k *Keeper) tell(ctx context.Context, c *outgoing) {
	tick := time.NewTicker(k.cfg.Epoch)
	defer tick.Stop()
	for {
		k.state(ctx, c)
		if c.book.Done() && c.book.Chain().Run != k.run {
			k.closed(c)
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-c.wake:
		}
	}
}

// closed takes note that all of a chain is stated. It is known for a while, so that no
// peer can remind of it who has forgotten that.
func (k *Keeper) closed(c *outgoing) {
	k.recorder.Stated(c.book.Stated()...)
	c.since(time.Time{}, k.cfg.Now())
}

// state makes claims as long as there is something to claim, and has each answered.
// One that is not is left for the next time.
func (k *Keeper) state(ctx context.Context, c *outgoing) {
	select {
	case c.turn <- struct{}{}:
	case <-ctx.Done():
		return
	}
	defer func() { <-c.turn }()
	for ctx.Err() == nil && k.keys.ready() {
		claim := k.claim(c)
		if claim == nil || !k.settle(ctx, c, claim) {
			return
		}
	}
}

// claim is the one that has no answer yet, or else the next one; nil if there is
// nothing to claim.
func (k *Keeper) claim(c *outgoing) *crossingv1.Statement {
	if claim := c.book.Pending(); claim != nil {
		return claim
	}
	now, final := k.cfg.Now(), c.ended.Load()
	again := c.again.Swap(false)
	if due := c.urgent.Swap(false) || again || c.book.Due(now); !due {
		return nil
	}
	claim := c.book.Cut(statement.Facts{Now: now, Policy: k.policy(), Final: final, Empty: again}, k.keys.signer)
	if final && claim != nil {
		if s, err := statement.Read(claim); err == nil && !s.Claim.GetFinal() {
			c.urgent.Store(true) // it has no room for all there is
		}
	}
	return claim
}

// policy is the one in force; nil if there is none.
func (k *Keeper) policy() *crossingv1.PolicyRef {
	ref := k.cfg.Policy()
	if ref.Serial == 0 {
		return nil
	}
	return &crossingv1.PolicyRef{Serial: ref.Serial, Revision: ref.Revision}
}

// settle has a claim answered, for as long as its peer may be silent, or lets it
// stand alone. It says whether the next one may be made.
func (k *Keeper) settle(ctx context.Context, c *outgoing, claim *crossingv1.Statement) bool {
	if err := k.write(c, claim); err != nil {
		k.cfg.Log.Error("claim not spooled", zap.Stringer("peer", c.peer), zap.Error(err))
		return false
	}
	if c.peer.IsZero() {
		c.book.Alone()
		k.cfg.Meter.Stated(crossingv1.Side_EGRESS, false)
		return true
	}
	began := k.cfg.Now()
	for pause := firstTry; ; pause = min(2*pause, lastTry) {
		err := k.ask(ctx, c, claim)
		if err == nil {
			c.since(time.Time{}, k.cfg.Now())
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		k.refuse(c.peer, err)
		if c.parted.Load() || k.cfg.Now().Sub(began) >= 2*k.cfg.Heartbeat {
			c.since(began, k.cfg.Now())
			c.book.Alone()
			k.cfg.Meter.Stated(crossingv1.Side_EGRESS, true)
			return true
		}
		if c.hurried.Load() || !c.pause(ctx, pause) {
			return false
		}
	}
}

// pause waits until a claim is tried again; false if it is not.
func (c *outgoing) pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
	case <-c.wake:
	}
	return true
}

// write spools a claim on stable storage, once.
func (k *Keeper) write(c *outgoing, claim *crossingv1.Statement) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.spooled != nil && proto.Equal(c.spooled, claim) {
		return nil
	}
	if err := k.recorder.Say(&crossingv1.Frame{Statement: claim}, true); err != nil {
		return err
	}
	c.spooled = claim
	return nil
}

// since takes note of since when the peer has not answered, zero: it has, and when the
// claim was settled so.
func (c *outgoing) since(began, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.settled = now
	if c.silent.IsZero() || began.IsZero() {
		c.silent = began
	}
}

// silence is since when the peer is silent; zero if it is not.
func (c *outgoing) silence() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.silent
}
