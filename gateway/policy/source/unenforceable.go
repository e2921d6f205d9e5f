package source

import (
	"fmt"

	"github.com/sallyport-mesh/sallyport/gateway/policy"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// unenforceable are the intents of a valid policy whose obligations no gateway of
// this release can keep. They are no faults, and fail closed: gateways deny what
// these intents allow.
func unenforceable(p *policyv1.Policy) policy.Faults {
	var f policy.Faults
	for i, in := range p.GetIntents() {
		if in.GetAllow() != nil && in.GetRequire().GetDigest() != nil {
			f = append(f, policy.Fault{
				Path:    fmt.Sprintf("intents[%d].require", i),
				Message: fmt.Sprintf("intent %s: gateways of this release cannot keep a required digest yet, so they deny what it allows", in.GetName()),
			})
		}
	}
	return f
}
