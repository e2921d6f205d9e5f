package federation

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"google.golang.org/protobuf/proto"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/certs/certstest"
	configv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/config/v1"
)

// signAs signs a document as whoever the SVID is, which sign refuses to do.
func signAs(t testing.TB, td string, document []byte, at time.Time, svid *x509svid.SVID) *configv1.SignedBundle {
	t.Helper()
	sig := &configv1.BundleSignature{SignedAt: at.Unix(), Chain: certs.Certificate(svid).Certificate}
	var err error
	if sig.Signature, err = signInput(svid.PrivateKey, input(td, sig.SignedAt, document)); err != nil {
		t.Fatal(err)
	}
	return &configv1.SignedBundle{TrustDomain: td, Document: document, Signatures: []*configv1.BundleSignature{sig}}
}

func TestWhoMaySign(t *testing.T) {
	a := newAuthority(t, aws)
	azure := certstest.Mesh(t, "azure.test")["azure.test"]
	next := a.newest()
	a.add(a.newRoot())
	document := documentOf(t, a.Bundle())
	tests := []struct {
		name string
		svid *x509svid.SVID
		want error
	}{
		{"its own authority", svidOf(t, next, "/sallyport/authority/main"), nil},
		{"another of its authorities", svidOf(t, next, "/sallyport/authority/host-2"), nil},
		{"a gateway", svidOf(t, next, "/sallyport/gateway/aws-1"), ErrUnverified},
		{"a workload", svidOf(t, next, "/ai/agent"), ErrUnverified},
		{"a path below an authority's", svidOf(t, next, "/sallyport/authority/main/x"), ErrUnverified},
		{"an authority without a name", svidOf(t, next, "/sallyport/authority"), ErrUnverified},
		{"another trust domain's authority", svidOf(t, azure, "/sallyport/authority/main"), ErrUnverified},
		{"its authority under a root that is not held", svidOf(t, a.newest(), "/sallyport/authority/main"), ErrUnverified},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			k := keeperOf(t, Config{Self: self, Anchor: anchors(next.Bundle(), azure.Bundle())})
			err := k.Accept(signAs(t, aws.Name(), document, time.Now(), tt.svid))
			if !errors.Is(err, tt.want) {
				t.Errorf("Accept() = %v, want %v", err, tt.want)
			}
			if took := k.X509Bundle(aws) != nil; took != (tt.want == nil) {
				t.Errorf("held: %v", took)
			}
		})
	}
}

func TestForgedStatements(t *testing.T) {
	a := newAuthority(t, aws)
	good := a.signed()
	other := newAuthority(t, aws)
	other.add(other.newRoot())
	tests := []struct {
		name   string
		change func(s *configv1.SignedBundle)
		want   error
	}{
		{"another document", func(s *configv1.SignedBundle) { s.Document = documentOf(t, other.Bundle()) }, ErrUnverified},
		{"a document with a byte more", func(s *configv1.SignedBundle) { s.Document = append(s.Document, ' ') }, ErrUnverified},
		{"another time", func(s *configv1.SignedBundle) { s.Signatures[0].SignedAt++ }, ErrUnverified},
		{"another trust domain", func(s *configv1.SignedBundle) { s.TrustDomain = "azure.test" }, ErrUnknown},
		{"one's own trust domain", func(s *configv1.SignedBundle) { s.TrustDomain = self.Name() }, ErrUnknown},
		{"a trust domain as an ID", func(s *configv1.SignedBundle) { s.TrustDomain = aws.IDString() }, ErrMalformed},
		{"no trust domain", func(s *configv1.SignedBundle) { s.TrustDomain = "" }, ErrMalformed},
		{"no signature", func(s *configv1.SignedBundle) { s.Signatures = nil }, ErrMalformed},
		{"too many signatures", func(s *configv1.SignedBundle) {
			for range maxSignatures {
				s.Signatures = append(s.Signatures, s.Signatures[0])
			}
		}, ErrMalformed},
		{"a signature cut", func(s *configv1.SignedBundle) { s.Signatures[0].Signature = s.Signatures[0].Signature[:10] }, ErrUnverified},
		{"no chain", func(s *configv1.SignedBundle) { s.Signatures[0].Chain = nil }, ErrUnverified},
		{"a chain that is none", func(s *configv1.SignedBundle) { s.Signatures[0].Chain[0] = []byte("x") }, ErrUnverified},
		{"a chain that is too long", func(s *configv1.SignedBundle) {
			for range maxChain {
				s.Signatures[0].Chain = append(s.Signatures[0].Chain, s.Signatures[0].Chain[0])
			}
		}, ErrUnverified},
		{"a huge certificate", func(s *configv1.SignedBundle) {
			s.Signatures[0].Chain = append(s.Signatures[0].Chain, make([]byte, maxCertificate+1))
		}, ErrUnverified},
		{"a huge signature", func(s *configv1.SignedBundle) { s.Signatures[0].Signature = make([]byte, maxSignature+1) }, ErrUnverified},
		{"a huge document", func(s *configv1.SignedBundle) { s.Document = bytes.Repeat([]byte(" "), maxDocument+1) }, ErrMalformed},
		{"no document", func(s *configv1.SignedBundle) { s.Document = nil }, ErrMalformed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			k, s := keeper(t, "", a), proto.CloneOf(good)
			tt.change(s)
			if err := k.Accept(s); !errors.Is(err, tt.want) {
				t.Errorf("Accept() = %v, want %v", err, tt.want)
			}
			if k.X509Bundle(aws) != nil {
				t.Error("it is in force")
			}
			if err := k.Accept(good); err != nil {
				t.Errorf("the good one afterwards: %v", err)
			}
		})
	}
}

func TestTimeOfSigning(t *testing.T) {
	a := newAuthority(t, aws)
	svid, document := svidOf(t, a.newest(), testName), documentOf(t, a.Bundle())
	for _, tt := range []struct {
		name string
		at   time.Time
		good bool
	}{
		{"now", time.Now(), true},
		{"a clock that is a little ahead", time.Now().Add(skew / 2), true},
		{"from the future", time.Now().Add(2 * skew), false},
		{"before there was the SVID", time.Now().Add(-time.Hour), false},
	} {
		err := keeper(t, "", a).Accept(signAs(t, aws.Name(), document, tt.at, svid))
		if (err == nil) != tt.good {
			t.Errorf("%s: Accept() = %v", tt.name, err)
		}
	}
}

func TestStatementOfNoSequence(t *testing.T) {
	a := newAuthority(t, aws)
	b := a.Bundle()
	b.ClearSequenceNumber()
	s := signAs(t, aws.Name(), documentOf(t, b), time.Now(), svidOf(t, a.newest(), testName))
	if err := keeper(t, "", a).Accept(s); !errors.Is(err, ErrMalformed) {
		t.Errorf("Accept() = %v", err)
	}
}

func TestSignRefusesOthers(t *testing.T) {
	a := newAuthority(t, aws)
	_, err := sign(aws, documentOf(t, a.Bundle()), []*x509svid.SVID{svidOf(t, a.newest(), "/sallyport/gateway/aws-1")}, time.Now())
	if err == nil || !strings.Contains(err.Error(), "no authority") {
		t.Errorf("sign() as a gateway = %v", err)
	}
	if _, err := sign(aws, documentOf(t, a.Bundle()), nil, time.Now()); err == nil {
		t.Error("sign() as nobody did")
	}
}

// TestAlgorithms: each key has one, and what it signs verifies.
func TestAlgorithms(t *testing.T) {
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p521, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsa2048, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[crypto.Signer]x509.PublicKeyAlgorithm{p256: x509.ECDSA, p384: x509.ECDSA, rsa2048: x509.RSA}
	kinds[&ed] = x509.Ed25519
	for key, kind := range kinds {
		text := input("aws.test", 1, []byte("{}"))
		sig, err := signInput(key, text)
		if err != nil {
			t.Errorf("%T: %v", key, err)
			continue
		}
		algorithm, err := algorithmOf(key.Public())
		if err != nil {
			t.Fatal(err)
		}
		c := &x509.Certificate{PublicKey: key.Public(), PublicKeyAlgorithm: kind}
		if err := c.CheckSignature(algorithm, text, sig); err != nil {
			t.Errorf("%T: %v", key, err)
		}
		if err := c.CheckSignature(algorithm, append(text, 0), sig); err == nil {
			t.Errorf("%T: another text verifies", key)
		}
	}
	if _, err := signInput(p521, nil); err == nil {
		t.Error("a key of P-521 signs")
	}
}

func TestDocuments(t *testing.T) {
	d := certstest.Mesh(t, aws.Name(), "azure.test")
	many := spiffebundle.New(aws)
	for range maxAuthorities + 1 {
		many.AddX509Authority(certstest.Mesh(t, aws.Name())[aws.Name()].Bundle().X509Authorities()[0])
	}
	leaf := spiffebundle.New(aws)
	leaf.AddX509Authority(svidOf(t, d[aws.Name()], "/x").Certificates[0])
	foreign := spiffebundle.FromX509Authorities(aws, d["azure.test"].Bundle().X509Authorities())
	tests := []struct {
		name     string
		document []byte
		good     bool
	}{
		{"a good one", documentOf(t, d[aws.Name()].Bundle()), true},
		{"all is revoked", []byte(`{"keys":[]}`), true},
		{"an unknown use", []byte(`{"keys":[{"use":"x","kty":"EC","crv":"P-256","x":"fK-wKTnKL7KFLM27lqq5DC-bxrVaH6rDV-IcCSEOeL4","y":"wq-g3TQWxYlV51TCPH030yXsRxvujD4hUUaIQrXk4KI"}]}`), true},
		{"no keys", []byte(`{}`), false},
		{"no JSON", []byte(`{`), false},
		{"too many authorities", documentOf(t, many), false},
		{"a leaf as an authority", documentOf(t, leaf), false},
		{"another trust domain's root", documentOf(t, foreign), false},
	}
	for _, tt := range tests {
		if _, err := parse(aws, tt.document, time.Now()); (err == nil) != tt.good || err != nil && !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: parse() = %v", tt.name, err)
		}
	}
	if _, err := parse(aws, tests[0].document, time.Now().AddDate(50, 0, 0)); err == nil {
		t.Error("a bundle whose roots have all ended was taken")
	}
}
