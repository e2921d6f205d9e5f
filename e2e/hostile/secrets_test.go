package hostile

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/sallyport-mesh/sallyport/e2e/meshtest"
)

// loot is everything that somebody keeps, by name: files, and what is in a store.
type loot map[string][]byte

// takeFiles copies a directory, and gives what is in it.
func takeFiles(t *testing.T, dir string) loot {
	t.Helper()
	all := loot{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		all[path], err = os.ReadFile(path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// takeStore opens a copy of an embedded NATS store, and adds all messages in it.
func (l loot) takeStore(t *testing.T, dir string) {
	t.Helper()
	copied := meshtest.Dir(t)
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	ns, err := server.NewServer(&server.Options{DontListen: true, JetStream: true, StoreDir: copied, NoSigs: true})
	if err != nil {
		t.Fatal(err)
	}
	ns.Start()
	defer ns.Shutdown()
	if !ns.ReadyForConnections(meshtest.Patience) {
		t.Fatal("the copy of the store does not start")
	}
	nc, err := nats.Connect("", nats.InProcessServer(ns))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	streams := js.ListStreams(t.Context())
	for info := range streams.Info() {
		s, err := js.Stream(t.Context(), info.Config.Name)
		if err != nil {
			t.Fatal(err)
		}
		for n := info.State.FirstSeq; n <= info.State.LastSeq; n++ {
			if msg, err := s.GetMsg(t.Context(), n); err == nil { // some were deleted
				l[info.Config.Name+" "+msg.Subject+" "+msg.Time.Format(time.RFC3339Nano)] = msg.Data
			}
		}
	}
	if err := streams.Err(); err != nil {
		t.Fatal(err)
	}
}

// What private keys look like in text: PEM, a JWK's private part, an nkey's seed.
var keyTexts = regexp.MustCompile(`PRIVATE KEY-----|"(d|k|seed)"\s*:\s*"[A-Za-z0-9_+/=-]{32,}"|\bS[ANOUCX][A-Z2-7]{56}\b`)

// privateKeys says where in bytes there are private keys, of whatever owner.
func privateKeys(b []byte) []string {
	var found []string
	for _, at := range keyTexts.FindAllIndex(b, -1) {
		found = append(found, string(b[at[0]:min(at[1], at[0]+24)]))
	}
	for i := range b {
		if b[i] != 0x30 { // no ASN.1 SEQUENCE, as all of them are
			continue
		}
		var whole asn1.RawValue
		if _, err := asn1.Unmarshal(b[i:], &whole); err != nil || len(whole.FullBytes) < 32 {
			continue
		}
		if _, err := x509.ParsePKCS8PrivateKey(whole.FullBytes); err == nil {
			found = append(found, "PKCS #8")
		}
		if _, err := x509.ParseECPrivateKey(whole.FullBytes); err == nil {
			found = append(found, "SEC 1")
		}
		if _, err := x509.ParsePKCS1PrivateKey(whole.FullBytes); err == nil {
			found = append(found, "PKCS #1")
		}
	}
	return found
}

// secrets are the private keys of a PEM file as the numbers that they are, which
// somebody might keep in another form.
func secrets(t *testing.T, text []byte) [][]byte {
	t.Helper()
	var all [][]byte
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			continue
		}
		switch key := key.(type) {
		case *ecdsa.PrivateKey:
			d, err := key.Bytes()
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, d)
		case ed25519.PrivateKey:
			all = append(all, key.Seed())
		}
	}
	return all
}

// has says whether a secret stands in bytes in one of the forms in which people
// write such.
func has(b, secret []byte) bool {
	for _, form := range [][]byte{
		secret,
		[]byte(hex.EncodeToString(secret)), []byte(strings.ToUpper(hex.EncodeToString(secret))),
		[]byte(base64.RawStdEncoding.EncodeToString(secret)), []byte(base64.RawURLEncoding.EncodeToString(secret)),
	} {
		if bytes.Contains(b, form) {
			return true
		}
	}
	return false
}

// TestPrivateKeysAreFound in every form in which somebody may keep one: else to find
// none would say nothing.
func TestPrivateKeysAreFound(t *testing.T) {
	t.Parallel()
	ec, weak := ecKey(t, elliptic.P256()), rsaKey(t, 1024)
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	must := func(b []byte, err error) []byte {
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	around := func(b []byte) []byte {
		return slices.Concat([]byte("0\x82\x01\x00 what stands before "), b, []byte(" and behind"))
	}
	for name, b := range map[string][]byte{
		"PKCS #8":          must(x509.MarshalPKCS8PrivateKey(ec)),
		"PKCS #8, Ed25519": must(x509.MarshalPKCS8PrivateKey(edwards)),
		"SEC 1":            must(x509.MarshalECPrivateKey(ec)),
		"PKCS #1":          x509.MarshalPKCS1PrivateKey(weak),
		"PEM":              pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: []byte("x")}),
		"JWK":              must(json.Marshal(jose.JSONWebKey{Key: ec})),
		"nkey":             []byte("SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY"),
	} {
		if len(privateKeys(around(b))) == 0 {
			t.Errorf("%s is not found", name)
		}
	}
	seed := edwards.Seed()
	for _, b := range [][]byte{seed, []byte(hex.EncodeToString(seed)), []byte(base64.StdEncoding.EncodeToString(seed)), []byte(base64.URLEncoding.EncodeToString(seed))} {
		if !has(around(b), seed) {
			t.Errorf("a seed is not found in %q", b)
		}
	}
	public := must(x509.MarshalPKIXPublicKey(ec.Public()))
	if found := privateKeys(around(public)); len(found) > 0 || has(public, seed) {
		t.Errorf("a public key is taken for a private one: %q", found)
	}
}
