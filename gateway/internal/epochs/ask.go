package epochs

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/protobuf/proto"

	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	"github.com/sallyport-mesh/sallyport/gateway/statement"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// errLater says that the peer cannot answer now.
var errLater = errors.New("the peer wants to be asked later")

// ask has a claim answered by the ingress gateway, and takes the answer into the
// books.
func (k *Keeper) ask(ctx context.Context, c *outgoing, claim *crossingv1.Statement) error {
	key, err := k.keys.announcement(claim.GetEgress())
	if err != nil { // it is of an earlier run, and was trimmed
		claim = k.keys.signer.Claim(claim)
		if key, err = k.keys.announcement(claim.GetEgress()); err != nil {
			return err
		}
	}
	return k.speak(ctx, c.peer, func(ctx context.Context, s tunnel.Stream) error {
		return heard(ctx, k.converse(c, s, claim, key))
	})
}

// speak opens a stream to a peer, for as long as an exchange may take, and ends it in
// order when something was said.
func (k *Keeper) speak(ctx context.Context, peer spiffeid.ID, say func(ctx context.Context, s tunnel.Stream) error) error {
	ctx, cancel := context.WithTimeout(ctx, k.cfg.Exchange)
	defer cancel()
	s, err := k.cfg.Peers.Open(ctx, peer)
	if err != nil {
		return err
	}
	defer s.Reset(tunnel.CallerGone) // nothing, if it ended in order
	defer context.AfterFunc(ctx, func() { s.Reset(tunnel.CallerGone) })()
	if err := say(ctx, s); err != nil {
		return err
	}
	return ending(s)
}

// ending ends a stream in order.
func ending(s tunnel.Stream) error {
	if err := s.CloseWrite(); err != nil {
		return nil //nolint:nilerr // everything was said that there was to say
	}
	if n, _ := s.Read(make([]byte, 1)); n > 0 {
		s.Reset(tunnel.ProtocolError)
	}
	return nil
}

// converse says a claim, answers what is asked about it, and takes the answer.
func (k *Keeper) converse(c *outgoing, l io.ReadWriter, claim *crossingv1.Statement, key *crossingv1.Announcement) error {
	if err := statement.WriteTalk(l, &crossingv1.Talk{Claimed: &crossingv1.Claimed{Statement: claim, Key: key}}); err != nil {
		return err
	}
	for turn := uint32(1); ; turn++ {
		t, err := hear(l)
		if err != nil {
			return err
		}
		switch {
		case t.GetAnswered() != nil:
			return k.answered(c, claim, t.GetAnswered())
		case t.GetRefused() != nil:
			return k.refused(c, t.GetRefused())
		case t.GetAsk() == nil:
			return faulty(malformed, errors.New("a claim was answered with something else"))
		case turn > statement.MaxAsks:
			return faulty(tooMuch, fmt.Errorf("it asks more than %d times about one claim", statement.MaxAsks))
		}
		told, err := c.book.Tell(turn, t.GetAsk(), k.recorder.Frame)
		if err != nil {
			return faulty(malformed, fmt.Errorf("answer a question: %w", err))
		}
		if err := statement.WriteTalk(l, &crossingv1.Talk{Told: told}); err != nil {
			return err
		}
	}
}

// answered takes an answer into the books, and the whole statement into the spool.
func (k *Keeper) answered(c *outgoing, claim *crossingv1.Statement, a *crossingv1.Answered) error {
	key, err := k.keys.of(c.peer, a.GetKey())
	if err != nil {
		return err
	}
	stated, err := c.book.Check(a.GetStatement(), key)
	if err != nil {
		return faulty(unsound, fmt.Errorf("answer to a claim: %w", err))
	}
	whole := proto.CloneOf(claim)
	whole.Answer, whole.Ingress = a.GetStatement().GetAnswer(), a.GetStatement().GetIngress()
	if err := k.recorder.Say(&crossingv1.Frame{Statement: whole}, false); err != nil {
		return fmt.Errorf("spool statement: %w", err)
	}
	c.book.Answered(stated)
	k.peerOf(c.peer).hears(k.cfg.Now())
	k.count(crossingv1.Side_EGRESS, stated)
	return nil
}

// count counts a whole statement.
func (k *Keeper) count(side crossingv1.Side, s *statement.Stated) {
	k.cfg.Meter.Stated(side, false)
	for _, d := range s.Answer.GetDifferences() {
		k.cfg.Meter.Differed(d.GetKind(), len(d.GetNumbers()))
	}
}

// refused takes a refusal: one that shows a later claim of this gateway's own says
// where to go on.
func (k *Keeper) refused(c *outgoing, r *crossingv1.Refused) error {
	switch r.GetCode() {
	case crossingv1.Refused_LATER:
		return errLater
	case crossingv1.Refused_BEHIND:
		key, err := k.keys.ofOwn(r.GetLast().GetEgress())
		if err != nil { // it may be lost too; who shows it cannot have made it
			key, err = k.keys.of(k.cfg.Self, r.GetKey())
		}
		if err == nil {
			err = c.book.Adopt(r.GetLast(), key)
		}
		if err == nil {
			c.claimAgain() // that it has resumed is to be said
		}
		return faulty(diverges, err)
	}
	return faulty(refusedByPeer, fmt.Errorf("claim refused: %.200q", r.GetWhy()))
}
