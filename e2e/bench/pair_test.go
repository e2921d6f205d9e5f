//go:build linux

package bench

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/statement"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// fault is what became otherwise of a crossing at the ingress gateway.
type fault int

const (
	none fault = iota
	unseen
	openedOtherwise
	endedOtherwise
)

// side is one of two gateways that state what crosses between them, without a spool:
// a frame is made again whenever it is asked for.
type side struct {
	gateway, run string
	signer       *statement.Signer
	key          *statement.Key
	encoder      *crossing.Encoder
	half         *crossingv1.Half  // of the crossing of now
	end          *crossingv1.Close // likewise
	room         []byte
}

// pairOfSides is two gateways and the chain of one to the other.
type pairOfSides struct {
	near, far *side
	egress    *statement.Egress
	ingress   *statement.Ingress
	now       time.Time
	ids       []string // of crossings: number n has the one before it
	faults    map[uint64]fault
	digests   int // that were told or claimed
	named     map[uint64]crossingv1.Difference_Kind
}

func newPairOfSides(crossings int) (*pairOfSides, error) {
	const nearID, farID = "spiffe://near.example/sallyport/gateway/near-1", "spiffe://far.example/sallyport/gateway/far-1"
	p := &pairOfSides{now: time.Now(), ids: make([]string, crossings), faults: map[uint64]fault{}, named: map[uint64]crossingv1.Difference_Kind{}}
	for n := range p.ids {
		p.ids[n] = crossing.NewID(p.now)
	}
	run := crossing.NewRun()
	chain := statement.Chain{Egress: nearID, Ingress: farID, Run: run}
	p.egress, p.ingress = statement.NewEgress(chain, p.now), statement.NewIngress(chain)
	var err error
	if p.near, err = newSide(nearID, run, crossingv1.Side_EGRESS, chain); err != nil {
		return nil, err
	}
	p.far, err = newSide(farID, crossing.NewRun(), crossingv1.Side_INGRESS, chain)
	return p, err
}

// newSide has a call to a model as its crossing.
func newSide(gateway, run string, of crossingv1.Side, c statement.Chain) (*side, error) {
	s := &side{gateway: gateway, run: run, signer: statement.NewSigner()}
	s.key = s.signer.Key(gateway, run)
	key := &crossingv1.Key{Egress: c.Egress, Ingress: c.Ingress, Run: c.Run}
	const tls = "TLS 1.3 X25519MLKEM768 TLS_AES_128_GCM_SHA256"
	digest := "sha256:" + hex.EncodeToString(make([]byte, 32))
	s.half = &crossingv1.Half{
		Key: key, Side: of, Source: "spiffe://near.example/ai/orchestrator", Destination: "spiffe://far.example/ai/llm",
		Transition: &crossingv1.Transition{From: "near", To: "far", Owner: "ml-platform", Sink: "records"},
		Trace:      "4bf92f3577b34da6a3ce929d0e0e4736", Span: "00f067aa0ba902b7",
		Operation: &crossingv1.Operation{Protocol: "openai", Name: "POST /v1/chat/completions", Service: "chat", Authority: "llm.far.mesh:8000"},
		End: &crossingv1.End{
			Gateway: gateway, Decision: crossingv1.Decision_ALLOW, Policy: &crossingv1.PolicyRef{Serial: 41, Revision: digest}, Intent: "plan-with-the-llm",
			Peer:        &crossingv1.Peer{Attach: crossingv1.Attach_MTLS, Svid: digest, Tls: tls, Address: "10.1.0.7:40312"},
			ContentSeen: true, Open: timestamppb.Now(),
		},
		Tunnel: &crossingv1.Tunnel{Carrier: "TCP", Tls: tls, RoundTrip: durationpb.New(24 * time.Millisecond)},
	}
	s.end = &crossingv1.Close{
		Key: key, Side: of, Duration: durationpb.New(1904 * time.Millisecond), FirstByte: durationpb.New(213 * time.Millisecond),
		RequestBytes: 2210, ResponseBytes: 9433, Status: 200, Streamed: true, Cause: crossingv1.Cause_DONE,
	}
	var err error
	s.encoder, err = crossing.NewEncoder(gateway, run)
	return s, err
}

// is makes a number, with its fault, the crossing of now.
func (s *side) is(n uint64, id string, f fault) {
	s.half.Id, s.end.Id = id, id
	s.half.Key.Sequence, s.end.Key.Sequence = n, n
	s.half.Transition.Owner, s.end.ResponseBytes = "ml-platform", 9433
	switch f {
	case openedOtherwise:
		s.half.Transition.Owner = "nobody"
	case endedOtherwise:
		s.end.ResponseBytes = 1
	}
}

// Where a frame is says which it is: twice its number, and one more for an end.
func placeOf(n uint64, end bool) uint64 {
	if end {
		return 2*n + 1
	}
	return 2 * n
}

// opening and ending are the frames of the crossing of now, until the next is asked for.
func (s *side) opening() ([]byte, error) { return s.keep(s.encoder.AppendOpen(s.room[:0], s.half)) }
func (s *side) ending() ([]byte, error)  { return s.keep(s.encoder.AppendClose(s.room[:0], s.end)) }

func (s *side) keep(frame []byte, err error) ([]byte, error) {
	s.room = frame
	return frame, err
}

// frames reads the frames of a side, which has the faults if they are its own.
func (p *pairOfSides) frames(s *side) statement.Frames {
	return func(at uint64) ([]byte, error) {
		n, f := at/2, none
		if s == p.far {
			f = p.faults[n]
		}
		copied := *s
		copied.half, copied.end, copied.room = proto.CloneOf(s.half), proto.CloneOf(s.end), nil
		copied.is(n, p.ids[n-1], f)
		if at%2 == 1 {
			return copied.ending()
		}
		return copied.opening()
	}
}

// state states what has crossed, through what the tunnel would carry.
func (p *pairOfSides) state() error {
	p.now = p.now.Add(statement.Epoch)
	ref := p.near.half.GetEnd().GetPolicy()
	claim := p.egress.Cut(statement.Facts{Now: p.now, Policy: ref}, p.near.signer)
	if claim == nil {
		return errors.New("nothing to claim")
	}
	said, err := carry(&crossingv1.Talk{Claimed: &crossingv1.Claimed{Statement: claim}})
	if err != nil {
		return err
	}
	p.digests += 2 // of what was opened, and of what was closed
	means := statement.Means{Run: p.far.run, Policy: ref, Signer: p.far.signer, Frames: p.frames(p.far)}
	review, err := p.ingress.Review(said.GetClaimed().GetStatement(), p.near.key, means, p.now)
	if err != nil {
		return err
	}
	defer review.Drop()
	answer, err := p.review(review)
	if err != nil {
		return err
	}
	said, err = carry(&crossingv1.Talk{Answered: &crossingv1.Answered{Statement: answer}})
	if err != nil {
		return err
	}
	stated, err := p.egress.Check(said.GetAnswered().GetStatement(), p.far.key)
	if err != nil {
		return err
	}
	p.egress.Answered(stated)
	p.egress.Stated()
	for _, d := range stated.Answer.GetDifferences() {
		for _, n := range statement.Numbers(d) {
			p.named[n] = d.GetKind()
		}
	}
	return nil
}

// review goes on until there is an answer.
func (p *pairOfSides) review(r *statement.Review) (*crossingv1.Statement, error) {
	for {
		step, err := r.Step(p.now)
		switch {
		case err != nil:
			return nil, err
		case step.Answer != nil:
			r.Commit()
			p.ingress.Stated()
			return step.Answer, nil
		case step.Ask == nil:
			p.now = step.Wait
			continue
		}
		told, err := p.egress.Tell(step.Ask.GetTurn(), step.Ask, p.frames(p.near))
		if err != nil {
			return nil, err
		}
		p.digests += len(told.GetDigests())
		if err := r.Told(told); err != nil {
			return nil, err
		}
	}
}

// carry is what is read of what was said.
func carry(t *crossingv1.Talk) (*crossingv1.Talk, error) {
	var tunnel bytes.Buffer
	if err := statement.WriteTalk(&tunnel, t); err != nil {
		return nil, err
	}
	return statement.ReadTalk(&tunnel)
}

// cross is a crossing that both gateways account for, with the frames that they have
// of it: opened and ended at egress, opened and ended at ingress. It says whether a claim
// is due.
func (p *pairOfSides) cross(f fault, frames [4][]byte) (due bool, err error) {
	n := p.egress.Next()
	id := p.ids[n-1]
	p.near.is(n, id, none)
	p.far.is(n, id, f)
	if f == endedOtherwise || f == openedOtherwise || f == unseen {
		p.faults[n] = f
	}
	due = p.egress.Opened(p.near.half, frames[0], placeOf(n, false))
	if f != unseen {
		if !p.ingress.Take(n) {
			return false, fmt.Errorf("number %d is not taken", n)
		}
		p.ingress.Opened(p.far.half, frames[2], placeOf(n, false))
		p.ingress.Closed(p.far.end, frames[3], placeOf(n, true))
	}
	return p.egress.Closed(p.near.end, frames[1], placeOf(n, true)) || due, nil
}

// someFrames are frames as a crossing has them.
func (p *pairOfSides) someFrames() (frames [4][]byte, err error) {
	for i, s := range []*side{p.near, p.far} {
		s.is(1, p.ids[0], none)
		for j, encode := range []func() ([]byte, error){s.opening, s.ending} {
			frame, err := encode()
			if err != nil {
				return frames, err
			}
			frames[2*i+j] = slices.Clone(frame)
		}
	}
	return frames, nil
}
