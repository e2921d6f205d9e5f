package policy

import (
	"math/bits"
	"time"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// Reach is how far calls may cross, whatever their attributes turn out to be.
type Reach int

// How far calls may cross.
const (
	// Never: no call is allowed.
	Never Reach = iota
	// Sometimes: it depends on the call.
	Sometimes
	// Always: every call is allowed.
	Always
)

// String is the reach as people read it.
func (r Reach) String() string {
	switch r {
	case Sometimes:
		return "some calls"
	case Always:
		return "every call"
	}
	return "no call"
}

// ReachOf says which calls of one workload to a service of another may cross at
// a moment. A caller that stands for a pattern of IDs is asked for one of them.
// It may say Sometimes where a closer look at the conditions would rule a call
// out, never the reverse.
func (p *Policy) ReachOf(from, to *Workload, service string, now time.Time) Reach {
	id, err := p.caller(from.Name)
	if err != nil {
		return Never
	}
	var k call
	q := Query{From: id, To: to, Service: service, Now: now}
	s, callee, d := p.place(&q, &k)
	if d.Reason != crossingv1.Reason_REASON_UNSPECIFIED {
		return Never
	}
	denied, allowed := no, no
	f := p.fitting(s, callee, service, &k)
	for i := range s.intents {
		for word := f.word(i); word != 0; word &= word - 1 {
			in := &p.intents[i*64+bits.TrailingZeros64(word)]
			t := in.truth(&k)
			if in.deny {
				denied = either(denied, t)
			} else {
				allowed = either(allowed, t)
			}
		}
	}
	switch both(allowed, not(denied)) {
	case yes:
		return Always
	case maybe:
		return Sometimes
	}
	return Never
}
