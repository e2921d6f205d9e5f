package gateway

import (
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/internal/xdsclient"
	"github.com/sallyport-mesh/sallyport/gateway/policy"
)

// policyWait is how long a peer is held that dials a gateway which has no policy
// yet. It is shorter than a handshake may take.
const policyWait = 5 * time.Second

// policies is where the policy comes from. Changed is closed with each change.
type policies interface {
	Policies() *xdsclient.Policies
	Changed() <-chan struct{}
}

var _ policies = (*xdsclient.Client)(nil)

// awaitPolicy is the policy in force; nil if there is none within policyWait or
// before closing. A gateway that has just started for the first time has none
// for a moment, which is nothing to refuse a peer for.
func awaitPolicy(from policies, closing <-chan struct{}) *policy.Policy {
	limit := time.NewTimer(policyWait)
	defer limit.Stop()
	for {
		changed := from.Changed()
		if p := from.Policies(); p != nil && p.Current != nil {
			return p.Current
		}
		select {
		case <-changed:
		case <-closing:
			return nil
		case <-limit.C:
			return nil
		}
	}
}
