package source

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/sallyport-mesh/sallyport/gateway/policy"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// unenforceable are the intents of a valid policy whose obligations no gateway of
// this release can keep. They are no faults, and fail closed: gateways deny what
// these intents allow.
func unenforceable(p *policyv1.Policy) policy.Faults {
	var f policy.Faults
	for i, in := range p.GetIntents() {
		var path string
		var what []string
		if len(in.GetLimits()) > 0 {
			path, what = "limits", append(what, "limits")
		}
		if in.GetRequire().GetDigest() != nil {
			path, what = cmp.Or(path, "require"), append(what, "a required digest")
		}
		if in.GetAllow() != nil && len(what) > 0 {
			f = append(f, policy.Fault{
				Path: fmt.Sprintf("intents[%d].%s", i, path),
				Message: fmt.Sprintf("intent %s: gateways of this release cannot keep %s yet, so they deny what it allows",
					in.GetName(), strings.Join(what, " and ")),
			})
		}
	}
	return f
}
