package crossing

import (
	"errors"
	"strings"
	"time"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

const (
	// ProofField is the request's field in which a caller gives a proof of its own.
	ProofField = "sallyport-proof"
	// MaxProof bounds a proof in a crossing's header, in bytes: far above any honest
	// JWT-SVID.
	MaxProof = 8 << 10
	// ProofAge is how long ago a proof may have been issued, whatever it says of its
	// end: for so long it is worth something to whoever has seen it. Clocks may differ
	// by as much as for any JWT-SVID.
	ProofAge = 5 * time.Minute
)

// ProofAudience is the audience of a proof that a workload calls the one of that
// host name, NAME.ENVIRONMENT.mesh. With the subject, whose trust domain is one
// environment's alone, it names the transition, and of that these two workloads.
func ProofAudience(host string) string { return "sallyport:proof:" + strings.ToLower(host) }

// checkProof holds what a half says of a proof, which is never the proof.
func checkProof(end *crossingv1.End) error {
	if end.GetProof() == "" {
		return nil
	}
	if digest, ok := strings.CutPrefix(end.GetProof(), "sha256:"); !ok || !lowerHex(digest, 64) {
		return errors.New("the proof is not a sha256 digest")
	}
	return nil
}
