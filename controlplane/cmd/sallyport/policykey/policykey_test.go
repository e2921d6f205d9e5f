package policykey

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

func TestGeneratedKeySignsForItsKeySet(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "operator")
	made, set, err := Generate(dir, "alice")
	if err != nil {
		t.Fatal(err)
	}
	readSet, err := ReadSet(filepath.Join(dir, KeySetFile))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(set, readSet, protocmp.Transform()); diff != "" {
		t.Errorf("key set read back differs:\n%s", diff)
	}
	key, err := Read(filepath.Join(dir, KeyFile), readSet)
	if err != nil {
		t.Fatal(err)
	}
	msg := []byte("manifest")
	if key.KeyID() != "alice" || !ed25519.Verify(readSet.GetKeys()["alice"], msg, key.Sign(msg)) {
		t.Errorf("key %q does not sign for its key set", key.KeyID())
	}
	if !bytes.Equal(made.Sign(msg), key.Sign(msg)) {
		t.Error("the key read back signs otherwise than the one made")
	}
}

func TestKeyFileIsPrivate(t *testing.T) {
	dir := t.TempDir()
	if _, _, err := Generate(dir, ""); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, KeyFile))
	if err != nil {
		t.Fatal(err)
	}
	if mode := info.Mode().Perm(); mode != 0o600 {
		t.Errorf("mode of %s is %o, want 600", KeyFile, mode)
	}
}

func TestGenerateNeverReplaces(t *testing.T) {
	for _, file := range []string{KeyFile, KeySetFile} {
		t.Run(file, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, file)
			if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, _, err := Generate(dir, ""); !errors.Is(err, ErrExists) {
				t.Errorf("Generate over %s = %v, want ErrExists", file, err)
			}
			entries, err := os.ReadDir(dir)
			if err != nil || len(entries) != 1 {
				t.Errorf("files after a refusal: %v, %v; want the old one alone", entries, err)
			}
			if text, _ := os.ReadFile(path); string(text) != "precious" {
				t.Errorf("%s now holds %q", file, text)
			}
		})
	}
}

func TestReadRefuses(t *testing.T) {
	_, stranger, _ := ed25519.GenerateKey(rand.Reader)
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		text []byte
		want string
	}{
		{"not PEM", []byte("hello"), "want one PEM block"},
		{"another PEM type", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte{1}}), "want one PEM block"},
		{"two blocks", bytes.Repeat(encoded(t, stranger), 2), "want one PEM block"},
		{"not PKCS 8", pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: []byte{1, 2}}), "parse PKCS #8"},
		{"another algorithm", encoded(t, p256), "want an Ed25519 key"},
		{"a key that is not in the set", encoded(t, stranger), "is not in the key set"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), KeyFile)
			if err := os.WriteFile(path, tt.text, 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := Read(path, &policyv1.KeySet{Threshold: 1, Keys: map[string][]byte{"a": make([]byte, 32)}})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Read = %v, want an error with %q", err, tt.want)
			}
		})
	}
}

func TestReadSetRefuses(t *testing.T) {
	const key = `"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="`
	tests := []struct{ name, text, want string }{
		{"unknown field", `{"threshold": 1, "keyz": {}}`, `unknown field "keyz"`},
		{"short key", `{"threshold": 1, "keys": {"a": "AAAA"}}`, "has 3 bytes"},
		{"no threshold", `{"keys": {"a": ` + key + `}}`, "threshold 0 of 1"},
		{"too high a threshold", `{"threshold": 2, "keys": {"a": ` + key + `}}`, "threshold 2 of 1"},
		{"no keys", `{"threshold": 1}`, "threshold 1 of 0"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), KeySetFile)
			if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := ReadSet(path); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("ReadSet(%s) = %v, want an error with %q", tt.text, err, tt.want)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	_, private, _ := ed25519.GenerateKey(rand.Reader)
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n"))
	f.Add(encoded(f, private))
	f.Fuzz(func(t *testing.T, text []byte) {
		key, err := Parse(text)
		if err == nil && len(key) != ed25519.PrivateKeySize {
			t.Errorf("Parse accepted a key of %d bytes", len(key))
		}
	})
}

func encoded(t testing.TB, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: der})
}
