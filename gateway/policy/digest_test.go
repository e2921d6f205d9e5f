package policy

import (
	"strings"
	"testing"

	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// TestDigests: an intent's digests are those of its list that content can be held against.
func TestDigests(t *testing.T) {
	p := small(t, `[{"name":"i","allow":{},"require":{"digest":{"in":"released"}}},{"name":"j","allow":{}}]`)
	p.Lists["released"].Digests = append(p.Lists["released"].Digests,
		"sha256:ff000000000000000000000000000000000000000000000000000000000000ff",
		"sha384:"+strings.Repeat("0", 96))
	p.Lists["others"] = &policyv1.List{Digests: []string{"sha384:" + strings.Repeat("0", 96)}}
	p.Intents = append(p.Intents, &policyv1.Intent{
		Name: "k", Allow: &policyv1.Match{}, Require: &policyv1.Require{Digest: &policyv1.DigestRule{In: "others"}},
	})
	c := compiled(t, p)
	first, second := [32]byte{31: 0xff}, [32]byte{0: 0xff, 31: 0xff}
	if d := c.Digests("i"); len(d) != 2 || !d.Has(first) || !d.Has(second) || d.Has([32]byte{}) {
		t.Errorf("i requires %x", d)
	}
	if c.Digests("j") != nil || c.Digests("unknown") != nil {
		t.Error("an intent requires what it does not say")
	}
	if d := c.Digests("k"); d == nil || len(d) != 0 {
		t.Errorf("k requires %x, want what nothing can be of", d)
	}
}
