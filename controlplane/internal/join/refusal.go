package join

import (
	"cmp"
	"slices"
	"time"

	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// maxRefusals bounds the failures before identity that are kept; the oldest go
// first.
const maxRefusals = 100_000

// refusal is a count of failures before identity, and the run that counted.
type refusal struct {
	run string
	*controlv1.GatewayRefusal
}

// compare is a total order, by time first: what is equal in it is the same
// frame, delivered again. A search finds it even among the many of one second
// that a port scan makes.
func (r refusal) compare(o refusal) int {
	a, b := r.GetRefusal(), o.GetRefusal()
	return cmp.Or(
		a.GetSecond().AsTime().Compare(b.GetSecond().AsTime()),
		cmp.Compare(r.GetGateway(), o.GetGateway()),
		cmp.Compare(r.run, o.run),
		cmp.Compare(a.GetListener(), b.GetListener()),
		cmp.Compare(a.GetReason(), b.GetReason()),
		cmp.Compare(a.GetPrefix(), b.GetPrefix()),
		cmp.Compare(a.GetDetail(), b.GetDetail()),
		cmp.Compare(a.GetCount(), b.GetCount()),
	)
}

// refuse keeps a count of failures before identity. A gateway flushes each
// count once; the same one again is a repeated delivery. j.mu is held.
func (j *Joiner) refuse(f *crossingv1.Frame) {
	now := refusal{f.GetRun(), &controlv1.GatewayRefusal{Gateway: f.GetGateway(), Refusal: f.GetRefusal()}}
	at, found := slices.BinarySearchFunc(j.refusals, now, refusal.compare)
	if found {
		return
	}
	j.refusals = slices.Insert(j.refusals, at, now)
	if over := len(j.refusals) - maxRefusals; over > 0 {
		clear(j.refusals[:over])
		j.refusals = j.refusals[over:] // the next growth leaves the rest behind
	}
}

// Refusals are the failures before identity since a time, oldest first. Of
// very many, only the latest 100,000 are kept.
func (j *Joiner) Refusals(since time.Time) []*controlv1.GatewayRefusal {
	j.mu.Lock()
	defer j.mu.Unlock()
	at, _ := slices.BinarySearchFunc(j.refusals, since, func(r refusal, t time.Time) int {
		return r.GetRefusal().GetSecond().AsTime().Compare(t)
	})
	var found []*controlv1.GatewayRefusal
	for _, r := range j.refusals[at:] {
		found = append(found, r.GatewayRefusal)
	}
	return found
}
