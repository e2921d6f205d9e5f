package source

import (
	"fmt"
	"strings"

	"github.com/sallyport-mesh/sallyport/gateway/policy"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// unenforceable are the intents of a valid policy that require digests which no gateway
// of this release can hold content against. They are no faults, and fail closed: nothing
// crosses by such a digest.
func unenforceable(p *policyv1.Policy) policy.Faults {
	var f policy.Faults
	for i, in := range p.GetIntents() {
		list := in.GetRequire().GetDigest().GetIn()
		for _, digest := range p.GetLists()[list].GetDigests() {
			algorithm, _, _ := strings.Cut(digest, ":")
			if algorithm == "sha256" {
				continue
			}
			f = append(f, policy.Fault{
				Path: fmt.Sprintf("intents[%d].require", i),
				Message: fmt.Sprintf("intent %s: gateways hold content against SHA-256 alone, so nothing crosses by the %s digests of list %s",
					in.GetName(), algorithm, list),
			})
			break
		}
	}
	return f
}
