package signed

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/sallyport-mesh/sallyport/gateway/policy/jcs"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// MaxCanonical is how long a policy's canonical bytes may be.
const MaxCanonical = 12 << 20

// ErrNotCanonical says that bytes are not the canonical form of what they say.
var ErrNotCanonical = jcs.ErrNotCanonical

// Normalize sorts what has no order in a policy, in place. Data classes and
// layers keep theirs.
func Normalize(p *policyv1.Policy) {
	for _, e := range p.GetEnvironments() {
		slices.Sort(e.GetNetworks())
		for _, g := range e.GetGateways() {
			slices.Sort(g.GetAddresses())
		}
	}
	for _, w := range p.GetWorkloads() {
		slices.Sort(w.GetAddresses())
	}
	for _, l := range p.GetLists() {
		slices.Sort(l.GetDigests())
	}
	for _, in := range p.GetIntents() {
		for _, m := range [...]*policyv1.Match{in.GetAllow(), in.GetDeny()} {
			slices.Sort(m.GetMethods())
			slices.Sort(m.GetPaths())
		}
	}
	slices.SortStableFunc(p.GetIntents(), func(a, b *policyv1.Intent) int {
		return strings.Compare(a.GetName(), b.GetName())
	})
	slices.SortStableFunc(p.GetTransitions(), func(a, b *policyv1.Transition) int {
		return cmp.Or(strings.Compare(a.GetFrom(), b.GetFrom()), strings.Compare(a.GetTo(), b.GetTo()))
	})
	sortByContent(p.GetTests())
	sortByContent(p.GetExceptions())
}

// sortByContent sorts messages by their canonical JSON.
func sortByContent[M proto.Message](list []M) {
	type item struct {
		m   M
		key []byte
	}
	items := make([]item, len(list))
	for i, m := range list {
		b, _ := jcs.Marshal(m) // without a key it keeps its place
		items[i] = item{m, b}
	}
	slices.SortStableFunc(items, func(a, b item) int { return bytes.Compare(a.key, b.key) })
	for i := range items {
		list[i] = items[i].m
	}
}

// Canonical is a policy's one form as bytes: RFC 8785 over the JSON names of
// its fields, normalized, empty fields left out. The policy is not changed. It
// fails if a text is not UTF-8.
func Canonical(p *policyv1.Policy) ([]byte, error) {
	p = proto.CloneOf(p)
	Normalize(p)
	b, err := jcs.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("write policy %q: %w", p.GetPolicy(), err)
	}
	return b, nil
}

// Decode reads a policy from its canonical bytes; any others are refused. It
// does not validate.
func Decode(canonical []byte) (*policyv1.Policy, error) {
	if len(canonical) > MaxCanonical {
		return nil, fmt.Errorf("read policy: %d bytes, at most %d", len(canonical), MaxCanonical)
	}
	p := &policyv1.Policy{}
	if err := (protojson.UnmarshalOptions{}).Unmarshal(canonical, p); err != nil {
		return nil, fmt.Errorf("read policy: %w", err)
	}
	again, err := Canonical(p)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(again, canonical) {
		return nil, fmt.Errorf("read policy: %w", ErrNotCanonical)
	}
	return p, nil
}

// Revision names a policy by its canonical bytes: "sha256:HEX".
func Revision(canonical []byte) string {
	sum := sha256.Sum256(canonical)
	return "sha256:" + hex.EncodeToString(sum[:])
}
