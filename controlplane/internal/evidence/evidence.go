// Package evidence makes the proof that a crossing was recorded: its frames, the way from
// each to the statement that both gateways have signed, and from that to a signed
// checkpoint of an environment's log. Who has it needs nothing else but public keys.
//
// The one invariant: it gives out no proof that does not hold by what is stored. It
// computes every root again, and says of which it does not come to.
package evidence

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	tlogproof "github.com/transparency-dev/formats/proof"
	"google.golang.org/protobuf/proto"

	"github.com/sallyport-mesh/sallyport/controlplane/internal/translog"
	"github.com/sallyport-mesh/sallyport/gateway/statement"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
	logv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/log/v1"
)

// ErrNotYet is of a crossing that no statement covers yet, or no checkpoint. The next one
// is due within seconds.
var ErrNotYet = errors.New("it is not proven yet")

// Frames are all frames as gateways delivered them.
type Frames interface {
	// Replay calls each with every batch that came at that time or later, oldest first.
	Replay(ctx context.Context, since time.Time, each func(gateway string, at time.Time, frames [][]byte) error) error
}

// Config is what proofs are made from.
type Config struct {
	// Frames as above.
	Frames Frames
	// Log is the log that has what a gateway states; nil if there is none.
	Log func(gateway string) *translog.Reader
}

// Crossing is one that is to be proven.
type Crossing struct {
	// Key is its place in the numbering.
	Key *crossingv1.Key
	// Side whose frames are shown.
	Side crossingv1.Side
	// Both has the other gateway's frames shown too.
	Both bool
	// Opened is when, by any of the gateways' clocks.
	Opened time.Time
}

const (
	// early is how much before a crossing opened frames are looked for that may be in a
	// list with its own. If that does not suffice, all are looked through.
	early = 10 * time.Minute
)

// Prove gives the proof of a crossing, as a C2SP tlog-proof whose extra data is an
// sallyport.log.v1.Evidence.
func (c Config) Prove(ctx context.Context, x Crossing) ([]byte, error) {
	text, err := c.prove(ctx, x, x.Opened.Add(-early))
	if err != nil && !errors.Is(err, ErrNotYet) {
		text, err = c.prove(ctx, x, time.Time{})
	}
	if err != nil {
		return nil, fmt.Errorf("prove number %d of %s: %w", x.Key.GetSequence(), statement.ChainOf(x.Key), err)
	}
	return text, nil
}

func (c Config) prove(ctx context.Context, x Crossing, since time.Time) ([]byte, error) {
	g, err := gather(ctx, c.Frames, since, statement.ChainOf(x.Key))
	if err != nil {
		return nil, err
	}
	members, err := g.members(x)
	if err != nil {
		return nil, err
	}
	for _, gateway := range []string{x.Key.GetEgress(), x.Key.GetIngress()} {
		log := c.Log(gateway)
		if log == nil {
			continue
		}
		var text []byte
		if text, err = anchor(ctx, log, gateway, members, since); err == nil {
			return text, nil
		}
	}
	return nil, cmpError(err, errors.New("neither gateway's environment has a log"))
}

func cmpError(err, other error) error {
	if err != nil {
		return err
	}
	return other
}

// member is a frame with its way to the root of a statement's list.
type member struct {
	frame []byte
	of    *stated
	path  []statement.Hash
}

// members are the crossing's frames that statements cover, the openings first.
func (g *gathered) members(x Crossing) (all []member, err error) {
	sides := []crossingv1.Side{x.Side}
	if x.Both && x.Key.GetIngress() != "" {
		sides = []crossingv1.Side{crossingv1.Side_EGRESS, crossingv1.Side_INGRESS}
	}
	for _, piece := range []piece{opening, end} {
		of := g.covering(piece, x.Key.GetSequence())
		if of == nil {
			continue
		}
		for _, side := range sides {
			m, err := g.member(of, side, piece, x.Key.GetSequence())
			if err != nil {
				return nil, err
			}
			if m != nil {
				all = append(all, *m)
			}
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%w: no statement covers it", ErrNotYet)
	}
	return all, nil
}

// anchor finds the statements of members in a gateway's log, and puts all together.
func anchor(ctx context.Context, log *translog.Reader, gateway string, members []member, since time.Time) ([]byte, error) {
	c, err := log.Checkpoint(ctx)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: the log %s has no checkpoint", ErrNotYet, log.Origin())
	}
	if err != nil {
		return nil, err
	}
	last := members[len(members)-1].of
	p := tlogproof.TLogProof{Checkpoint: c.Note}
	e := &logv1.Evidence{}
	if p.Index, e.Entry, err = find(ctx, log, c.Size, last.frames[gateway], since); err != nil {
		return nil, err
	}
	path, err := log.Inclusion(ctx, p.Index, c.Size)
	if err != nil {
		return nil, err
	}
	for _, h := range path {
		p.Hashes = append(p.Hashes, [32]byte(h))
	}
	for _, m := range members {
		shown := &logv1.Member{Frame: m.frame, Path: flat(m.path)}
		if m.of != last {
			if shown.Statement, err = earlier(ctx, log, c.Size, e, m.of.frames[gateway], since); err != nil {
				return nil, err
			}
		}
		e.Members = append(e.Members, shown)
	}
	if p.ExtraData, err = (proto.MarshalOptions{Deterministic: true}).Marshal(e); err != nil {
		return nil, err
	}
	return p.Marshal(), nil
}

// earlier has an entry among the earlier ones, and gives its place there from 1.
func earlier(ctx context.Context, log *translog.Reader, size uint64, e *logv1.Evidence, frame []byte, since time.Time) (uint32, error) {
	index, entry, err := find(ctx, log, size, frame, since)
	if err != nil {
		return 0, err
	}
	for i, other := range e.GetEarlier() {
		if other.GetIndex() == index {
			return uint32(i) + 1, nil //nolint:gosec // there are as many as statements that cover a crossing
		}
	}
	path, err := log.Inclusion(ctx, index, size)
	if err != nil {
		return 0, err
	}
	e.Earlier = append(e.Earlier, &logv1.Earlier{Index: index, Path: slices.Concat(path...), Entry: entry})
	return uint32(len(e.GetEarlier())), nil //nolint:gosec // as above
}

// find finds the entry of a log that has a frame.
func find(ctx context.Context, log *translog.Reader, size uint64, frame []byte, since time.Time) (uint64, []byte, error) {
	if frame == nil {
		return 0, nil, fmt.Errorf("%w: the gateway has not delivered the statement that covers it", ErrNotYet)
	}
	index, data, found, err := log.Find(ctx, size, since, func(e *logv1.Entry) bool { return bytes.Equal(e.GetFrame(), frame) })
	if err == nil && !found {
		err = fmt.Errorf("%w: no checkpoint of the log %s has the statement that covers it", ErrNotYet, log.Origin())
	}
	return index, data, err
}

func flat(path []statement.Hash) (all []byte) {
	for _, h := range path {
		all = append(all, h[:]...)
	}
	return all
}
