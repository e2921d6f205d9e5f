package records

import (
	"cmp"
	"context"
	"iter"
	"maps"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// memory is the plainest store: it looks at every record for every answer.
type memory struct {
	retention time.Duration

	mu           sync.Mutex
	all          map[key]Joined
	held         map[string]Hold
	last, steady time.Time
}

var _ Keeper = (*memory)(nil)

func newMemory() *memory {
	return &memory{all: map[key]Joined{}, held: map[string]Hold{}, retention: 183 * 24 * time.Hour}
}

func (m *memory) Put(ctx context.Context, all []Joined) error {
	for _, j := range all {
		if _, err := rowOf(j); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, j := range all {
		m.all[keyOf(j)] = Joined{j.Egress, j.Ingress, proto.CloneOf(j.Record)}
	}
	return nil
}

func keyOf(j Joined) key { return key{j.Record.GetId(), j.Egress, j.Ingress} }

func openedAt(r *crossingv1.Record) int64 {
	if t := r.GetEgress().GetOpen(); t != nil {
		return t.AsTime().UnixMicro()
	}
	return r.GetIngress().GetOpen().AsTime().UnixMicro()
}

// sorted are those that are meant, in the order of an answer.
func (m *memory) sorted(meant func(*crossingv1.Record) bool) []Joined {
	m.mu.Lock()
	defer m.mu.Unlock()
	var found []Joined
	for _, j := range m.all {
		if meant(j.Record) {
			found = append(found, j)
		}
	}
	slices.SortFunc(found, func(a, b Joined) int {
		return cmp.Or(cmp.Compare(openedAt(a.Record), openedAt(b.Record)), cmp.Compare(a.Record.GetId(), b.Record.GetId()),
			cmp.Compare(a.Egress, b.Egress), cmp.Compare(a.Ingress, b.Ingress))
	})
	return found
}

func within(r *crossingv1.Record, at span) bool {
	t := openedAt(r)
	return t >= at.since && t < at.until
}

func (m *memory) Find(ctx context.Context, q Query) iter.Seq2[Joined, error] {
	return func(yield func(Joined, error) bool) {
		at, err := q.Window.span()
		if err = cmp.Or(err, checkLimit(q.Limit), ctx.Err()); err != nil {
			yield(Joined{}, err)
			return
		}
		found := m.sorted(func(r *crossingv1.Record) bool { return within(r, at) && meant(q, r) })
		found = slices.DeleteFunc(found, func(j Joined) bool {
			return q.Before != (Place{}) && PlaceOf(j).Compare(q.Before) >= 0 || q.Without != nil && q.Without(j)
		})
		if q.Limit > 0 && len(found) > q.Limit {
			found = found[len(found)-q.Limit:]
		}
		for _, j := range found {
			if !yield(j, nil) {
				return
			}
		}
	}
}

func meant(q Query, r *crossingv1.Record) bool {
	is := func(asked string, have ...string) bool { return asked == "" || slices.Contains(have, asked) }
	t, s := r.GetTransition(), r.GetState()
	return is(q.ID, r.GetId()) && is(q.Trace, r.GetTrace()) && is(q.Identity, r.GetSource(), r.GetDestination()) &&
		is(q.Owner, t.GetOwner()) && is(q.From, t.GetFrom()) && is(q.To, t.GetTo()) &&
		is(q.Service, r.GetOperation().GetService()) && (!q.Denied || ClassOf(r).Denied) && (!q.Allowed || !ClassOf(r).Denied) &&
		(q.State == 0 || q.State == s) && asks(q, r.GetOperation()) &&
		(!q.Unmatched || s == crossingv1.Record_ONE_SIDED || s == crossingv1.Record_DISAGREE)
}

// asks says it in other words than sought does, of records without batches.
func asks(q Query, op *crossingv1.Operation) bool {
	a, model := q.Asks, len(q.Asks.Model)
	begins := func(name string) bool { return len(name) >= model && name[:model] == a.Model }
	ai := op.GetProtocol() == "openai" || op.GetProtocol() == "anthropic" || op.GetProtocol() == "mcp" || op.GetProtocol() == "a2a"
	return (!a.AI || ai) && (model == 0 || begins(op.GetModelRequested()) || begins(op.GetModelServed())) &&
		(a.Tool == "" || a.Tool == op.GetTool()) && (a.DataClass == "" || a.DataClass == op.GetDataClass())
}

func (m *memory) Matrix(ctx context.Context, w Window) ([]Cell, error) {
	at, err := w.span()
	if err = cmp.Or(err, ctx.Err()); err != nil {
		return nil, err
	}
	for at.since%minute != 0 {
		at.since--
	}
	for at.until%minute != 0 {
		at.until++
	}
	sums := map[Class]Counts{}
	for _, j := range m.sorted(func(r *crossingv1.Record) bool { return within(r, at) }) {
		sums[ClassOf(j.Record)] = plus(sums[ClassOf(j.Record)], j.Record)
	}
	var all []Cell
	for class, n := range sums {
		all = append(all, Cell{class, n})
	}
	slices.SortFunc(all, func(a, b Cell) int {
		return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To), cmp.Compare(a.Owner, b.Owner),
			cmp.Compare(number(a.Denied), number(b.Denied)), cmp.Compare(a.State, b.State))
	})
	return all, nil
}

func number(b bool) int {
	if b {
		return 1
	}
	return 0
}

func plus(n Counts, r *crossingv1.Record) Counts {
	end := r.GetEgress()
	if end == nil {
		end = r.GetIngress()
	}
	return Counts{n.Crossings + 1, n.RequestBytes + end.GetRequestBytes(), n.ResponseBytes + end.GetResponseBytes()}
}

func (m *memory) Talkers(ctx context.Context, from, to string, w Window, n int) ([]Talker, error) {
	at, err := w.span()
	if err = cmp.Or(err, checkLimit(n), ctx.Err()); err != nil {
		return nil, err
	}
	sums := map[[2]string]Talker{}
	for _, j := range m.sorted(func(r *crossingv1.Record) bool {
		return within(r, at) && r.GetTransition().GetFrom() == from && r.GetTransition().GetTo() == to
	}) {
		r := j.Record
		pair := [2]string{r.GetSource(), r.GetDestination()}
		t := sums[pair]
		t.Source, t.Destination, t.Counts = pair[0], pair[1], plus(t.Counts, r)
		t.Denied += uint64(number(ClassOf(r).Denied))
		sums[pair] = t
	}
	var all []Talker
	for _, t := range sums {
		all = append(all, t)
	}
	slices.SortFunc(all, func(a, b Talker) int {
		return cmp.Or(cmp.Compare(b.RequestBytes+b.ResponseBytes, a.RequestBytes+a.ResponseBytes), cmp.Compare(b.Crossings, a.Crossings),
			cmp.Compare(a.Source, b.Source), cmp.Compare(a.Destination, b.Destination))
	})
	return all[:min(n, len(all))], nil
}

// Maintain removes what was kept for long enough. All else that a store does is not
// seen from outside.
func (m *memory) Maintain(_ context.Context, now time.Time) (Upkeep, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.last.IsZero() || now.Before(m.last) || now.Sub(m.last) > 25*time.Hour {
		m.steady = now
	}
	m.last = now
	if now.Sub(m.steady) < 24*time.Hour {
		return Upkeep{}, nil
	}
	for k, j := range m.all {
		over := time.UnixMicro(openedAt(j.Record)).Truncate(time.Hour).Add(time.Hour)
		if !now.Before(over.Add(m.retention)) && !m.isHeld(j.Record) {
			delete(m.all, k)
		}
	}
	return Upkeep{}, nil
}

func (m *memory) isHeld(r *crossingv1.Record) bool {
	for _, h := range m.held {
		if h.Owner == r.GetTransition().GetOwner() && h.Owner != "" || slices.Contains(h.Identities, r.GetSource()) || slices.Contains(h.Identities, r.GetDestination()) {
			return true
		}
	}
	return false
}

func (m *memory) Hold(_ context.Context, h Hold) error {
	if h.Name == "" || h.Owner == "" && len(h.Identities) == 0 || slices.Contains(h.Identities, "") {
		return ErrInvalid
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.held[h.Name] = h
	return nil
}

func (m *memory) Keeps(r *crossingv1.Record, now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	over := time.UnixMicro(openedAt(r)).Truncate(time.Hour)
	return !over.Before(now.Add(-m.retention).Truncate(time.Hour)) || m.isHeld(r)
}

func (m *memory) Release(_ context.Context, name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.held[name]; !ok {
		return ErrInvalid
	}
	delete(m.held, name)
	return nil
}

func (m *memory) Holds(context.Context) ([]Hold, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := slices.Collect(maps.Values(m.held))
	slices.SortFunc(all, func(a, b Hold) int { return cmp.Compare(a.Name, b.Name) })
	return all, nil
}

func (m *memory) Close() error { return nil }
