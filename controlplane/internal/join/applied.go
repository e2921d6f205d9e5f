package join

import (
	"cmp"
	"slices"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/act"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// maxApplied bounds the acts that one gateway can have kept: far more than an honest
// one is ever sent.
const maxApplied = 10 * act.Max

// Applied is a gateway's word that it has applied an operator's act.
type Applied struct {
	Gateway string // its SPIFFE ID
	*crossingv1.Applied
}

// apply keeps when a gateway first said that it has applied an act: it may say so
// again after a crash. j.mu is held.
func (j *Joiner) apply(f *crossingv1.Frame) {
	of := j.applied[f.GetGateway()]
	if of == nil {
		of = map[string]*crossingv1.Applied{}
		j.applied[f.GetGateway()] = of
	}
	now := f.GetApplied()
	before := of[now.GetAct()]
	switch {
	case before == nil && len(of) >= maxApplied:
	case before == nil, now.GetAt().AsTime().Before(before.GetAt().AsTime()):
		of[now.GetAct()] = now
	}
}

// Applied are the acts that gateways have applied, by time.
func (j *Joiner) Applied() []Applied {
	j.mu.Lock()
	defer j.mu.Unlock()
	var all []Applied
	for gateway, of := range j.applied {
		for _, a := range of {
			all = append(all, Applied{gateway, a})
		}
	}
	slices.SortFunc(all, func(a, b Applied) int {
		at := func(x Applied) time.Time { return x.GetAt().AsTime() }
		return cmp.Or(at(a).Compare(at(b)), cmp.Compare(a.GetAct(), b.GetAct()), cmp.Compare(a.Gateway, b.Gateway))
	})
	return all
}
