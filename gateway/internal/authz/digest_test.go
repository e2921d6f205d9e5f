package authz

import (
	"strings"
	"testing"

	"github.com/sallyport-mesh/sallyport/gateway/internal/xdsclient"
	"github.com/sallyport-mesh/sallyport/gateway/policy"
	"github.com/sallyport-mesh/sallyport/gateway/policy/policytest"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// requiring has all that is allowed be of one digest, of that byte alone, in hex.
func requiring(b string) func(*policyv1.Policy) {
	return func(p *policyv1.Policy) {
		p.Lists = map[string]*policyv1.List{"l": {Digests: []string{"sha256:" + strings.Repeat(b, 32)}}}
		p.Intents[0].Allow.Methods, p.Intents[0].Allow.Paths = nil, nil
		p.Intents[0].Require = &policyv1.Require{Digest: &policyv1.DigestRule{In: "l"}}
		p.Intents = p.Intents[:1]
	}
}

// allBy says that content of a byte's digest may move, by all that decided.
func allBy(v *Verdict, b byte) bool {
	var sum [32]byte
	for i := range sum {
		sum[i] = b
	}
	for _, d := range v.Digests() {
		if !d.Has(sum) {
			return false
		}
	}
	return true
}

// TestDigestsUnderTwoPolicies: content must be in the lists of both, and the egress
// gateway knows of its own.
func TestDigestsUnderTwoPolicies(t *testing.T) {
	estate := func(serial uint64, change func(*policyv1.Policy)) *policy.Policy {
		return policytest.Estate(t, serial, change)
	}
	good := post("llm.far.mesh:8000", "/v1/chat")
	for _, c := range []struct {
		name           string
		current, named *policy.Policy
		lists          int
		ab, cd         bool
	}{
		{"neither", estate(2, nil), estate(1, nil), 0, true, true},
		{"one", estate(2, requiring("ab")), estate(1, nil), 1, true, false},
		{"the other", estate(2, nil), estate(1, requiring("cd")), 1, false, true},
		{"both", estate(2, requiring("ab")), estate(1, requiring("cd")), 2, false, false},
		{"both alike", estate(2, requiring("ab")), estate(1, requiring("ab")), 2, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := New(farGW, "far", held{p: &xdsclient.Policies{Current: c.current, Prepared: c.named}}).Ingress(nearGW, header(1), good, now)
			if !v.Allow || len(v.Digests()) != c.lists || allBy(&v, 0xab) != c.ab || allBy(&v, 0xcd) != c.cd {
				t.Errorf("allow %v (%s), digests %x", v.Allow, v.Reason, v.Digests())
			}
			v.Again(now)
			if len(v.Digests()) != c.lists {
				t.Errorf("decided again, %d lists", len(v.Digests()))
			}
		})
	}
}
