package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// ParseSHA256 reads a digest as policies and registries write it: "sha256:" and 64 hex
// digits in lower case.
func ParseSHA256(text string) (sum [sha256.Size]byte, ok bool) {
	digits, found := strings.CutPrefix(text, "sha256:")
	if !found || len(digits) != hex.EncodedLen(len(sum)) || strings.ToLower(digits) != digits {
		return sum, false
	}
	_, err := hex.Decode(sum[:], []byte(digits))
	return sum, err == nil
}

// Digests are the SHA-256 of contents that may move.
type Digests map[[sha256.Size]byte]struct{}

// Has says whether a digest is one of them.
func (d Digests) Has(sum [sha256.Size]byte) bool {
	_, has := d[sum]
	return has
}

// Digests are those that an intent requires content to be of; nil if it requires none, or
// is not known. One that requires a digest has them, if only none that anything can be of.
func (p *Policy) Digests(intent string) Digests { return p.digests[intent] }

// addDigests compiles what Validate has accepted.
func (p *Policy) addDigests(in *policyv1.Policy) {
	p.digests = map[string]Digests{}
	for _, i := range in.GetIntents() {
		if rule := i.GetRequire().GetDigest(); rule != nil {
			p.digests[i.GetName()] = digestsOf(in.GetLists()[rule.GetIn()])
		}
	}
}

// digestsOf are those of a list that content can be held against.
func digestsOf(l *policyv1.List) Digests {
	d := Digests{}
	for _, text := range l.GetDigests() {
		if sum, ok := ParseSHA256(text); ok {
			d[sum] = struct{}{}
		}
	}
	return d
}
