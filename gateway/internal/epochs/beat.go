package epochs

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.uber.org/zap"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	"github.com/sallyport-mesh/sallyport/gateway/statement"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// maxStandings is how many chains one heartbeat is about.
const maxStandings = 1000

// beat says where each chain stands: into the spool, and to every peer.
func (k *Keeper) beat(ctx context.Context, now time.Time) {
	if !k.keys.ready() {
		return
	}
	signed := k.keys.signer.Heartbeat(&crossingv1.Heartbeat{
		Gateway: k.cfg.Self.String(), Run: k.run, At: timestamppb.New(now), Standings: k.standings(now), Policy: k.policy(),
	})
	if err := k.recorder.Say(&crossingv1.Frame{Heartbeat: signed}, true); err != nil {
		k.cfg.Log.Error("heartbeat not spooled", zap.Error(err))
		return
	}
	key, err := k.keys.announcement(signed.GetSignature())
	if err != nil {
		return // it was ready a moment ago
	}
	t := &crossingv1.Talk{Beat: &crossingv1.Beat{Heartbeat: signed, Key: key}}
	k.mu.RLock()
	defer k.mu.RUnlock()
	for id, p := range k.peers {
		if p.named && k.group != nil && p.beating.CompareAndSwap(false, true) {
			k.group.Go(func() {
				defer p.beating.Store(false)
				if err := k.saidTo(ctx, id, t); err != nil {
					k.refuse(id, err)
				}
			})
		}
	}
}

// saidTo says one thing to a peer that answers nothing.
func (k *Keeper) saidTo(ctx context.Context, peer spiffeid.ID, t *crossingv1.Talk) error {
	return k.speak(ctx, peer, func(_ context.Context, s tunnel.Stream) error { return statement.WriteTalk(s, t) })
}

// beaten takes a peer's heartbeat.
func (k *Keeper) beaten(from tunnel.Info, said *crossingv1.Beat) error {
	key, err := k.keys.of(from.Peer, said.GetKey())
	if err != nil {
		return err
	}
	h, err := statement.VerifyHeartbeat(said.GetHeartbeat(), key)
	if err != nil {
		return faulty(unsigned, fmt.Errorf("heartbeat: %w", err))
	}
	if at := h.GetAt().AsTime(); at.After(k.cfg.Now().Add(from.ClockOffset + statement.MaxSkew)) {
		return faulty(unsound, fmt.Errorf("heartbeat of %s, which is to come", at.UTC().Format(time.RFC3339)))
	}
	k.returned(from.Peer)
	k.recall(from.Peer, h.GetStandings())
	k.peerOf(from.Peer).hears(k.cfg.Now())
	k.spokenOf(from.Peer, h.GetStandings())
	return nil
}

// spokenOf takes note of which of its chains a peer's heartbeat speaks.
func (k *Keeper) spokenOf(peer spiffeid.ID, standings []*crossingv1.Standing) {
	now, more := k.cfg.Now().UnixNano(), len(standings) >= maxStandings // there may be more
	spoken := make(map[statement.Chain]bool, len(standings))
	for _, s := range standings {
		if chain, err := statement.ParseChain(s.GetChain()); err == nil {
			spoken[chain] = true
		}
	}
	k.mu.RLock()
	defer k.mu.RUnlock()
	for chain, c := range k.in {
		switch {
		case c.peer != peer:
		case more || spoken[chain]:
			c.spoken(now)
		default:
			c.unspoken.Add(1)
		}
	}
}

// standings are where the chains stand that are this process's to speak of, those
// first of which the peer is silent for longest.
func (k *Keeper) standings(now time.Time) []*crossingv1.Standing {
	var all []*crossingv1.Standing
	out, in := k.chains()
	for _, c := range out {
		if c.book.Chain().Run == k.run || !c.book.Done() { // peers let go of a chain that nobody speaks of
			all = append(all, standing(c.book.Standing(), c.silence()))
		}
	}
	for _, c := range in {
		if !c.book.Done() {
			all = append(all, standing(c.book.Standing(), k.silence(c, now)))
		}
	}
	slices.SortFunc(all, func(a, b *crossingv1.Standing) int {
		if (a.Silent == nil) != (b.Silent == nil) {
			return cmp.Compare(boolean(a.Silent == nil), boolean(b.Silent == nil))
		}
		return a.Silent.AsTime().Compare(b.Silent.AsTime())
	})
	return all[:min(len(all), maxStandings)]
}

func boolean(b bool) int {
	if b {
		return 1
	}
	return 0
}

func standing(s *crossingv1.Standing, silent time.Time) *crossingv1.Standing {
	if !silent.IsZero() {
		s.Silent = timestamppb.New(silent)
	}
	return s
}

// silence is since when the peer has said nothing, although its chain goes on; zero if
// it is not silent.
func (k *Keeper) silence(c *incoming, now time.Time) time.Time {
	p := k.peerOf(c.peer)
	k.mu.RLock()
	named := p.named
	k.mu.RUnlock()
	last := time.Unix(0, p.last.Load())
	if !named || now.Sub(last) < 2*k.cfg.Heartbeat || c.book.Done() {
		return time.Time{}
	}
	return last
}

// Silent is how many chains there are of which the other gateway is silent.
func (k *Keeper) Silent() int {
	n, now := 0, k.cfg.Now()
	out, in := k.chains()
	for _, c := range out {
		if !c.silence().IsZero() && !c.parted.Load() {
			n++
		}
	}
	for _, c := range in {
		if !k.silence(c, now).IsZero() {
			n++
		}
	}
	return n
}
