package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

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
		digits, is := strings.CutPrefix(text, "sha256:")
		if sum, err := hex.DecodeString(digits); is && err == nil && len(sum) == sha256.Size {
			d[[sha256.Size]byte(sum)] = struct{}{}
		}
	}
	return d
}
