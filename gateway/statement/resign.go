package statement

import (
	"crypto/sha256"

	"google.golang.org/protobuf/proto"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// Claim is a statement whose claim is signed with this key instead: a claim of the
// gateway's own, which an earlier process made with a key that nobody can be shown to
// be the gateway's any more. The claim is what it was.
func (s *Signer) Claim(st *crossingv1.Statement) *crossingv1.Statement {
	again := proto.CloneOf(st)
	again.Egress = s.sign(claimContext, sha256.Sum256(st.GetClaim()))
	return again
}

// Answer is a statement whose answer is: as Claim.
func (s *Signer) Answer(st *crossingv1.Statement) *crossingv1.Statement {
	again := proto.CloneOf(st)
	again.Ingress = s.sign(answerContext, sha256.Sum256(st.GetClaim()), sha256.Sum256(st.GetAnswer()))
	return again
}
