package authz

import (
	"cmp"
	"slices"

	"github.com/sallyport-mesh/sallyport/gateway/policy"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// guards is a new list of all that are in either, each once on each side, sorted; have
// itself if there are no more.
func guards(have []*policy.Guard, more ...*policy.Guard) []*policy.Guard {
	if len(more) == 0 {
		return have
	}
	all := slices.Concat(have, more)
	slices.SortFunc(all, func(a, b *policy.Guard) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.At, b.At))
	})
	return slices.CompactFunc(all, func(a, b *policy.Guard) bool { return a.Name == b.Name && a.At == b.At })
}

// Guarded says that what is allowed must be let pass by a guard that the gateway on that
// side asks.
func (v *Verdict) Guarded(side crossingv1.Side) bool {
	return v.Allow && slices.ContainsFunc(v.Guards, func(g *policy.Guard) bool { return g.At == side })
}

// Covers says that no guard of the other verdict is missing in this one.
func (v *Verdict) Covers(other *Verdict) bool {
	return len(guards(v.Guards, other.Guards...)) == len(v.Guards)
}

// Unguarded denies what is allowed, and a guard refuses or says nothing of.
func (v *Verdict) Unguarded(reason crossingv1.Reason, detail string) { v.fault(reason, detail) }
