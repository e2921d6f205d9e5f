package join

import (
	"maps"
	"slices"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// Halves are a record and what it was joined from. They are shared, and not to be
// changed.
type Halves struct {
	Record          *crossingv1.Record
	Egress, Ingress crossing.Account
}

// Key is the crossing's place in the numbering.
func (h Halves) Key() *crossingv1.Key {
	if h.Egress.Open != nil {
		return h.Egress.Open.GetKey()
	}
	return h.Ingress.Open.GetKey()
}

func (k *known) halves() Halves { return Halves{k.record, k.egress, k.ingress} }

// Unmatched are those whose record is one-sided, or whose halves disagree, by time of
// opening.
func (j *Joiner) Unmatched() []Halves {
	j.mu.Lock()
	defer j.mu.Unlock()
	all := make([]Halves, 0, len(j.unmatched))
	for _, name := range slices.Sorted(maps.Keys(j.unmatched)) {
		all = append(all, j.crossings[name].halves())
	}
	return all
}

// At are those of the crossing with that key; false if no opening of it has come.
func (j *Joiner) At(k *crossingv1.Key) (Halves, bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, gateway := range [...]string{k.GetEgress(), k.GetIngress()} {
		if name, ok := j.slots[place(gateway, k)]; ok {
			return j.crossings[name].halves(), true
		}
	}
	return Halves{}, false
}

// Of are those that a record was joined from, as far as it has not changed since.
func (j *Joiner) Of(r *crossingv1.Record) (Halves, bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, name := range j.byID(r.GetId()) {
		if k := j.crossings[name]; k.record == r {
			return k.halves(), true
		}
	}
	return Halves{}, false
}

// outage keeps the last time in which a gateway could not record. j.mu is held.
func (j *Joiner) outage(gateway string, now *crossingv1.Outage) {
	before := j.outages[gateway]
	if before == nil || before.GetBegan().AsTime().Before(now.GetBegan().AsTime()) {
		j.outages[gateway] = now
	}
}

// Outage is the last time in which a gateway could not record as it must, nil if there
// was none. It is shared, and not to be changed.
func (j *Joiner) Outage(gateway string) *crossingv1.Outage {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.outages[gateway]
}
