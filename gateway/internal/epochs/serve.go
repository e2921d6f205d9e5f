package epochs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	"github.com/sallyport-mesh/sallyport/gateway/statement"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// Serve hears what a peer says of its chains, in a stream of kind STATEMENTS, and
// answers. It returns when the stream is over.
func (k *Keeper) Serve(ctx context.Context, from tunnel.Info, s tunnel.Stream) {
	ctx, cancel := context.WithTimeout(ctx, k.cfg.Exchange)
	defer cancel()
	defer context.AfterFunc(ctx, func() { s.Reset(tunnel.ProtocolError) })()
	p := k.peerOf(from.Peer)
	defer p.streams.Add(-1)
	err := faulty(tooMuch, fmt.Errorf("it speaks in more than %d streams at a time", maxStreams))
	if p.streams.Add(1) <= maxStreams {
		err = heard(ctx, k.listen(ctx, from, s))
	}
	if err == nil {
		err = ending(s)
	}
	if err != nil {
		k.refuse(from.Peer, err)
		s.Reset(tunnel.ProtocolError)
	}
}

// listen hears one thing, and answers.
func (k *Keeper) listen(ctx context.Context, from tunnel.Info, s tunnel.Stream) error {
	t, err := hear(s)
	switch {
	case err != nil:
		return err
	case t.GetBeat() != nil:
		return k.beaten(from, t.GetBeat())
	case t.GetClaimed() != nil:
		return k.claimed(ctx, from, s, t.GetClaimed())
	}
	return faulty(malformed, errors.New("it begins with an answer"))
}

// errNotHere has a peer ask again: there may be two processes of a gateway for a while,
// and one answers.
var errNotHere = &statement.RefusedError{Code: crossingv1.Refused_LATER, Why: "another process answers"}

// claimed answers a claim, if it is one.
func (k *Keeper) claimed(ctx context.Context, from tunnel.Info, s tunnel.Stream, said *crossingv1.Claimed) error {
	if !k.answers.Load() || !k.keys.ready() {
		return decline(s, errNotHere)
	}
	stated, key, err := k.verify(from, said)
	if err != nil {
		decline(s, &statement.RefusedError{Why: reasonOf(err)}) //nolint:errcheck // it is refused either way
		return err
	}
	c := k.incomingOf(stated.Chain)
	if c == nil {
		return faulty(tooMuch, fmt.Errorf("it counts more than %d chains", maxChains))
	}
	k.peerOf(from.Peer).hears(k.cfg.Now())
	c.spoken(k.cfg.Now().UnixNano())
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if k.beside.Load() { // what it has answered is known first
		if err := k.recorder.Follow(); err != nil {
			return err
		}
	}
	err = k.review(ctx, from, c, s, said.GetStatement(), key)
	if why, is := errors.AsType[*statement.RefusedError](err); is {
		if err := c.decline(s, why); err != nil || why.Code == crossingv1.Refused_LATER {
			return err
		}
		k.refuse(from.Peer, faulty(refusalOf(why), why))
		return nil
	}
	if err == nil {
		c.key = said.GetKey()
	}
	return err
}

// verify holds that a claim is the peer's, and on what it sent here.
func (k *Keeper) verify(from tunnel.Info, said *crossingv1.Claimed) (*statement.Stated, *statement.Key, error) {
	stated, err := statement.Read(said.GetStatement())
	if err != nil {
		return nil, nil, faulty(malformed, err)
	}
	if c := stated.Chain; c.Egress != from.Peer.String() || c.Ingress != k.cfg.Self.String() {
		return nil, nil, faulty(strange, fmt.Errorf("claim on what %q sent to %q", c.Egress, c.Ingress))
	}
	key, err := k.keys.of(from.Peer, said.GetKey())
	if err != nil {
		return nil, nil, err
	}
	if err := stated.VerifyEgress(key); err != nil {
		return nil, nil, faulty(unsigned, fmt.Errorf("claim: %w", err))
	}
	return stated, key, nil
}

// review answers a claim, and asks where the two accounts do not say the same.
func (k *Keeper) review(ctx context.Context, from tunnel.Info, c *incoming, s tunnel.Stream, claim *crossingv1.Statement, key *statement.Key) error {
	means := statement.Means{
		Run: k.run, Policy: k.policy(), Signer: k.keys.signer, Frames: k.recorder.Frame, Offset: from.ClockOffset,
	}
	r, err := c.book.Review(claim, key, means, k.cfg.Now())
	if err != nil {
		return err
	}
	defer r.Drop()
	for err == nil {
		var step statement.Step
		step, err = r.Step(k.cfg.Now())
		switch {
		case err != nil:
		case step.Answer != nil:
			return k.answer(s, r, step.Answer)
		case step.Ask != nil:
			err = inquire(s, r, step.Ask)
		default:
			err = await(ctx, r.Ready(), step.Wait.Sub(k.cfg.Now()))
		}
	}
	return err
}

// inquire asks the egress gateway. What is no answer to that question ends the exchange.
func inquire(s tunnel.Stream, r *statement.Review, a *crossingv1.Ask) error {
	if err := statement.WriteTalk(s, &crossingv1.Talk{Ask: a}); err != nil {
		return err
	}
	t, err := hear(s)
	if err != nil {
		return err
	}
	if t.GetTold() == nil {
		return faulty(malformed, errors.New("a question was answered with something else"))
	}
	return faulty(malformed, r.Told(t.GetTold()))
}

// await waits until something is ready, for as long as may be.
func await(ctx context.Context, ready <-chan struct{}, most time.Duration) error {
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case <-ready:
	case <-timer.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// answer spools an answer, takes it into the books and gives it.
func (k *Keeper) answer(s tunnel.Stream, r *statement.Review, whole *crossingv1.Statement) error {
	key, err := k.keys.announcement(whole.GetIngress())
	if err != nil { // it is of an earlier run, and was trimmed
		whole = k.keys.signer.Answer(whole)
		if key, err = k.keys.announcement(whole.GetIngress()); err != nil {
			return err
		}
	}
	if r.Again() {
		r.Commit()
	} else if err := k.enter(r, whole); err != nil {
		return err
	}
	return statement.WriteTalk(s, &crossingv1.Talk{Answered: &crossingv1.Answered{Statement: whole, Key: key}})
}

// enter spools an answer on stable storage, and takes it into the books.
func (k *Keeper) enter(r *statement.Review, whole *crossingv1.Statement) error {
	stated, err := statement.Read(whole)
	if err != nil {
		return fmt.Errorf("own answer: %w", err)
	}
	if !k.answers.Load() {
		return errNotHere
	}
	if err := k.recorder.Say(&crossingv1.Frame{Statement: whole}, true); err != nil {
		return fmt.Errorf("spool answer: %w", err)
	}
	r.Commit()
	k.count(crossingv1.Side_INGRESS, stated)
	return nil
}

// decline says why a claim is not answered.
func decline(s tunnel.Stream, why *statement.RefusedError) error {
	return statement.WriteTalk(s, &crossingv1.Talk{Refused: why.Message()})
}

// decline is decline with what the peer is to verify its last claim by, if it has lost
// that too.
func (c *incoming) decline(s tunnel.Stream, why *statement.RefusedError) error {
	m := why.Message()
	if m.GetLast() != nil {
		m.Key = c.key
	}
	return statement.WriteTalk(s, &crossingv1.Talk{Refused: m})
}
