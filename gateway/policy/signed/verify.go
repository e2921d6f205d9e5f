package signed

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"

	"github.com/sallyport-mesh/sallyport/gateway/policy"
	"github.com/sallyport-mesh/sallyport/gateway/policy/jcs"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// Why a signed policy is refused. ErrNotCanonical and policy.Faults are others.
var (
	// ErrKeys: a key set that nobody can sign under.
	ErrKeys = errors.New("bad key set")
	// ErrSignature: fewer known keys than the threshold have signed.
	ErrSignature = errors.New("not signed by enough known keys")
	// ErrManifest: the manifest is not readable or contradicts the policy.
	ErrManifest = errors.New("bad manifest")
	// ErrRevision: the policy is not the one that the manifest names.
	ErrRevision = errors.New("the policy is not the one that the manifest names")
	// ErrTooLarge: the policy is longer than MaxCanonical.
	ErrTooLarge = errors.New("the policy is too large")
)

const (
	maxManifest   = 4 << 10
	maxRotations  = 256
	maxSignatures = 64
	maxKeySet     = 64 << 10
)

// Verify reads a signed policy under a pinned key set, or under one that
// follows it by the rotations that come along. Nothing that is not signed is
// parsed but the rotations. The policy is valid; dates are not judged, nor is
// the serial compared with others.
func Verify(sp *policyv1.SignedPolicy, keys *policyv1.KeySet) (*policyv1.Manifest, *policyv1.Policy, error) {
	keys, err := Keys(sp, keys)
	if err != nil {
		return nil, nil, fmt.Errorf("verify policy: %w", err)
	}
	m, err := verifyManifest(sp, keys)
	if err != nil {
		return nil, nil, fmt.Errorf("verify policy: %w", err)
	}
	if n := len(sp.GetPolicy()); n > MaxCanonical {
		return nil, nil, fmt.Errorf("verify policy: %w: it has %d bytes, at most %d", ErrTooLarge, n, MaxCanonical)
	}
	if Revision(sp.GetPolicy()) != m.GetRevision() {
		return nil, nil, fmt.Errorf("verify policy: %w", ErrRevision)
	}
	p, err := Decode(sp.GetPolicy())
	if err != nil {
		return nil, nil, fmt.Errorf("verify policy: %w", err)
	}
	if p.GetPolicy() != m.GetPolicy() {
		return nil, nil, fmt.Errorf("verify policy: %w: it is of policy %q, not %q", ErrManifest, m.GetPolicy(), p.GetPolicy())
	}
	if faults := policy.Validate(p); len(faults) > 0 {
		return nil, nil, fmt.Errorf("verify policy: %w", faults)
	}
	return m, p, nil
}

func verifyManifest(sp *policyv1.SignedPolicy, keys *policyv1.KeySet) (*policyv1.Manifest, error) {
	if len(sp.GetManifest()) > maxManifest {
		return nil, fmt.Errorf("%w: longer than %d bytes", ErrManifest, maxManifest)
	}
	if err := CheckSignatures(manifestContext, sp.GetManifest(), sp.GetSignatures(), keys); err != nil {
		return nil, err
	}
	m := &policyv1.Manifest{}
	if err := jcs.Unmarshal(sp.GetManifest(), m); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrManifest, err)
	}
	if m.GetSerial() == 0 {
		return nil, fmt.Errorf("%w: no serial", ErrManifest)
	}
	return m, nil
}

// Keys is the key set that must have signed the policy: the last one that the
// rotations lead to from the pinned one. A chain may begin before the pinned
// one; what comes before it is skipped.
func Keys(sp *policyv1.SignedPolicy, pinned *policyv1.KeySet) (*policyv1.KeySet, error) {
	if err := CheckKeys(pinned); err != nil {
		return nil, err
	}
	rotations := sp.GetRotations()
	if len(rotations) > maxRotations {
		return nil, fmt.Errorf("%w: more than %d rotations", ErrKeys, maxRotations)
	}
	own, err := jcs.Marshal(pinned)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKeys, err)
	}
	for i := len(rotations) - 1; i >= 0; i-- {
		if bytes.Equal(rotations[i].GetNext(), own) {
			rotations = rotations[i+1:]
			break
		}
	}
	keys := pinned
	for i, r := range rotations {
		if keys, err = rotate(r, keys); err != nil {
			return nil, fmt.Errorf("key rotation %d: %w", i+1, err)
		}
	}
	return keys, nil
}

func rotate(r *policyv1.KeyRotation, keys *policyv1.KeySet) (*policyv1.KeySet, error) {
	if len(r.GetNext()) > maxKeySet {
		return nil, fmt.Errorf("%w: longer than %d bytes", ErrKeys, maxKeySet)
	}
	if err := CheckSignatures(keysContext, r.GetNext(), r.GetSignatures(), keys); err != nil {
		return nil, err
	}
	next := &policyv1.KeySet{}
	if err := jcs.Unmarshal(r.GetNext(), next); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKeys, err)
	}
	return next, CheckKeys(next)
}

// CheckKeys refuses a key set under which the threshold means nothing: none,
// more than there are keys, or one key under two ids.
func CheckKeys(k *policyv1.KeySet) error {
	if k.GetThreshold() == 0 || uint64(k.GetThreshold()) > uint64(len(k.GetKeys())) {
		return fmt.Errorf("%w: threshold %d of %d keys", ErrKeys, k.GetThreshold(), len(k.GetKeys()))
	}
	seen := map[string]string{}
	for id, key := range k.GetKeys() {
		if len(key) != ed25519.PublicKeySize {
			return fmt.Errorf("%w: key %q has %d bytes, not %d", ErrKeys, id, len(key), ed25519.PublicKeySize)
		}
		if other, twice := seen[string(key)]; twice {
			return fmt.Errorf("%w: %q and %q are one key", ErrKeys, min(id, other), max(id, other))
		}
		seen[string(key)] = id
	}
	return nil
}

// CheckSignatures demands good signatures over a text of as many different known
// keys as the threshold says. Others are of no account. The context says what the
// text is. The error is ErrSignature.
func CheckSignatures(context string, text []byte, signatures []*policyv1.Signature, keys *policyv1.KeySet) error {
	if len(signatures) > maxSignatures {
		return fmt.Errorf("%w: more than %d signatures", ErrSignature, maxSignatures)
	}
	message := append([]byte(context), text...)
	good := map[string]bool{}
	for _, s := range signatures {
		key := keys.GetKeys()[s.GetKey()]
		if len(key) == ed25519.PublicKeySize && ed25519.Verify(key, message, s.GetEd25519()) {
			good[s.GetKey()] = true
		}
	}
	if uint64(len(good)) < uint64(keys.GetThreshold()) {
		return fmt.Errorf("%w: %d of %d", ErrSignature, len(good), keys.GetThreshold())
	}
	return nil
}
