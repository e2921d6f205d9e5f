package authz

import (
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// proofs verifies what a workload issued for itself.
type proofs interface {
	ValidateFreshJWT(token, audience string, age time.Duration, now time.Time) (certs.JWT, error)
}

var _ proofs = (*certs.Source)(nil)

// TakeProofs makes it take proofs that p verifies; without, none is good. It is
// called before the first decision.
func (a *Authorizer) TakeProofs(p proofs) *Authorizer {
	a.proofs = p
	return a
}

// show verifies what came as a proof that the caller calls the verdict's workload.
// The egress gateway's word for it counts for nothing here. Whether a proof is
// needed, the policy says: one that is good is noted in any case, and one that is
// not harms nobody who needs none.
func (a *Authorizer) show(v *Verdict, caller spiffeid.ID, proof string, now time.Time) {
	if proof == "" {
		return
	}
	if a.proofs == nil {
		v.unproven = "this gateway can verify none"
		return
	}
	shown, err := a.proofs.ValidateFreshJWT(proof, crossing.ProofAudience(v.Workload.Host()), crossing.ProofAge, now)
	switch {
	case err != nil:
		v.unproven = err.Error()
	case shown.ID != caller:
		v.unproven = "it is of " + shown.ID.String() + ", and " + caller.String() + " calls"
	default:
		v.Proof = shown.Fingerprint
	}
}

// unprove denies what is allowed only with a proof, and has none.
func (v *Verdict) unprove() *Verdict {
	if v.unproven == "" {
		return v.fault(crossingv1.Reason_NO_PROOF, "no proof came")
	}
	return v.fault(crossingv1.Reason_BAD_PROOF, v.unproven)
}
