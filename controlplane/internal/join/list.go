package join

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// ErrSlow says that a follower could not keep up. It may list again.
var ErrSlow = errors.New("the follower is too slow")

// maxBehind is how many changed records wait for a follower.
const maxBehind = 65_536

// List calls each with the records that match, oldest first, at most the
// request's limit of them, newest kept. With follow set it goes on with each
// that changes and matches, until the context ends, which is its error then. It
// fails with ErrSlow when each is too slow, and with each's own error. The
// records are shared: each must not change them.
func (j *Joiner) List(ctx context.Context, req *controlv1.ListCrossingsRequest, each func(*crossingv1.Record) error) error {
	var f *follower
	j.mu.Lock()
	found := j.match(req)
	if req.GetFollow() {
		f = newFollower(req)
		j.followers[f] = struct{}{}
	}
	j.mu.Unlock()
	if f != nil {
		defer func() {
			j.mu.Lock()
			defer j.mu.Unlock()
			delete(j.followers, f)
		}()
	}
	for _, r := range found {
		if err := each(r); err != nil {
			return err
		}
	}
	if f == nil {
		return nil
	}
	return f.follow(ctx, each)
}

// match finds records by the narrowest index. j.mu is held.
func (j *Joiner) match(req *controlv1.ListCrossingsRequest) []*crossingv1.Record {
	names := j.order
	switch {
	case req.GetId() != "":
		names = j.byID(req.GetId())
	case req.GetTrace() != "":
		names = slices.Sorted(slices.Values(j.traces[req.GetTrace()]))
	}
	var found []*crossingv1.Record
	for _, name := range slices.Backward(names) {
		r := j.crossings[name].record
		if !matches(req, r) {
			continue
		}
		found = append(found, r)
		if n := req.GetLimit(); n > 0 && len(found) == int(n) {
			break
		}
	}
	slices.Reverse(found)
	return found
}

// byID are the crossings of that id: one, unless an egress gateway used it for
// several. j.mu is held.
func (j *Joiner) byID(id string) []handle {
	from, _ := slices.BinarySearch(j.order, handle(id+" "))
	to := from
	for to < len(j.order) && strings.HasPrefix(string(j.order[to]), id+" ") {
		to++
	}
	return j.order[from:to]
}

// matches holds a record against a request.
func matches(req *controlv1.ListCrossingsRequest, r *crossingv1.Record) bool {
	return (req.GetId() == "" || req.GetId() == r.GetId()) &&
		(req.GetTrace() == "" || req.GetTrace() == r.GetTrace()) &&
		(req.GetFrom() == "" || req.GetFrom() == r.GetTransition().GetFrom()) &&
		(req.GetTo() == "" || req.GetTo() == r.GetTransition().GetTo()) &&
		(req.GetOwner() == "" || req.GetOwner() == r.GetTransition().GetOwner()) &&
		(req.GetIdentity() == "" || req.GetIdentity() == r.GetSource() || req.GetIdentity() == r.GetDestination()) &&
		matchesDecision(req.GetDecision(), r) &&
		(req.GetState() == crossingv1.Record_STATE_UNSPECIFIED || req.GetState() == r.GetState()) &&
		(req.GetSince() == nil || !opened(r).Before(req.GetSince().AsTime())) &&
		(req.GetUntil() == nil || opened(r).Before(req.GetUntil().AsTime())) &&
		(req.GetBefore() == "" || r.GetId() < req.GetBefore())
}

func matchesDecision(d crossingv1.Decision, r *crossingv1.Record) bool {
	switch d {
	case crossingv1.Decision_DENY:
		return denied(r)
	case crossingv1.Decision_ALLOW:
		return !denied(r)
	}
	return true
}

func opened(r *crossingv1.Record) time.Time {
	if e := r.GetEgress(); e != nil {
		return e.GetOpen().AsTime()
	}
	return r.GetIngress().GetOpen().AsTime()
}

// follower waits for records that change.
type follower struct {
	req  *controlv1.ListCrossingsRequest
	wake chan struct{}

	mu    sync.Mutex // guards what follows; taken after the joiner's
	queue []*crossingv1.Record
	slow  bool
}

func newFollower(req *controlv1.ListCrossingsRequest) *follower {
	return &follower{req: req, wake: make(chan struct{}, 1)}
}

// offer queues a record and never blocks.
func (f *follower) offer(r *crossingv1.Record) {
	if !matches(f.req, r) {
		return
	}
	f.mu.Lock()
	if len(f.queue) < maxBehind {
		f.queue = append(f.queue, r)
	} else {
		f.slow = true
	}
	f.mu.Unlock()
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

func (f *follower) take() ([]*crossingv1.Record, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	queue := f.queue
	f.queue = nil
	return queue, f.slow
}

func (f *follower) follow(ctx context.Context, each func(*crossingv1.Record) error) error {
	for {
		queue, slow := f.take()
		for _, r := range queue {
			if err := each(r); err != nil {
				return err
			}
		}
		if slow {
			return ErrSlow
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-f.wake:
		}
	}
}
