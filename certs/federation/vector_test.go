package federation

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	configv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/config/v1"
)

var update = flag.Bool("update", false, "make a new test vector")

const vectorFile = "testdata/vector.json"

// vector is a signed bundle with all that is needed to check it.
type vector struct {
	Root   string          `json:"root"` // that the follower holds, DER in base64
	At     int64           `json:"at"`   // a second within all dates
	Signed json.RawMessage `json:"signed"`
	Input  string          `json:"input"` // what is signed, in hex
}

func readVector(t testing.TB) (v vector, signed *configv1.SignedBundle) {
	t.Helper()
	text, err := os.ReadFile(vectorFile)
	if err != nil {
		t.Fatal(err)
	}
	signed = new(configv1.SignedBundle)
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	if err := protojson.Unmarshal(v.Signed, signed); err != nil {
		t.Fatal(err)
	}
	return v, signed
}

// TestVector checks the vector with what FORMAT.md says and the standard library
// alone.
func TestVector(t *testing.T) {
	if *update {
		synctest.Test(t, writeVector)
	}
	v, signed := readVector(t)
	var text []byte
	text = append(text, "sallyport.bundle.v1\n"...)
	text = binary.BigEndian.AppendUint32(text, uint32(len(signed.GetTrustDomain())))
	text = append(text, signed.GetTrustDomain()...)
	text = binary.BigEndian.AppendUint64(text, uint64(signed.GetSignatures()[0].GetSignedAt()))
	text = binary.BigEndian.AppendUint32(text, uint32(len(signed.GetDocument())))
	text = append(text, signed.GetDocument()...)
	if got := hex.EncodeToString(text); got != v.Input {
		t.Fatalf("input %s, want %s", got, v.Input)
	}
	if got := input(signed.GetTrustDomain(), signed.GetSignatures()[0].GetSignedAt(), signed.GetDocument()); !bytes.Equal(got, text) {
		t.Fatalf("input() = %x, want %x", got, text)
	}
	leaf, err := x509.ParseCertificate(signed.GetSignatures()[0].GetChain()[0])
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(text)
	if !ecdsa.VerifyASN1(leaf.PublicKey.(*ecdsa.PublicKey), sum[:], signed.GetSignatures()[0].GetSignature()) {
		t.Error("the signature is wrong")
	}
	der, err := base64.StdEncoding.DecodeString(v.Root)
	if err != nil {
		t.Fatal(err)
	}
	root, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(root)
	between := x509.NewCertPool()
	for _, der := range signed.GetSignatures()[0].GetChain()[1:] {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		between.AddCert(c)
	}
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: time.Unix(v.At, 0)}); err != nil {
		t.Error(err)
	}
	if _, err := open(signed, time.Unix(v.At, 0)); err != nil {
		t.Error(err)
	}
}

// writeVector runs in a bubble, whose clock starts on the first of January 2000.
func writeVector(t *testing.T) {
	a := newAuthority(t, aws)
	signed := a.signed()
	text, err := protojson.Marshal(signed)
	if err != nil {
		t.Fatal(err)
	}
	v := vector{
		Root: base64.StdEncoding.EncodeToString(a.Bundle().X509Authorities()[0].Raw), At: time.Now().Unix(), Signed: text,
		Input: hex.EncodeToString(input(signed.GetTrustDomain(), signed.GetSignatures()[0].GetSignedAt(), signed.GetDocument())),
	}
	out, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.MkdirAll("testdata", 0o755), os.WriteFile(vectorFile, append(out, '\n'), 0o644)); err != nil {
		t.Fatal(err)
	}
}

// FuzzAccept: whatever is carried, nothing is taken but what an authority signed.
func FuzzAccept(f *testing.F) {
	_, signed := readVector(f)
	seed, err := proto.Marshal(signed)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add(seed[:len(seed)/2])
	f.Add([]byte{})
	a := newAuthority(f, aws)
	anchor := anchors(a.Bundle())
	f.Fuzz(func(t *testing.T, data []byte) {
		s := new(configv1.SignedBundle)
		if proto.Unmarshal(data, s) != nil {
			return
		}
		k := keeperOf(t, Config{Self: self, Anchor: anchor, Peers: []spiffeid.TrustDomain{aws}})
		if err := k.Accept(s); err == nil || k.get(aws) != nil {
			t.Errorf("Accept(%x) = %v", data, err)
		}
	})
}

// FuzzDocument: what is taken as a bundle is within the bounds, and is the same
// after it was kept.
func FuzzDocument(f *testing.F) {
	_, signed := readVector(f)
	f.Add(signed.GetDocument())
	f.Add([]byte(`{"keys":[],"spiffe_sequence":18446744073709551615,"spiffe_refresh_hint":-9223372036854775808}`))
	f.Add([]byte(`{"keys":null}`))
	f.Fuzz(func(t *testing.T, document []byte) {
		b, err := parseAny(aws, document)
		if err != nil {
			return
		}
		if len(document) > maxDocument || len(b.X509Authorities()) > maxAuthorities || hint(b) < minHint || hint(b) > maxHint {
			t.Errorf("out of bounds: %d bytes, %d authorities, hint %s", len(document), len(b.X509Authorities()), hint(b))
		}
		if !same(b, b) {
			t.Error("it is not the same as itself")
		}
	})
}

// FuzzKept: a file that was kept is good or none.
func FuzzKept(f *testing.F) {
	f.Add([]byte(`{"trustDomain":"aws.test","document":"{\"keys\":[]}","sha256":"","origin":"file","refreshed":"2026-01-01T00:00:00Z"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if _, h, err := decode(text, time.Now()); err == nil && (h.x509 == nil || h.Refreshed.After(time.Now())) {
			t.Errorf("decode(%q) = %+v", text, h)
		}
	})
}
