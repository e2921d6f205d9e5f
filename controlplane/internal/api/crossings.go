package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/sallyport-mesh/sallyport/controlplane/internal/join"
	"github.com/sallyport-mesh/sallyport/controlplane/internal/records"
	"github.com/sallyport-mesh/sallyport/controlplane/internal/statements"
	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

const (
	// maxBatch bounds a batch in frames, so that its answer is bounded too: every
	// frame may be rejected in words. Gateways send 500 at most.
	maxBatch = 4096
	// maxWhy bounds the words of one rejection, in bytes.
	maxWhy = 512
)

// crossings serves CrossingService.
type crossings struct {
	controlv1.UnimplementedCrossingServiceServer

	config     Config
	policies   *policies
	charters   *charters
	rejections *rejections
	log        *zap.Logger
	// receivers are the goroutines that read from Deliver's streams.
	receivers sync.WaitGroup
}

// Deliver takes batches of frames from a gateway and acknowledges each when it
// is durable.
func (c *crossings) Deliver(stream grpc.BidiStreamingServer[controlv1.Batch, controlv1.Ack]) error {
	ctx := stream.Context()
	caller, err := Peer(ctx)
	if err != nil {
		return err
	}
	batches := c.receive(ctx, stream)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case r := <-batches:
			if errors.Is(r.err, io.EOF) {
				return nil
			}
			if r.err != nil {
				return r.err
			}
			ack, err := c.take(ctx, caller, r.batch)
			if err != nil {
				return err
			}
			if err := stream.Send(ack); err != nil {
				return err
			}
		}
	}
}

// received is what a stream's next read gave.
type received struct {
	batch *controlv1.Batch
	err   error
}

// receive reads a stream's batches, the next one while one is made durable. A
// read cannot be interrupted, but grpc ends it when the call's handler returns;
// Server.Wait waits for that.
func (c *crossings) receive(ctx context.Context, stream grpc.BidiStreamingServer[controlv1.Batch, controlv1.Ack]) <-chan received {
	batches := make(chan received)
	c.receivers.Go(func() {
		for {
			batch, err := stream.Recv()
			select {
			case batches <- received{batch, err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	})
	return batches
}

// take makes one batch durable and joins it. A frame that is refused does not
// keep the others out, or one bad frame would hold up a gateway's spool for ever.
func (c *crossings) take(ctx context.Context, caller spiffeid.ID, batch *controlv1.Batch) (*controlv1.Ack, error) {
	if p := c.policies.compiled(); p == nil || p.GatewayByID(caller) == nil {
		return nil, denied("%s is not a gateway of the policy in force", caller)
	}
	if n := len(batch.GetFrames()); n > maxBatch {
		return nil, invalid("the batch has %d frames, the most is %d", n, maxBatch)
	}
	ack := &controlv1.Ack{Through: batch.GetThrough()}
	accepted, err := c.check(ctx, caller, batch, ack)
	if err != nil {
		return nil, err
	}
	entries, accepted := c.entries(caller, batch, accepted, ack)
	if err := c.enter(ctx, caller, entries); err != nil {
		return nil, err
	}
	if err := c.append(ctx, caller, batch, accepted); err != nil {
		return nil, err
	}
	now := time.Now()
	for _, a := range accepted {
		err := c.config.Records.Add(a.frame)
		if err == nil {
			err = c.config.Statements.Add(a.frame, batch.GetFrames()[a.index], now)
		}
		if err != nil {
			reject(ack, a.index, caller, err)
		}
	}
	if len(ack.GetRejected()) > 0 {
		slices.SortFunc(ack.GetRejected(), func(a, b *controlv1.Rejection) int { return cmp.Compare(a.GetIndex(), b.GetIndex()) })
		c.rejections.add(caller, ack.GetRejected())
		c.log.Warn("frames rejected", zap.Stringer("gateway", caller),
			zap.Int("count", len(ack.GetRejected())), zap.String("first", ack.GetRejected()[0].GetWhy()))
	}
	return ack, nil
}

// checked is a frame that may be joined, and its place in its batch.
type checked struct {
	frame *crossingv1.Frame
	index int
}

// check sorts a batch's frames into those that it gives back and those that it
// rejects in ack. It fails where it cannot tell.
func (c *crossings) check(ctx context.Context, caller spiffeid.ID, batch *controlv1.Batch, ack *controlv1.Ack) ([]checked, error) {
	now := time.Now()
	accepted := make([]checked, 0, len(batch.GetFrames()))
	for i, data := range batch.GetFrames() {
		frame, err := crossing.UnmarshalFrame(data)
		if err == nil {
			err = crossing.CheckFrame(frame, caller)
		}
		if err == nil {
			err = statements.Check(frame, c.config.Trust, now)
		}
		if err == nil {
			var fault error
			if err, fault = c.charters.check(ctx, frame); fault != nil {
				return nil, fault
			}
		}
		if err != nil {
			reject(ack, i, caller, err)
			continue
		}
		accepted = append(accepted, checked{frame, i})
	}
	return accepted, nil
}

// reject tells a gateway why a frame of its own was refused. What a frame says
// may be in the words, so they are made text again and short.
func reject(ack *controlv1.Ack, index int, caller spiffeid.ID, why error) {
	words := clip(fmt.Sprintf("from %s: %v", caller, why), maxWhy)
	ack.Rejected = append(ack.Rejected, &controlv1.Rejection{Index: uint32(index), Why: words}) //nolint:gosec // at most maxBatch
}

func (c *crossings) append(ctx context.Context, caller spiffeid.ID, batch *controlv1.Batch, accepted []checked) error {
	if len(accepted) == 0 {
		return nil
	}
	frames := make([][]byte, len(accepted))
	for i, a := range accepted {
		frames[i] = batch.GetFrames()[a.index]
	}
	return c.config.Store.AppendFrames(ctx, caller.String(), frames)
}

// ListCrossings are the records that match, oldest first.
func (c *crossings) ListCrossings(req *controlv1.ListCrossingsRequest, stream grpc.ServerStreamingServer[crossingv1.Record]) error {
	if req.GetSince() != nil && req.GetUntil() != nil && req.GetUntil().AsTime().Before(req.GetSince().AsTime()) {
		return invalid("until is before since")
	}
	why := explanations{config: c.config}
	err := c.config.Records.List(stream.Context(), req, func(j records.Joined) error {
		return stream.Send(c.shown(j.Record, why.of(j.Record)))
	})
	if errors.Is(err, records.ErrInvalid) {
		return invalid("%v", err)
	}
	return err
}

// shown is a record with why it is unmatched, if it is, and with whether it has landed
// in its sink: what is shown comes from the store, so it has if the sink is the mesh's
// own store. No gateway says so, and records are shared: they are not changed.
func (c *crossings) shown(r *crossingv1.Record, cause string) *crossingv1.Record {
	landed := false
	if g := c.policies.current.Load(); g != nil {
		landed = g.source.GetSinks()[r.GetTransition().GetSink()].GetStore() != ""
	}
	if landed == r.GetTransition().GetDelivered() && cause == "" {
		return r
	}
	r = proto.CloneOf(r)
	if r.Transition != nil {
		r.Transition.Delivered = landed
	}
	r.Cause = cause
	return r
}

// ListRefusals are the failures before identity, oldest first.
func (c *crossings) ListRefusals(req *controlv1.ListRefusalsRequest, stream grpc.ServerStreamingServer[controlv1.GatewayRefusal]) error {
	since := req.GetSince().AsTime() // the epoch if absent
	for _, r := range c.config.Records.Refusals(since) {
		if err := stream.Send(r); err != nil {
			return err
		}
	}
	return nil
}

// ListTransitions are all ordered pairs of the policy's environments with what
// crossed them, and the pairs that only records still know.
func (c *crossings) ListTransitions(ctx context.Context, _ *controlv1.ListTransitionsRequest) (*controlv1.ListTransitionsResponse, error) {
	counts := c.config.Records.Counts()
	pairs := c.pairs()
	for t := range counts {
		pairs[t] = true
	}
	since, err := c.since(ctx)
	if err != nil {
		return nil, err
	}
	stated := c.stated(time.Now())
	resp := new(controlv1.ListTransitionsResponse)
	for _, t := range slices.SortedFunc(maps.Keys(pairs), byFromTo) {
		status := c.status(t, counts[t])
		status.Statements, status.SinceSerial = stated[t], since(t)
		resp.Transitions = append(resp.Transitions, status)
	}
	return resp, nil
}

// since tells since which policy a transition is as it is in the one in force.
func (c *crossings) since(ctx context.Context) (func(join.Transition) uint64, error) {
	g := c.policies.current.Load()
	if g == nil {
		return func(join.Transition) uint64 { return 0 }, nil
	}
	return c.charters.since(ctx, g.manifest.GetSerial())
}

func byFromTo(a, b join.Transition) int {
	return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To))
}

func (c *crossings) pairs() map[join.Transition]bool {
	pairs := map[join.Transition]bool{}
	g := c.policies.current.Load()
	if g == nil {
		return pairs
	}
	for from := range g.source.GetEnvironments() {
		for to := range g.source.GetEnvironments() {
			if from != to {
				pairs[join.Transition{From: from, To: to}] = true
			}
		}
	}
	return pairs
}

func (c *crossings) status(t join.Transition, n join.Counts) *controlv1.TransitionStatus {
	status := &controlv1.TransitionStatus{From: t.From, To: t.To, Allowed: n.Allowed, Denied: n.Denied, Unmatched: n.Unmatched, Failed: n.Failed}
	p := c.policies.compiled()
	if p == nil {
		return status
	}
	if open := p.TransitionOf(t.From, t.To); open != nil {
		status.Open, status.Owner, status.Sink, status.ReviewBy = true, open.Owner, open.Sink, open.ReviewBy
	}
	return status
}
