package statement

import (
	"testing"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// TestSignedAgain: what an earlier process of a gateway has signed is the same under
// another of its keys, and no other's.
func TestSignedAgain(t *testing.T) {
	p := newPair(t)
	p.cross()
	claim := p.claim(false)
	whole, err := p.review(claim)
	if err != nil {
		t.Fatal(err)
	}
	other := newParty(t, nearGateway, "0123456789abcdef0123456789abcdef")
	again := other.signer.Claim(claim)
	if st, err := Read(again); err != nil || st.VerifyEgress(other.key) != nil || string(again.GetClaim()) != string(claim.GetClaim()) {
		t.Errorf("claim signed again: %v", err)
	}
	if st, _ := Read(claim); st.VerifyEgress(other.key) == nil {
		t.Error("the first signature is another key's, too")
	}
	third := newParty(t, farGateway, "0123456789abcdef0123456789abcdee")
	again = third.signer.Answer(whole)
	if st, err := Read(again); err != nil || st.VerifyIngress(third.key) != nil || string(again.GetAnswer()) != string(whole.GetAnswer()) {
		t.Errorf("answer signed again: %v", err)
	}
	if _, err := p.egress.Check(&crossingv1.Statement{Claim: claim.GetClaim(), Answer: again.GetAnswer(), Ingress: again.GetIngress()}, third.key); err != nil {
		t.Errorf("the egress gateway does not take it: %v", err)
	}
}
