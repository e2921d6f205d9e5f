package signed

import (
	"crypto/ed25519"
	"errors"
	"fmt"

	"github.com/sallyport-mesh/sallyport/gateway/policy"
	"github.com/sallyport-mesh/sallyport/gateway/policy/jcs"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// What is signed begins with what it is, so that no signature over one can be
// shown for the other.
const (
	manifestContext = "sallyport policy manifest v1\n"
	keysContext     = "sallyport policy keys v1\n"
)

// Signer makes detached Ed25519 signatures on the operator's side.
type Signer interface {
	// KeyID is the key's id in the key set.
	KeyID() string
	// Sign is the 64-byte signature over msg.
	Sign(msg []byte) []byte
}

// NewSigner is a signer with the key at hand.
func NewSigner(keyID string, key ed25519.PrivateKey) Signer { return keySigner{keyID, key} }

type keySigner struct {
	id  string
	key ed25519.PrivateKey
}

func (s keySigner) KeyID() string          { return s.id }
func (s keySigner) Sign(msg []byte) []byte { return ed25519.Sign(s.key, msg) }

// String keeps the key out of logs.
func (s keySigner) String() string { return s.id + " [redacted]" }

// GoString keeps the key out of logs.
func (s keySigner) GoString() string { return s.String() }

// Sign makes a policy ready to be published: canonical, named by its content
// and signed. previous is the revision before it, "" for the first. It fails
// with policy.Faults if the policy is not valid.
func Sign(p *policyv1.Policy, serial uint64, previous string, urgent bool, signers ...Signer) (*policyv1.SignedPolicy, error) {
	if faults := policy.Validate(p); len(faults) > 0 {
		return nil, faults
	}
	if serial == 0 {
		return nil, errors.New("sign policy: serials begin with 1")
	}
	canonical, err := Canonical(p)
	if err != nil {
		return nil, err
	}
	manifest, err := jcs.Marshal(&policyv1.Manifest{
		Policy: p.GetPolicy(), Serial: serial, Revision: Revision(canonical), Previous: previous, Urgent: urgent,
	})
	if err != nil {
		return nil, fmt.Errorf("write manifest: %w", err)
	}
	return &policyv1.SignedPolicy{
		Manifest: manifest, Policy: canonical, Signatures: SignText(manifestContext, manifest, signers),
	}, nil
}

// SignKeys makes the key set that follows the one of the signers.
func SignKeys(next *policyv1.KeySet, signers ...Signer) (*policyv1.KeyRotation, error) {
	if err := CheckKeys(next); err != nil {
		return nil, err
	}
	b, err := jcs.Marshal(next)
	if err != nil {
		return nil, fmt.Errorf("write key set: %w", err)
	}
	return &policyv1.KeyRotation{Next: b, Signatures: SignText(keysContext, b, signers)}, nil
}

// SignText makes each signer's signature over a text. The context begins what is
// signed and says what the text is: no two kinds of text may have the same one.
func SignText(context string, text []byte, signers []Signer) []*policyv1.Signature {
	var out []*policyv1.Signature
	for _, s := range signers {
		out = append(out, &policyv1.Signature{Key: s.KeyID(), Ed25519: s.Sign(append([]byte(context), text...))})
	}
	return out
}
