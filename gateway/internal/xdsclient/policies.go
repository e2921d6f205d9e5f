package xdsclient

import (
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/policy"
)

// Grace is how long a crossing that another gateway let out under the policy
// before is still judged under it.
const Grace = 10 * time.Second

// maxEarlier bounds the policies that are kept for the time of grace.
const maxEarlier = 4

// Policies are the policies that a gateway holds at one moment. They do not
// change. The methods of a nil *Policies answer as if there were none.
type Policies struct {
	// Current is in force; nil if there is none, and then everything is denied.
	Current *policy.Policy
	// Prepared is verified and about to be in force; nil if none is.
	Prepared *policy.Policy
	// Previous was in force before Current; nil if none was since the start.
	Previous *policy.Policy
	// Until is the end of Previous's time of grace.
	Until time.Time

	prepared []*policy.Policy // all of them: an urgent policy may overtake another
	earlier  []replaced       // the latest first
}

// replaced is a policy that was in force, and the end of its time of grace.
type replaced struct {
	policy *policy.Policy
	until  time.Time
}

// BySerial is the policy of a serial if it is in force, prepared, or was in
// force within the time of grace before now; else nil.
func (p *Policies) BySerial(serial uint64, now time.Time) *policy.Policy {
	if p == nil {
		return nil
	}
	if p.Current != nil && p.Current.Ref().Serial == serial {
		return p.Current
	}
	for _, next := range append([]*policy.Policy{p.Prepared}, p.prepared...) {
		if next != nil && next.Ref().Serial == serial {
			return next
		}
	}
	for _, e := range append([]replaced{{p.Previous, p.Until}}, p.earlier...) {
		if e.policy == nil {
			continue
		}
		if e.policy.Ref().Serial == serial && now.Before(e.until) {
			return e.policy
		}
	}
	return nil
}
