package join

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"

	"github.com/sallyport-mesh/sallyport/controlplane/internal/sought"
	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// ErrSlow says that a follower could not keep up. It may list again.
var ErrSlow = errors.New("the follower is too slow")

// maxBehind is how many changed records wait for a follower.
const maxBehind = 65_536

// Match are those whose records match, by id, without regard to how many are asked for and
// before which.
func (j *Joiner) Match(req *controlv1.ListCrossingsRequest) []Halves {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.match(req)
}

// Watch is Match, and a follower of each that changes from then on.
func (j *Joiner) Watch(req *controlv1.ListCrossingsRequest) ([]Halves, *Follower) {
	j.mu.Lock()
	defer j.mu.Unlock()
	f := &Follower{joiner: j, req: req, wake: make(chan struct{}, 1)}
	j.followers[f] = struct{}{}
	return j.match(req), f
}

// match finds records by the narrowest index. j.mu is held.
func (j *Joiner) match(req *controlv1.ListCrossingsRequest) []Halves {
	names := j.order
	switch {
	case req.GetId() != "":
		names = j.byID(req.GetId())
	case req.GetTrace() != "":
		names = slices.Sorted(slices.Values(j.traces[req.GetTrace()]))
	}
	var found []Halves
	for _, name := range names {
		if k := j.crossings[name]; matches(req, k.record) {
			found = append(found, k.halves())
		}
	}
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
		(req.GetSince() == nil || !crossing.Opened(r).AsTime().Before(req.GetSince().AsTime())) &&
		(req.GetUntil() == nil || crossing.Opened(r).AsTime().Before(req.GetUntil().AsTime())) &&
		sought.Of(req).In(r.GetOperation())
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

// Follower waits for records that change and match.
type Follower struct {
	joiner *Joiner
	req    *controlv1.ListCrossingsRequest
	wake   chan struct{}

	mu    sync.Mutex // guards what follows; taken after the joiner's
	queue []Halves
	slow  bool
}

// offer queues a record and never blocks.
func (f *Follower) offer(h Halves) {
	if !matches(f.req, h.Record) {
		return
	}
	f.mu.Lock()
	if len(f.queue) < maxBehind {
		f.queue = append(f.queue, h)
	} else {
		f.slow = true
	}
	f.mu.Unlock()
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

func (f *Follower) take() ([]Halves, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	queue := f.queue
	f.queue = nil
	return queue, f.slow
}

// Each calls each with each that changes and matches, until the context ends, which is its
// error then. It fails with ErrSlow when each is too slow, and with each's own error. What
// it gives is shared, and not to be changed.
func (f *Follower) Each(ctx context.Context, each func(Halves) error) error {
	for {
		queue, slow := f.take()
		for _, h := range queue {
			if err := each(h); err != nil {
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

// Stop lets go of what waits.
func (f *Follower) Stop() {
	f.joiner.mu.Lock()
	defer f.joiner.mu.Unlock()
	delete(f.joiner.followers, f)
}
