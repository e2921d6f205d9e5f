package signed

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/sallyport-mesh/sallyport/gateway/policy"
	"github.com/sallyport-mesh/sallyport/gateway/policy/jcs"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// keyring has signers 0 to n-1, the same ones each time.
func keyring(n int) (signers []Signer, public map[string][]byte) {
	public = map[string][]byte{}
	for i := range n {
		key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{byte(i + 1)}, ed25519.SeedSize))
		name := fmt.Sprintf("key-%d", i)
		signers = append(signers, NewSigner(name, key))
		public[name] = key.Public().(ed25519.PublicKey)
	}
	return signers, public
}

func keySet(threshold uint32, public map[string][]byte, names ...string) *policyv1.KeySet {
	k := &policyv1.KeySet{Threshold: threshold, Keys: map[string][]byte{}}
	for _, n := range names {
		k.Keys[n] = public[n]
	}
	return k
}

func signed(t testing.TB, signers ...Signer) *policyv1.SignedPolicy {
	t.Helper()
	sp, err := Sign(example(t), 3, "sha256:aa", true, signers...)
	if err != nil {
		t.Fatal(err)
	}
	return sp
}

func TestSignAndVerify(t *testing.T) {
	s, public := keyring(2)
	sp := signed(t, s...)
	m, p, err := Verify(sp, keySet(2, public, "key-0", "key-1"))
	if err != nil {
		t.Fatal(err)
	}
	if m.Policy != "acme-ai" || m.Serial != 3 || m.Previous != "sha256:aa" || !m.Urgent || m.Revision != Revision(sp.Policy) {
		t.Errorf("manifest %v", m)
	}
	if !proto.Equal(p, example(t)) {
		t.Error("another policy came out")
	}
}

func TestSignRefuses(t *testing.T) {
	s, _ := keyring(1)
	p := example(t)
	if _, err := Sign(p, 0, "", false, s...); err == nil {
		t.Error("serial 0 was signed")
	}
	p.Transitions[0].Owner = ""
	var faults policy.Faults
	if _, err := Sign(p, 1, "", false, s...); !errors.As(err, &faults) {
		t.Errorf("a policy that is not valid: %v", err)
	}
	if text := fmt.Sprintf("%v %+v %#v %s", s[0], s[0], s[0], s[0]); strings.Contains(text, "1, 1") || !strings.Contains(text, "redacted") {
		t.Errorf("a signer prints as %s", text)
	}
}

func TestVerifyRefuses(t *testing.T) {
	s, public := keyring(3)
	manifest := func(m *policyv1.Manifest, sign ...Signer) *policyv1.SignedPolicy {
		b, err := jcs.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return &policyv1.SignedPolicy{Manifest: b, Signatures: SignText(manifestContext, b, sign), Policy: signed(t).Policy}
	}
	revision := Revision(signed(t).Policy)
	invalid := func() *policyv1.SignedPolicy {
		p := example(t)
		p.Transitions[0].Owner = ""
		b, err := Canonical(p)
		if err != nil {
			t.Fatal(err)
		}
		sp := manifest(&policyv1.Manifest{Policy: "acme-ai", Serial: 1, Revision: Revision(b)}, s[0])
		sp.Policy = b
		return sp
	}
	loose := func() *policyv1.SignedPolicy {
		b := append(signed(t).Policy, '\n')
		sp := manifest(&policyv1.Manifest{Policy: "acme-ai", Serial: 1, Revision: Revision(b)}, s[0])
		sp.Policy = b
		return sp
	}
	huge := func() *policyv1.SignedPolicy {
		b := make([]byte, MaxCanonical+1)
		sp := manifest(&policyv1.Manifest{Policy: "acme-ai", Serial: 1, Revision: Revision(b)}, s[0])
		sp.Policy = b
		return sp
	}
	var faults policy.Faults
	for _, c := range []struct {
		name string
		sp   *policyv1.SignedPolicy
		keys *policyv1.KeySet
		is   error
	}{
		{"no signature", signed(t), keySet(1, public, "key-0"), ErrSignature},
		{"too large", huge(), keySet(1, public, "key-0"), ErrTooLarge},
		{"unknown key", signed(t, s[2]), keySet(1, public, "key-0"), ErrSignature},
		{"below the threshold", signed(t, s[0]), keySet(2, public, "key-0", "key-1"), ErrSignature},
		{"one key twice", signed(t, s[0], s[0]), keySet(2, public, "key-0", "key-1"), ErrSignature},
		{"a key under another's id", signed(t, NewSigner("key-1", s[0].(keySigner).key)), keySet(1, public, "key-0", "key-1"), ErrSignature},
		{"nothing", &policyv1.SignedPolicy{}, keySet(1, public, "key-0"), ErrSignature},
		{"nil", nil, keySet(1, public, "key-0"), ErrSignature},
		{"no keys", signed(t, s[0]), nil, ErrKeys},
		{"threshold 0", signed(t), &policyv1.KeySet{Keys: public}, ErrKeys},
		{"threshold out of reach", signed(t), keySet(2, public, "key-0"), ErrKeys},
		{"short key", signed(t, s[0]), &policyv1.KeySet{Threshold: 1, Keys: map[string][]byte{"key-0": {1}}}, ErrKeys},
		{"one key under two ids", signed(t, s[0]), &policyv1.KeySet{Threshold: 2, Keys: map[string][]byte{"a": public["key-0"], "b": public["key-0"]}}, ErrKeys},
		{"another policy", func() *policyv1.SignedPolicy {
			sp := signed(t, s[0])
			sp.Policy = bytes.Replace(sp.Policy, []byte("acme"), []byte("ACME"), 1)
			return sp
		}(), keySet(1, public, "key-0"), ErrRevision},
		{"policy of another name", manifest(&policyv1.Manifest{Policy: "x", Serial: 1, Revision: revision}, s[0]), keySet(1, public, "key-0"), ErrManifest},
		{"no serial", manifest(&policyv1.Manifest{Policy: "acme-ai", Revision: revision}, s[0]), keySet(1, public, "key-0"), ErrManifest},
		{"manifest not canonical", func() *policyv1.SignedPolicy {
			b := []byte(`{ "policy":"acme-ai","revision":"` + revision + `","serial":"1"}`)
			return &policyv1.SignedPolicy{Manifest: b, Signatures: SignText(manifestContext, b, s[:1]), Policy: signed(t).Policy}
		}(), keySet(1, public, "key-0"), ErrManifest},
		{"signed as a key set", func() *policyv1.SignedPolicy {
			sp := signed(t)
			sp.Signatures = SignText(keysContext, sp.Manifest, s[:1])
			return sp
		}(), keySet(1, public, "key-0"), ErrSignature},
		{"not canonical, but signed", loose(), keySet(1, public, "key-0"), ErrNotCanonical},
		{"not valid, but signed", invalid(), keySet(1, public, "key-0"), nil},
	} {
		m, p, err := Verify(c.sp, c.keys)
		if err == nil || m != nil || p != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if c.is == nil && !errors.As(err, &faults) || c.is != nil && !errors.Is(err, c.is) {
			t.Errorf("%s: %v, want %v", c.name, err, c.is)
		}
	}
}

func TestRotations(t *testing.T) {
	s, public := keyring(4)
	sets := make([]*policyv1.KeySet, 4)
	for i := range sets {
		sets[i] = keySet(1, public, fmt.Sprintf("key-%d", i))
	}
	var chain []*policyv1.KeyRotation
	for i := range 3 {
		r, err := SignKeys(sets[i+1], s[i])
		if err != nil {
			t.Fatal(err)
		}
		chain = append(chain, r)
	}
	forged, err := SignKeys(sets[3], s[3])
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		pinned int
		chain  []*policyv1.KeyRotation
		signer int
		is     error
	}{
		{"from the first", 0, chain, 3, nil},
		{"from the middle", 1, chain, 3, nil},
		{"from the last", 3, chain, 3, nil},
		{"an earlier key no longer counts", 0, chain, 0, ErrSignature},
		{"a link is missing", 0, chain[1:], 3, ErrSignature},
		{"not there yet", 0, chain[:1], 3, ErrSignature},
		{"signed by itself", 0, []*policyv1.KeyRotation{forged}, 3, ErrSignature},
		{"nobody signed", 0, []*policyv1.KeyRotation{{Next: chain[0].Next}}, 1, ErrSignature},
		{"too many", 0, make([]*policyv1.KeyRotation, maxRotations+1), 0, ErrKeys},
	} {
		sp := signed(t, s[c.signer])
		sp.Rotations = c.chain
		if _, _, err := Verify(sp, sets[c.pinned]); !errors.Is(err, c.is) {
			t.Errorf("%s: %v, want %v", c.name, err, c.is)
		}
	}
	if _, err := SignKeys(&policyv1.KeySet{}, s[0]); !errors.Is(err, ErrKeys) {
		t.Errorf("an empty key set was signed: %v", err)
	}
}

func FuzzVerify(f *testing.F) {
	s, public := keyring(2)
	keys := keySet(1, public, "key-0")
	sp := signed(f, s[0])
	r, err := SignKeys(keySet(1, public, "key-1"), s[0])
	if err != nil {
		f.Fatal(err)
	}
	sp.Rotations = append(sp.Rotations, r)
	for _, m := range []*policyv1.SignedPolicy{{}, signed(f), signed(f, s[0]), sp} {
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	good := signed(f, s[0])
	f.Fuzz(func(t *testing.T, b []byte) {
		m := &policyv1.SignedPolicy{}
		if proto.Unmarshal(b, m) != nil {
			return
		}
		_, _, err := Verify(m, keys)
		if err == nil && (!bytes.Equal(m.Manifest, good.Manifest) || !bytes.Equal(m.Policy, good.Policy)) {
			t.Fatal("verified what nobody signed")
		}
	})
}
