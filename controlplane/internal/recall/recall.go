// Package recall answers questions about records from what is joined now and from what is
// kept, as if they were one.
//
// The one invariant: a crossing is in an answer once: as it is joined now, unless that was
// forgotten, and as it is kept then. What is not kept is not forgotten.
package recall

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/sallyport-mesh/sallyport/controlplane/internal/join"
	"github.com/sallyport-mesh/sallyport/controlplane/internal/records"
	"github.com/sallyport-mesh/sallyport/controlplane/internal/sought"
	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// Records are all records of a mesh. They are safe for concurrent use.
type Records struct {
	*join.Joiner

	store    records.Keeper // nil if everything is joined from memory
	remember time.Duration
	now      func() time.Time
}

// Of makes them of what a store keeps; of nothing but what is joined if it is nil. What is
// settled stays in memory for as long as remember says, by the time in its id: what comes
// later of it changes nothing.
func Of(store records.Keeper, remember time.Duration) *Records {
	if store == nil {
		return &Records{Joiner: join.New()}
	}
	r := &Records{store: store, remember: remember, now: time.Now}
	r.Joiner = join.Forgetting(r.kept)
	return r
}

// kept is the evidence of what the store has of a crossing.
func (r *Records) kept(id, egress, ingress string) (*crossingv1.Evidence, error) {
	for j, err := range r.store.Find(context.Background(), records.Query{ID: id}) {
		if err != nil {
			return nil, err
		}
		if j.Egress == egress && j.Ingress == ingress {
			return j.Record.GetEvidence(), nil
		}
	}
	return nil, nil
}

// List calls each with the records that match, oldest first, at most the request's limit of
// them, newest kept. With follow set it goes on with each that changes and matches, until
// the context ends, which is its error then. It fails with join.ErrSlow when each is too
// slow, with records.ErrInvalid on a question that has no answer, and with each's own
// error. The records are shared: each must not change them.
func (r *Records) List(ctx context.Context, req *controlv1.ListCrossingsRequest, each func(records.Joined) error) error {
	query, err := r.query(ctx, req)
	if err != nil {
		return err
	}
	if !req.GetFollow() {
		return r.list(ctx, query, r.Match(req), each)
	}
	joined, changes := r.Watch(req)
	defer changes.Stop()
	if err := r.list(ctx, query, joined, each); err != nil {
		return err
	}
	return changes.Each(ctx, func(h join.Halves) error { return each(RecordOf(h)) })
}

func (r *Records) list(ctx context.Context, q records.Query, joined []join.Halves, each func(records.Joined) error) error {
	for j, err := range r.both(ctx, q, newest(q, joined)) {
		if err != nil {
			return err
		}
		if err := each(j); err != nil {
			return err
		}
	}
	return nil
}

// query is what the store is asked: for those that are not joined now.
func (r *Records) query(ctx context.Context, req *controlv1.ListCrossingsRequest) (q records.Query, err error) {
	if req.GetLimit() > records.MaxLimit {
		return q, fmt.Errorf("limit: %d are too many: %w; ask for %d at most, and for what is before them", req.GetLimit(), records.ErrInvalid, records.MaxLimit)
	}
	q = records.Query{
		Window: records.WindowOf(req.GetSince(), req.GetUntil()),
		ID:     req.GetId(), Trace: req.GetTrace(), Identity: req.GetIdentity(), Owner: req.GetOwner(), From: req.GetFrom(), To: req.GetTo(),
		Denied: req.GetDecision() == crossingv1.Decision_DENY, Allowed: req.GetDecision() == crossingv1.Decision_ALLOW,
		State: req.GetState(), Limit: int(req.GetLimit()), Asks: sought.Of(req),
	}
	if req.GetBefore() != "" {
		q.Before, err = r.place(ctx, req.GetBefore())
	}
	return q, err
}

// place is where a crossing stands: by the time in its id, if there is no record of it.
func (r *Records) place(ctx context.Context, id string) (records.Place, error) {
	parsed, err := crossing.ParseID(id)
	if err != nil {
		return records.Place{}, fmt.Errorf("before: %w: %w", err, records.ErrInvalid)
	}
	joined := r.Match(&controlv1.ListCrossingsRequest{Id: id})
	for j, err := range r.both(ctx, records.Query{ID: id}, newest(records.Query{}, joined)) {
		return records.PlaceOf(j), err
	}
	seconds, nanos := parsed.Time().UnixTime()
	return records.PlaceAt(time.Unix(seconds, nanos), id), nil
}

// newest are what is asked for of those that are joined, in the order of an answer.
func newest(q records.Query, joined []join.Halves) []records.Joined {
	all := make([]records.Joined, 0, len(joined))
	for _, h := range joined {
		if j := RecordOf(h); q.Before == (records.Place{}) || records.PlaceOf(j).Compare(q.Before) < 0 {
			all = append(all, j)
		}
	}
	slices.SortFunc(all, compare)
	return last(all, q.Limit)
}

func compare(a, b records.Joined) int { return records.PlaceOf(a).Compare(records.PlaceOf(b)) }

// last of all, at most n; all if n is 0.
func last(all []records.Joined, n int) []records.Joined {
	if n == 0 {
		return all
	}
	return all[max(0, len(all)-n):]
}

// RecordOf is what is kept of what was joined.
func RecordOf(h join.Halves) records.Joined {
	return records.Joined{Egress: h.Key().GetEgress(), Ingress: h.Key().GetIngress(), Record: h.Record}
}

// both are the newest of what is joined and of what is kept, oldest first.
func (r *Records) both(ctx context.Context, q records.Query, joined []records.Joined) iter.Seq2[records.Joined, error] {
	merged := merge(joined, r.find(ctx, q, joined))
	if q.Limit == 0 {
		return merged
	}
	return func(yield func(records.Joined, error) bool) {
		var all []records.Joined
		for j, err := range merged {
			if err != nil {
				yield(j, err)
				return
			}
			all = append(all, j)
		}
		for _, j := range last(all, q.Limit) {
			if !yield(j, nil) {
				return
			}
		}
	}
}

// find asks the store, for what is not among those that are joined.
func (r *Records) find(ctx context.Context, q records.Query, joined []records.Joined) iter.Seq2[records.Joined, error] {
	if r.store == nil {
		return func(func(records.Joined, error) bool) {}
	}
	there := make(map[name]struct{}, len(joined))
	for _, j := range joined {
		there[nameOf(j)] = struct{}{}
	}
	q.Without = func(j records.Joined) bool {
		_, is := there[nameOf(j)] // it may have been forgotten since
		return is || r.Knows(j.Record.GetId(), j.Egress, j.Ingress)
	}
	return r.store.Find(ctx, q)
}

// name is what a crossing is known by.
type name struct{ id, egress, ingress string }

func nameOf(j records.Joined) name { return name{j.Record.GetId(), j.Egress, j.Ingress} }

// merge what is in order into one.
func merge(joined []records.Joined, kept iter.Seq2[records.Joined, error]) iter.Seq2[records.Joined, error] {
	return func(yield func(records.Joined, error) bool) {
		for k, err := range kept {
			for err == nil && len(joined) > 0 && compare(joined[0], k) < 0 {
				if !yield(joined[0], nil) {
					return
				}
				joined = joined[1:]
			}
			if !yield(k, err) || err != nil {
				return
			}
		}
		for _, j := range joined {
			if !yield(j, nil) {
				return
			}
		}
	}
}
