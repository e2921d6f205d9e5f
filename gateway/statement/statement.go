package statement

import (
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// Stated is a statement that was read: well formed, within all limits, and its
// parts are of one another. Whether it was signed, VerifyEgress and VerifyIngress
// say.
type Stated struct {
	// Statement that was read.
	Statement *crossingv1.Statement
	// Chain that it is of.
	Chain Chain
	// Claim in it, and its hash.
	Claim     *crossingv1.Claim
	ClaimHash Hash
	// Answer in it, and its hash; nil if there is none.
	Answer     *crossingv1.Answer
	AnswerHash Hash
}

// Read reads a statement, its answer too if it has one. It refuses what is not
// well formed: a gap within it, numbers out of order, unknown fields.
func Read(s *crossingv1.Statement) (*Stated, error) { panic("to come") }

// EgressKey is the id of the key that the claim is said to be signed with.
func (s *Stated) EgressKey() Hash { panic("to come") }

// IngressKey is that of the answer; zero if there is none.
func (s *Stated) IngressKey() Hash { panic("to come") }

// VerifyEgress holds that the egress gateway signed the claim with that key.
func (s *Stated) VerifyEgress(k *Key) error { panic("to come") }

// VerifyIngress holds that the ingress gateway signed claim and answer with that
// key. It fails if there is no answer.
func (s *Stated) VerifyIngress(k *Key) error { panic("to come") }

// Voids are the numbers that never opened, rising.
func (s *Stated) Voids() []uint64 { panic("to come") }

// Closed are the numbers that the claim says have ended, rising.
func (s *Stated) Closed() []uint64 { panic("to come") }

// Deferred are those of them that the answer puts off, rising.
func (s *Stated) Deferred() []uint64 { panic("to come") }

// Numbers are those of a difference, rising.
func Numbers(d *crossingv1.Difference) []uint64 { panic("to come") }
