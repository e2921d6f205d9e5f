package trust

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/big"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/keys"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/message"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/verifytest"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/wire"
	"github.com/sallyport-mesh/sallyport/gateway/statement"
	configv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/config/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

const gateway = "spiffe://near.example/sallyport/gateway/near-1"

func book(t testing.TB, lines string) *Book {
	t.Helper()
	f, err := keys.Parse([]byte(lines))
	if err != nil {
		t.Fatal(err)
	}
	return NewBook(f)
}

func rootLine(td string, root *x509.Certificate) string {
	return "root " + td + " " + base64.StdEncoding.EncodeToString(root.Raw) + "\n"
}

func decoded(t testing.TB, s *wire.Schema, m proto.Message) *wire.Message {
	t.Helper()
	data, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	got, err := wire.Decode(s, data)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// announcement of a new key under an SVID of an authority.
func announcement(t testing.TB, a *verifytest.Authority, change func(a *crossingv1.Announcement)) *wire.Message {
	t.Helper()
	svid, key := a.SVID(gateway, verifytest.Began.Add(-time.Minute), time.Hour)
	m, err := statement.NewSigner().Announce(gateway, strings.Repeat("ab", 16), [][]byte{svid.Raw}, key, verifytest.Began)
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(m)
	}
	return decoded(t, message.Announcement, m)
}

// TestAnnounce: a key is a gateway's from its announcement on, for as long as its SVID.
func TestAnnounce(t *testing.T) {
	a := verifytest.NewAuthority(t, "near.example", verifytest.Began.Add(-time.Hour), 24*time.Hour)
	b := book(t, rootLine("near.example", a.Root))
	m := announcement(t, a, nil)
	id := sha256.Sum256(m.Bytes("key"))
	if _, err := b.Key(gateway, id); err == nil || errors.Is(err, keys.ErrNoKey) {
		t.Errorf("before it is announced: %v", err)
	}
	if err := b.Announce(m); err != nil {
		t.Fatal(err)
	}
	k, err := b.Key(gateway, id)
	end := verifytest.Began.Add(59 * time.Minute)
	if err != nil || !k.Covers(end) || k.Covers(end.Add(time.Second)) || !k.Timely(end.Add(Grace)) || k.Timely(end.Add(Grace+time.Second)) {
		t.Errorf("%+v, %v", k, err)
	}
	if _, err := b.Key("spiffe://near.example/sallyport/gateway/near-2", id); err == nil {
		t.Error("it is another gateway's, too")
	}
}

// TestAnnounceRefused: what is not right, and what cannot be told.
func TestAnnounceRefused(t *testing.T) {
	a := verifytest.NewAuthority(t, "near.example", verifytest.Began.Add(-time.Hour), 24*time.Hour)
	other := verifytest.NewAuthority(t, "near.example", verifytest.Began.Add(-time.Hour), 24*time.Hour)
	good := book(t, rootLine("near.example", a.Root))
	if err := good.Announce(announcement(t, other, nil)); err == nil || errors.Is(err, keys.ErrNoKey) {
		t.Errorf("under another root: %v", err)
	}
	if err := book(t, rootLine("far.example", a.Root)).Announce(announcement(t, a, nil)); !errors.Is(err, keys.ErrNoKey) {
		t.Errorf("without root: %v", err)
	}
	stranger, _ := a.SVID("spiffe://near.example/ai/llm", verifytest.Began.Add(-time.Minute), time.Hour)
	for name, change := range map[string]func(m *crossingv1.Announcement){
		"another key":          func(m *crossingv1.Announcement) { m.Key[0] ^= 1 },
		"another run":          func(m *crossingv1.Announcement) { m.Run = strings.Repeat("cd", 16) },
		"no run":               func(m *crossingv1.Announcement) { m.Run = "" },
		"another time":         func(m *crossingv1.Announcement) { m.At.Seconds++ },
		"another gateway":      func(m *crossingv1.Announcement) { m.Gateway += "x" },
		"no gateway":           func(m *crossingv1.Announcement) { m.Gateway = "" },
		"another signature":    func(m *crossingv1.Announcement) { m.Signature[9] ^= 1 },
		"a long signature":     func(m *crossingv1.Announcement) { m.Signature = make([]byte, maxSignature+1) },
		"no algorithm":         func(m *crossingv1.Announcement) { m.Algorithm = 0 },
		"a short key":          func(m *crossingv1.Announcement) { m.Key = m.Key[1:] },
		"no SVID":              func(m *crossingv1.Announcement) { m.Chain = nil },
		"many certificates":    func(m *crossingv1.Announcement) { m.Chain = make([][]byte, maxCertificates+1) },
		"a long certificate":   func(m *crossingv1.Announcement) { m.Chain[0] = make([]byte, maxCertificate+1) },
		"no certificate":       func(m *crossingv1.Announcement) { m.Chain[0] = []byte{1} },
		"somebody else's":      func(m *crossingv1.Announcement) { m.Chain[0] = stranger.Raw },
		"an authority's own":   func(m *crossingv1.Announcement) { m.Chain[0] = a.Root.Raw },
		"after the SVID's end": func(m *crossingv1.Announcement) { m.At.Seconds += 7200 },
	} {
		if err := good.Announce(announcement(t, a, change)); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// TestKeysOfSVIDs: an announcement is signed with whatever key an SVID may have.
func TestKeysOfSVIDs(t *testing.T) {
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]crypto.Signer{"Ed25519": ed}
	for _, c := range []elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()} {
		if all[c.Params().Name], err = ecdsa.GenerateKey(c, rand.Reader); err != nil {
			t.Fatal(err)
		}
	}
	if all["RSA"], err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		t.Fatal(err)
	}
	id, err := url.Parse(gateway)
	if err != nil {
		t.Fatal(err)
	}
	for name, key := range all {
		template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: verifytest.Began, NotAfter: verifytest.Began.Add(time.Hour), URIs: []*url.URL{id}}
		der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
		if err != nil {
			t.Fatal(name, err)
		}
		root, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(name, err)
		}
		m, err := statement.NewSigner().Announce(gateway, strings.Repeat("ab", 16), [][]byte{der}, key, verifytest.Began)
		if err != nil {
			t.Fatal(name, err)
		}
		if err := book(t, rootLine("near.example", root)).Announce(decoded(t, message.Announcement, m)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// vector is that of certs/federation.
func vector(t testing.TB) (root *x509.Certificate, signed *configv1.SignedBundle) {
	t.Helper()
	var v struct {
		Root   []byte          `json:"root"`
		Signed json.RawMessage `json:"signed"`
	}
	text, err := os.ReadFile("../../../../certs/federation/testdata/vector.json")
	if err == nil {
		err = json.Unmarshal(text, &v)
	}
	if err != nil {
		t.Fatal(err)
	}
	signed = new(configv1.SignedBundle)
	if err := protojson.Unmarshal(v.Signed, signed); err != nil {
		t.Fatal(err)
	}
	if root, err = x509.ParseCertificate(v.Root); err != nil {
		t.Fatal(err)
	}
	return root, signed
}

// TestBundleVector: a signed bundle of the vector leads on, and no other.
func TestBundleVector(t *testing.T) {
	root, signed := vector(t)
	td := signed.GetTrustDomain()
	b := book(t, rootLine(td, root))
	if err := b.Bundle(decoded(t, message.SignedBundle, signed)); err != nil {
		t.Fatal(err)
	}
	if len(b.roots(td, time.Time{})) < 2 {
		t.Errorf("%d roots", len(b.roots(td, time.Time{})))
	}
	if err := book(t, "").Bundle(decoded(t, message.SignedBundle, signed)); !errors.Is(err, keys.ErrNoKey) {
		t.Errorf("without root: %v", err)
	}
	for name, change := range map[string]func(s *configv1.SignedBundle){
		"another document":     func(s *configv1.SignedBundle) { s.Document = append(s.Document, ' ') },
		"no document":          func(s *configv1.SignedBundle) { s.Document = nil },
		"another time":         func(s *configv1.SignedBundle) { s.Signatures[0].SignedAt++ },
		"another trust domain": func(s *configv1.SignedBundle) { s.TrustDomain = "azure.test" },
		"no trust domain":      func(s *configv1.SignedBundle) { s.TrustDomain = "" },
		"no signature":         func(s *configv1.SignedBundle) { s.Signatures = nil },
		"another signature":    func(s *configv1.SignedBundle) { s.Signatures[0].Signature[9] ^= 1 },
		"no chain":             func(s *configv1.SignedBundle) { s.Signatures[0].Chain = nil },
		"a long chain":         func(s *configv1.SignedBundle) { s.Signatures[0].Chain = make([][]byte, maxBundleChain+1) },
		"a long document":      func(s *configv1.SignedBundle) { s.Document = make([]byte, maxDocument+1) },
		"many signatures":      func(s *configv1.SignedBundle) { s.Signatures = make([]*configv1.BundleSignature, maxSignatures+1) },
	} {
		other := proto.CloneOf(signed)
		change(other)
		if err := book(t, rootLine(td, root)).Bundle(decoded(t, message.SignedBundle, other)); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// FuzzBook: whatever is announced, it is judged, and no root comes of it.
func FuzzBook(f *testing.F) {
	root, signed := vector(f)
	data, err := proto.Marshal(signed)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	a := verifytest.NewAuthority(f, "near.example", verifytest.Began.Add(-time.Hour), 24*time.Hour)
	f.Add(announcement(f, a, nil).Encode())
	lines := rootLine("near.example", a.Root) + rootLine("aws.test", root)
	f.Fuzz(func(t *testing.T, data []byte) {
		b := book(t, lines)
		if m, err := wire.Decode(message.SignedBundle, data); err == nil {
			_ = b.Bundle(m)
		}
		if m, err := wire.Decode(message.Announcement, data); err == nil {
			_ = b.Announce(m)
		}
		if n := len(b.roots("near.example", time.Time{})); n != 1 {
			t.Errorf("%d roots", n)
		}
	})
}
