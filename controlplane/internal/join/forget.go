package join

import (
	"fmt"
	"slices"
	"time"

	"github.com/sallyport-mesh/sallyport/controlplane/internal/spans"
	"github.com/sallyport-mesh/sallyport/gateway/statement"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// Kept is the evidence of the record that is kept of a crossing, nil if there is none.
type Kept func(id, egress, ingress string) (*crossingv1.Evidence, error)

// past is what is still known of the crossings that were forgotten: their numbers, which
// are dense, and that the times in their ids are before the horizon. Of what may be one of
// them, it is asked what is kept.
type past struct {
	kept    Kept
	horizon handle
	numbers map[statement.Chain]*spans.Set
}

func newPast() past { return past{numbers: map[statement.Chain]*spans.Set{}} }

// has says that a crossing that is not known was forgotten. The error says that it is not
// the one that has its number, or not the one that has its id.
func (p *past) has(name handle, id string, k *crossingv1.Key) (bool, error) {
	over := false
	if of := p.numbers[statement.ChainOf(k)]; of != nil {
		over = of.Has(k.GetSequence())
	}
	if !over && name >= p.horizon {
		return false, nil // as most are: it is newer than all that was forgotten
	}
	is, err := p.kept(id, k.GetEgress(), k.GetIngress())
	switch {
	case err != nil:
		return false, fmt.Errorf("crossing %s: it cannot be told whether it is kept already: %w", id, err)
	case is != nil && (is.GetRun() != k.GetRun() || is.GetSequence() != k.GetSequence()):
		return false, fmt.Errorf("crossing %s is number %d of run %s already: %w", id, is.GetSequence(), is.GetRun(), ErrConflict)
	case is == nil && over:
		return false, fmt.Errorf("number %d of run %s was another crossing, or is not kept any more: %w", k.GetSequence(), k.GetRun(), ErrConflict)
	}
	return over, nil
}

func (p *past) add(k *crossingv1.Key) {
	chain := statement.ChainOf(k)
	of := p.numbers[chain]
	if of == nil {
		of = new(spans.Set)
		p.numbers[chain.Clone()] = of
	}
	of.Add(spans.Span{From: k.GetSequence(), To: k.GetSequence() + 1})
}

// forgotten is has, of a crossing that may be known. j.mu is held.
func (j *Joiner) forgotten(name handle, id string, k *crossingv1.Key) (bool, error) {
	if j.crossings[name] != nil {
		return false, nil
	}
	return j.past.has(name, id, k)
}

// Forgetting makes a joiner that may forget, and that asks what is kept of crossings which
// it may have forgotten.
func Forgetting(kept Kept) *Joiner {
	j := New()
	j.past.kept = kept
	return j
}

// horizonAt is below the handle of each crossing whose id was made at that time or later.
func horizonAt(t time.Time) handle {
	ms := fmt.Sprintf("%012x", max(t.UnixMilli(), 0))
	return handle(ms[:8] + "-" + ms[8:])
}

// Settled are crossings of which nothing more is to come, and for which meant says yes: the
// oldest, at most so many, by the times in their ids before that time.
func (j *Joiner) Settled(before time.Time, most int, meant func(Halves) bool) []Halves {
	j.mu.Lock()
	defer j.mu.Unlock()
	var all []Halves
	for _, name := range j.order {
		if name >= horizonAt(before) || len(all) == most {
			break
		}
		if h := j.crossings[name].halves(); settled(h.Record) && meant(h) {
			all = append(all, h)
		}
	}
	return all
}

func settled(r *crossingv1.Record) bool {
	switch r.GetState() {
	case crossingv1.Record_JOINED, crossingv1.Record_DENIED, crossingv1.Record_REFUSED:
		return true
	}
	return false
}

// Forget lets go of crossings that Settled gave for the same time, and that are kept now.
// What it counted of them stays counted.
func (j *Joiner) Forget(before time.Time, all []Halves) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.past.horizon = max(j.past.horizon, horizonAt(before))
	traces := map[string]struct{}{}
	for _, h := range all {
		name := handleOf(h.Record.GetId(), h.Key())
		if k := j.crossings[name]; k == nil || k.record != h.Record {
			continue
		}
		traces[h.Record.GetTrace()] = struct{}{}
		for _, gateway := range [...]string{h.Key().GetEgress(), h.Key().GetIngress()} {
			delete(j.slots, place(gateway, h.Key()))
		}
		delete(j.crossings, name)
		j.past.add(h.Key())
	}
	gone := func(name handle) bool { return j.crossings[name] == nil }
	j.order = slices.DeleteFunc(j.order, gone)
	for trace := range traces { // each once: callers may have all of theirs in one
		if j.traces[trace] = slices.DeleteFunc(j.traces[trace], gone); len(j.traces[trace]) == 0 {
			delete(j.traces, trace)
		}
	}
}

// Knows says that a crossing is known, and not forgotten.
func (j *Joiner) Knows(id, egress, ingress string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	k := j.crossings[handleOf(id, &crossingv1.Key{Egress: egress, Ingress: ingress})]
	return k != nil && k.record != nil
}
