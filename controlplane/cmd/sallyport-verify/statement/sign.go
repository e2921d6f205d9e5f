package statement

import (
	"crypto/ed25519"
	"crypto/sha256"
	"errors"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/merkle"
)

// What is signed begins with one of these (gateway/statement/FORMAT.md, "Signatures").
const (
	claimText        = "sallyport.statement.v1 claim\x00"
	answerText       = "sallyport.statement.v1 answer\x00"
	heartbeatText    = "sallyport.statement.v1 heartbeat\x00"
	announcementText = "sallyport.statement.v1 announcement\x00"
)

// ErrSignature is of a signature that the key which it names did not make.
var ErrSignature = errors.New("the signature is not right")

// verify holds that a key made the signature of hashes behind a text.
func (s *Signature) verify(key ed25519.PublicKey, text string, hashes ...merkle.Hash) error {
	signed := make([]byte, 0, 3*sha256.Size+sha256.Size)
	signed = append(signed, text...)
	for _, h := range hashes {
		signed = append(signed, h[:]...)
	}
	if sha256.Sum256(key) != s.Key || !ed25519.Verify(key, signed, s.Value) {
		return ErrSignature
	}
	return nil
}

// VerifyClaim holds that the claim was signed with that key.
func (s *Statement) VerifyClaim(key ed25519.PublicKey) error {
	return s.Signature.verify(key, claimText, s.Hash)
}

// VerifyAnswer holds that claim and answer were. There must be an answer.
func (s *Statement) VerifyAnswer(key ed25519.PublicKey) error {
	return s.Answer.Signature.verify(key, answerText, s.Hash, s.Answer.Hash)
}

// Announced is what the key of an SVID signs of an announcement: its hash, without the
// signature.
func Announced(hash merkle.Hash) []byte { return append([]byte(announcementText), hash[:]...) }
