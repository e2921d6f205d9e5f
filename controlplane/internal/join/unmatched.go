package join

import (
	"maps"
	"slices"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// Unmatched are the records that are one-sided, or whose halves disagree, by time of
// opening. They are shared, and not to be changed.
func (j *Joiner) Unmatched() []*crossingv1.Record {
	j.mu.Lock()
	defer j.mu.Unlock()
	all := make([]*crossingv1.Record, 0, len(j.unmatched))
	for _, name := range slices.Sorted(maps.Keys(j.unmatched)) {
		all = append(all, j.crossings[name].record)
	}
	return all
}

// At is the record of the crossing with that key, nil if no opening of it has come. It
// is shared, and not to be changed.
func (j *Joiner) At(k *crossingv1.Key) *crossingv1.Record {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, gateway := range [...]string{k.GetEgress(), k.GetIngress()} {
		if name, ok := j.slots[place(gateway, k)]; ok {
			return j.crossings[name].record
		}
	}
	return nil
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
