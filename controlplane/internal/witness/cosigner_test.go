package witness

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
)

// specCheckpoint is the example of tlog-cosignature.
const specCheckpoint = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"

// TestCosignedMessage holds the signed message to the one that tlog-cosignature
// shows ("Ed25519 signed message").
func TestCosignedMessage(t *testing.T) {
	t.Parallel()
	const want = "cosignature/v1\ntime 1679315147\n" + specCheckpoint
	if got := string(cosigned(1679315147, []byte(specCheckpoint))); got != want {
		t.Errorf("the message is %q, want %q", got, want)
	}
}

// TestCosignerKeys holds that keys come back as they were written, and nothing
// else does.
func TestCosignerKeys(t *testing.T) {
	t.Parallel()
	c, err := generateCosigner(testName)
	if err != nil {
		t.Fatal(err)
	}
	again, err := parseCosigner(c.encode())
	if err != nil || again.encode() != c.encode() || again.vkey() != c.vkey() {
		t.Fatalf("read as %v, %v", again, err)
	}
	fields := strings.SplitN(c.vkey(), "+", 3)
	public, err := base64.StdEncoding.DecodeString(fields[2])
	if err != nil || fields[0] != testName || len(public) != 33 || public[0] != 4 {
		t.Errorf("the verifier key is %q, %v", c.vkey(), err)
	}
	ed25519Key, _, err := note.GenerateKey(rand.Reader, testName)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"empty":             "",
		"a verifier key":    c.vkey(),
		"of a plain signer": ed25519Key,
		"another ID":        strings.Replace(c.encode(), "+"+fields[1]+"+", "+00000000+", 1),
		"cut short":         c.encode()[:len(c.encode())-4],
		"with more":         c.encode() + "AAAA",
		"without a name":    strings.Replace(c.encode(), testName, "", 1),
	} {
		if _, err := parseCosigner(text); err == nil {
			t.Errorf("%s: %q was read", name, text)
		}
	}
}

// TestCosignatureCommits holds that each bit of a cosignature and of what it is
// for counts.
func TestCosignatureCommits(t *testing.T) {
	t.Parallel()
	c := newCosigner(testName, bytes.Repeat([]byte{7}, 32))
	sig, err := stamped{c, 1679315147}.Sign([]byte(specCheckpoint))
	if err != nil || !c.Verify([]byte(specCheckpoint), sig) {
		t.Fatalf("a good cosignature does not verify: %v", err)
	}
	for i := range sig {
		for bit := range 8 {
			changed := bytes.Clone(sig)
			changed[i] ^= 1 << bit
			if c.Verify([]byte(specCheckpoint), changed) {
				t.Fatalf("bit %d of byte %d does not count", bit, i)
			}
		}
	}
	if c.Verify([]byte(specCheckpoint+"x\n"), sig) || c.Verify([]byte(specCheckpoint), sig[:71]) || c.Verify(nil, nil) {
		t.Error("a wrong cosignature verifies")
	}
}
