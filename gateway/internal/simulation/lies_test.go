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

// lie is a second claim of an epoch that was stated, or a second answer to its claim,
// with another root.
type lie struct {
	chain   statement.Chain
	epoch   uint64
	refused bool // by the other gateway, which was told it
}

// fork has a gateway sign a second claim of the last epoch that it and another have
// stated, with a key of its own, or has the other one sign a second answer to it. The
// control plane is given that, and a claim is told the other gateway, which is to refuse it.
func (w *world) fork(f *fault, g, other *gateway) {
	was := w.control.lastStated(g.id.String(), other.id.String())
	if was == nil {
		return
	}
	liar, forge := g, forgeClaim
	if f.answer {
		liar, forge = other, forgeAnswer
	}
	second, key, err := forge(liar, was)
	if err != nil {
		w.t.Errorf("seed %d: forge: %v", w.seed, err)
		return
	}
	if err := w.control.takeAll(liar, was.Chain.Run, &crossingv1.Frame{Announcement: key}, &crossingv1.Frame{Statement: second}); err != nil {
		w.t.Errorf("seed %d: what is forged is not taken: %v", w.seed, err)
	}
	f.lie = &lie{chain: was.Chain, epoch: was.Claim.GetEpoch()}
	p := g.process()
	if f.answer || p == nil {
		return
	}
	reply := p.tellForged(other, second, key)
	if f.lie.refused = reply.GetRefused() != nil; reply != nil && !f.lie.refused {
		w.t.Errorf("seed %d: a second claim of epoch %d was answered with %v", w.seed, f.lie.epoch, reply)
	}
}

// forgeClaim makes a claim with another root, and announces the key that signs it.
func forgeClaim(g *gateway, was *statement.Stated) (*crossingv1.Statement, *crossingv1.Announcement, error) {
	c := proto.CloneOf(was.Claim)
	c.Roots.Opened[0] ^= 1
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(c)
	if err != nil {
		return nil, nil, err
	}
	signer, key, err := g.liar(was.Chain.Run)
	if err != nil {
		return nil, nil, err
	}
	return signer.Claim(&crossingv1.Statement{Claim: data}), key, nil
}

// forgeAnswer makes an answer with another root, and announces the key that signs it.
func forgeAnswer(g *gateway, was *statement.Stated) (*crossingv1.Statement, *crossingv1.Announcement, error) {
	a := proto.CloneOf(was.Answer)
	a.Roots.Opened[0] ^= 1
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(a)
	if err != nil {
		return nil, nil, err
	}
	signer, key, err := g.liar(a.GetRun())
	if err != nil {
		return nil, nil, err
	}
	second := proto.CloneOf(was.Statement)
	second.Answer = data
	return signer.Answer(second), key, nil
}

// liar is a second statement key of a gateway's run.
func (g *gateway) liar(run string) (*statement.Signer, *crossingv1.Announcement, error) {
	svid, err := g.source.GetX509SVID()
	if err != nil {
		return nil, nil, err
	}
	signer := statement.NewSigner()
	key, err := signer.Announce(g.id.String(), run, certs.Certificate(svid).Certificate, svid.PrivateKey, time.Now().Add(g.ahead()))
	return signer, key, err
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

// lies is how many epochs were claimed twice or answered twice, and how many of those
// claims were refused.
func (w *world) lies() (claims, answers, refused int) {
	for _, f := range w.faults {
		switch {
		case f.lie == nil:
		case f.answer:
			answers++
		default:
			claims++
			if f.lie.refused {
				refused++
			}
		}
	}
	return claims, answers, refused
}

// lied says that a gateway has signed a second claim of that epoch, or a second answer.
func (o *oracle) lied(chain statement.Chain, epoch uint64) bool {
	for _, f := range o.faults {
		if f.lie != nil && f.lie.chain == chain && f.lie.epoch == epoch {
			return true
		}
	}
	return false
}

// judgeLies: each second claim and answer is found, by chain and epoch, and a claim is
// refused by who hears it.
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
			o.fault("%s was claimed or answered twice, and nobody names it", f.lie)
		}
		if !f.answer && !f.lie.refused && !o.disturbed(f.lie.chain, f.began, f.ended) && !o.harmedTalk(f.lie.chain) {
			o.fault("%s was claimed twice, and the other gateway did not refuse it", f.lie)
		}
	}
}

func (l *lie) String() string {
	return fmt.Sprintf("epoch %d of %.8s %s>%s", l.epoch, l.chain.Run, short(l.chain.Egress), short(l.chain.Ingress))
}
