package simulation

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/statement"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// lie is a second claim of an epoch that was stated, with another root.
type lie struct {
	chain statement.Chain
	epoch uint64
}

// fork has a gateway sign a second claim of the last epoch that it and another have
// stated, with a key of its own. The control plane is given it, and so is the other
// gateway, which is to refuse it.
func (w *world) fork(f *fault, g, other *gateway) {
	was := w.control.lastStated(g.id.String(), other.id.String())
	if was == nil {
		return
	}
	signer := statement.NewSigner()
	claim, key, err := g.forge(signer, was)
	if err != nil {
		w.t.Errorf("seed %d: forge a claim: %v", w.seed, err)
		return
	}
	if err := w.control.takeAll(g, was.Chain.Run, &crossingv1.Frame{Announcement: key}, &crossingv1.Frame{Statement: claim}); err != nil {
		w.t.Errorf("seed %d: a forged claim is not taken: %v", w.seed, err)
	}
	f.lie = &lie{was.Chain, was.Claim.GetEpoch()}
	p := g.process()
	if p == nil {
		return
	}
	if reply := p.tellForged(other, claim, key); reply != nil && reply.GetRefused() == nil {
		w.t.Errorf("seed %d: a second claim of epoch %d was answered with %v", w.seed, f.lie.epoch, reply)
	}
}

// forge makes a claim with another root, and announces the key that signs it.
func (g *gateway) forge(signer *statement.Signer, was *statement.Stated) (*crossingv1.Statement, *crossingv1.Announcement, error) {
	c := proto.CloneOf(was.Claim)
	c.Roots.Opened[0] ^= 1
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(c)
	if err != nil {
		return nil, nil, err
	}
	svid, err := g.source.GetX509SVID()
	if err != nil {
		return nil, nil, err
	}
	key, err := signer.Announce(g.id.String(), was.Chain.Run, certs.Certificate(svid).Certificate, svid.PrivateKey, time.Now().Add(g.ahead()))
	return signer.Claim(&crossingv1.Statement{Claim: data}), key, err
}

// tellForged says a claim to another gateway, and gives what it replies; nil if nothing.
func (p *process) tellForged(to *gateway, claim *crossingv1.Statement, key *crossingv1.Announcement) *crossingv1.Talk {
	ctx, cancel := context.WithTimeout(p.ctx, 10*time.Second)
	defer cancel()
	s, err := p.Open(ctx, to.id)
	if err != nil {
		return nil
	}
	defer s.Reset(0)
	defer context.AfterFunc(ctx, func() { s.Reset(0) })()
	if err := statement.WriteTalk(s, &crossingv1.Talk{Claimed: &crossingv1.Claimed{Statement: claim, Key: key}}); err != nil {
		return nil
	}
	reply, err := statement.ReadTalk(s)
	if err != nil {
		return nil
	}
	return reply
}

// lastStated is the last answered statement of a gateway's chains to another; nil if
// there is none.
func (c *control) lastStated(egress, ingress string) (last *statement.Stated) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for chain, k := range c.chains {
		if chain.Egress != egress || chain.Ingress != ingress {
			continue
		}
		for _, s := range k.statements {
			if s.Answer != nil && (last == nil || s.Answer.GetAt().AsTime().After(last.Answer.GetAt().AsTime())) {
				last = s
			}
		}
	}
	return last
}

// takeAll takes frames in as a gateway's own.
func (c *control) takeAll(g *gateway, run string, frames ...*crossingv1.Frame) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range frames {
		f.Gateway, f.Run = g.id.String(), run
		data, err := crossing.MarshalFrame(f)
		if err == nil {
			err = c.add(g, data)
		}
		if err != nil {
			return fmt.Errorf("frame of %s: %w", g.name, err)
		}
	}
	return nil
}

// lies is how many epochs were claimed twice.
func (w *world) lies() (n int) {
	for _, f := range w.faults {
		if f.lie != nil {
			n++
		}
	}
	return n
}

// lied says that a gateway has signed a second claim of that epoch.
func (o *oracle) lied(chain statement.Chain, epoch uint64) bool {
	for _, f := range o.faults {
		if f.lie != nil && f.lie.chain == chain && f.lie.epoch == epoch {
			return true
		}
	}
	return false
}

// judgeLies: each second claim is found, by chain and epoch.
func (o *oracle) judgeLies() {
	for _, f := range o.faults {
		if f.lie == nil {
			continue
		}
		found := false
		for _, is := range o.control.findings {
			found = found || is.fault == statement.Forked && is.chain == f.lie.chain && is.epoch == f.lie.epoch
		}
		if !found {
			o.fault("epoch %d of %.8s %s>%s was claimed twice, and nobody names it",
				f.lie.epoch, f.lie.chain.Run, short(f.lie.chain.Egress), short(f.lie.chain.Ingress))
		}
	}
}

// soon is how many epochs after the one that claims a number a difference may be named
// at most: an end may be put off once.
const soon = 1

// judgePromptness: what is harmed is named in the epoch that claims it, or in the next.
// Of a number that was reused nobody knows when, but by its second crossing.
func (o *oracle) judgePromptness() {
	for _, x := range o.crossed {
		if !x.touched || x.plan.harm == reused || o.shaken(x) || !o.reached(x) {
			continue
		}
		at := place{x.chain, x.number}
		opened, ended := o.control.claimedIn(at)
		for _, kinds := range must[x.plan.harm] {
			from := opened
			if kinds[0] == crossingv1.Difference_ENDED_OTHERWISE.String() {
				from = ended
			}
			if n, is := o.names.first(at, kinds...); is && n.epoch > from+soon {
				o.fault("%s: %s, and epoch %d has claimed it", x, n, from)
			}
		}
	}
}

// claimedIn are the first epochs that claim the opening and the end of a number; 0 of
// what none does. The caller holds mu.
func (c *control) claimedIn(at place) (opened, ended uint64) {
	k := c.chains[at.chain]
	if k == nil {
		return 0, 0
	}
	for _, s := range k.epochs() {
		if opened == 0 && s.Claim.GetFirst() <= at.number && at.number < s.Claim.GetNext() {
			opened = s.Claim.GetEpoch()
		}
		for _, n := range s.Closed() {
			if ended == 0 && n == at.number {
				ended = s.Claim.GetEpoch()
			}
		}
	}
	return opened, ended
}

// first is the first name of that kind that a number has; false if it has none.
func (n names) first(at place, what ...string) (first name, is bool) {
	for _, w := range what {
		for _, other := range n[at] {
			if other.what == w && (!is || other.epoch < first.epoch) {
				first, is = other, true
			}
		}
	}
	return first, is
}
