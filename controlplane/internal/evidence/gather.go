package evidence

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/statement"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// piece is one of the two frames that a gateway has of a crossing.
type piece int

const (
	opening piece = iota
	end
)

func (p piece) String() string { return [...]string{"openings", "ends"}[p] }

// stated is a statement, and the frames with it as gateways have delivered it.
type stated struct {
	*statement.Stated

	frames map[string][]byte // by gateway
}

// gathered is what there is of a chain.
type gathered struct {
	chain      statement.Chain
	statements map[uint64]*stated      // by epoch
	frames     [2][2]map[uint64][]byte // by side and piece, by number
}

// gather gathers what there is of a chain, of what came at that time or later.
func gather(ctx context.Context, all Frames, since time.Time, chain statement.Chain) (*gathered, error) {
	g := &gathered{chain: chain, statements: map[uint64]*stated{}}
	for side := range g.frames {
		g.frames[side] = [2]map[uint64][]byte{{}, {}}
	}
	err := all.Replay(ctx, since, func(_ string, _ time.Time, frames [][]byte) error {
		for _, data := range frames {
			g.add(data)
		}
		return nil
	})
	return g, err
}

// add takes a frame, if it is of the chain. What cannot be read proves nothing.
func (g *gathered) add(data []byte) {
	if !bytes.Contains(data, []byte(g.chain.Run)) {
		return // most are of other runs
	}
	f, err := crossing.UnmarshalFrame(data)
	if err != nil {
		return
	}
	switch {
	case f.GetOpen() != nil:
		g.keep(f.GetOpen().GetKey(), f.GetOpen().GetSide(), opening, data)
	case f.GetClose() != nil:
		g.keep(f.GetClose().GetKey(), f.GetClose().GetSide(), end, data)
	case f.GetStatement() != nil:
		if s, err := statement.Read(f.GetStatement()); err == nil && s.Chain == g.chain {
			g.state(s, f.GetGateway(), data)
		}
	}
}

func (g *gathered) keep(k *crossingv1.Key, side crossingv1.Side, p piece, data []byte) {
	if statement.ChainOf(k) != g.chain {
		return
	}
	frames := g.frames[side-crossingv1.Side_EGRESS][p]
	if _, is := frames[k.GetSequence()]; !is { // what contradicts the first is refused
		frames[k.GetSequence()] = bytes.Clone(data)
	}
}

// state takes a statement: of an epoch, the one that was answered.
func (g *gathered) state(s *statement.Stated, gateway string, data []byte) {
	epoch := s.Claim.GetEpoch()
	was := g.statements[epoch]
	if was == nil || was.Answer == nil && s.Answer != nil {
		was = &stated{s, map[string][]byte{}}
		g.statements[epoch] = was
	}
	if was.ClaimHash == s.ClaimHash && was.AnswerHash == s.AnswerHash && was.frames[gateway] == nil {
		was.frames[gateway] = bytes.Clone(data)
	}
}

// covering is the statement that a number's opening is in, or its end; nil if none is.
func (g *gathered) covering(p piece, n uint64) (of *stated) {
	for _, s := range g.statements {
		covers := s.Claim.GetFirst() <= n && n < s.Claim.GetNext()
		if p == end {
			covers = slices.Contains(s.Closed(), n) && !slices.Contains(s.Deferred(), n)
		}
		if covers && (of == nil || s.Claim.GetEpoch() > of.Claim.GetEpoch()) {
			of = s
		}
	}
	return of
}

// member is a number's frame in a statement's list; nil if the statement says that the
// gateway has none. It fails where the frames that are stored do not come to the root.
func (g *gathered) member(of *stated, side crossingv1.Side, p piece, n uint64) (*member, error) {
	roots := of.Claim.GetRoots()
	if side == crossingv1.Side_INGRESS {
		roots = of.Answer.GetRoots()
	}
	if roots == nil {
		return nil, nil
	}
	numbers, want := of.Closed(), roots.GetClosed()
	if p == opening {
		numbers, want = rising(of.Claim.GetFirst(), of.Claim.GetNext()), roots.GetOpened()
	}
	frame, at := []byte(nil), 0
	leaves := make([]statement.Hash, len(numbers))
	for i, number := range numbers {
		var data []byte
		if !g.lacks(of, side, p, number) {
			data = g.frames[side-crossingv1.Side_EGRESS][p][number]
		}
		leaves[i] = statement.Leaf(data)
		if number == n {
			frame, at = data, i
		}
	}
	if root := statement.Root(leaves); !bytes.Equal(root[:], want) {
		return nil, fmt.Errorf("the %s that %s delivered do not come to what it stated in epoch %d: sallyport unmatched says which are missing",
			p, g.gateway(side), of.Claim.GetEpoch())
	}
	if frame == nil {
		return nil, nil
	}
	return &member{frame, of, statement.Path(leaves, at)}, nil
}

func rising(first, next uint64) []uint64 {
	all := make([]uint64, 0, next-first)
	for n := first; n < next; n++ {
		all = append(all, n)
	}
	return all
}

func (g *gathered) gateway(side crossingv1.Side) string {
	if side == crossingv1.Side_INGRESS {
		return g.chain.Ingress
	}
	return g.chain.Egress
}

// lacks says that by what is stated, the ingress gateway has no such frame of a number
// although one may have come later.
func (g *gathered) lacks(of *stated, side crossingv1.Side, p piece, n uint64) bool {
	if side != crossingv1.Side_INGRESS {
		return p == opening && slices.Contains(of.Voids(), n)
	}
	if p == end && slices.Contains(of.Deferred(), n) {
		return true
	}
	for epoch, s := range g.statements {
		if epoch > of.Claim.GetEpoch() || s.Answer == nil {
			continue
		}
		for _, d := range s.Answer.GetDifferences() {
			if named(d.GetKind(), p, epoch == of.Claim.GetEpoch()) && slices.Contains(statement.Numbers(d), n) {
				return true
			}
		}
	}
	return false
}

// named says that a difference means that there is no such frame: of this epoch, or of one
// before.
func named(k crossingv1.Difference_Kind, p piece, now bool) bool {
	switch k {
	case crossingv1.Difference_UNSEEN, crossingv1.Difference_UNRECORDED:
		return true
	case crossingv1.Difference_UNENDED:
		return p == end && now
	}
	return false
}
