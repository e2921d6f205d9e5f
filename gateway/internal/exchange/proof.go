package exchange

import (
	"fmt"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/internal/authz"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// unsayable is what the record says of a proof that the caller had no way to send.
const unsayable = "no proof came: a mapped port can carry none, a CONNECT at the attach address can"

// howToProve tells a caller what proof it must send, and what is wrong with the one
// that it sent, as far as this gateway knows; "" if that is not why it is refused.
func howToProve(reason crossingv1.Reason, v *authz.Verdict) string {
	if reason != crossingv1.Reason_NO_PROOF && reason != crossingv1.Reason_BAD_PROOF || v.Workload == nil {
		return ""
	}
	text := fmt.Sprintf("the caller must prove for itself that it calls: send in %s a JWT-SVID of yours for the audience %s alone, issued in the last %d minutes",
		crossing.ProofField, crossing.ProofAudience(v.Workload.Host()), int(crossing.ProofAge.Minutes()))
	if v.Reason == reason && v.Detail != "" {
		text += "; " + crossing.Detail(v.Detail)
	}
	return text
}
