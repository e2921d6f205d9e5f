package certs_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/certs/certstest"
)

// parsed is what a peer showed as a handshake hands it on.
func parsed(t *testing.T, c tls.Certificate) []*x509.Certificate {
	t.Helper()
	var chain []*x509.Certificate
	for _, der := range c.Certificate {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		chain = append(chain, cert)
	}
	return chain
}

func TestLimits(t *testing.T) {
	d := certstest.Mesh(t, "aws.example")["aws.example"]
	here := d.Source("/sallyport/gateway/gw-1")
	key := func(curve elliptic.Curve) *ecdsa.PrivateKey {
		k, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	rsaOf := func(bits int) *rsa.PrivateKey {
		k, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	edwards, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		path   string
		change func(f *certstest.Forgery)
		want   error
		says   string
	}{
		{"8 certificates", "/agent", func(f *certstest.Forgery) { f.Shown = slices.Repeat(f.Shown, 7) }, nil, ""},
		{"9 certificates", "/agent", func(f *certstest.Forgery) { f.Shown = slices.Repeat(f.Shown, 8) }, certs.ErrUntrusted, "9 certificates, the limit is 8"},
		{"60 KB", "/agent", func(f *certstest.Forgery) {
			f.Extension([]int{1, 3, 6, 1, 4, 1, 32473, 1}, false, make([]byte, 60<<10))
		}, nil, ""},
		{"64 KB and what else is in a certificate", "/agent", func(f *certstest.Forgery) {
			f.Extension([]int{1, 3, 6, 1, 4, 1, 32473, 1}, false, make([]byte, 64<<10))
		}, certs.ErrUntrusted, "the limit is 65536"},
		{"ID of 2048 bytes", "/" + strings.Repeat("a", 2048-len("spiffe://aws.example/")), func(*certstest.Forgery) {}, nil, ""},
		{"ID of 2049 bytes", "/" + strings.Repeat("a", 2049-len("spiffe://aws.example/")), func(*certstest.Forgery) {}, certs.ErrNotSPIFFE, "2049 bytes, the limit is 2048"},
		{"P-384", "/agent", func(f *certstest.Forgery) { f.Public = key(elliptic.P384()).Public() }, nil, ""},
		{"P-521", "/agent", func(f *certstest.Forgery) { f.Public = key(elliptic.P521()).Public() }, nil, ""},
		{"P-224", "/agent", func(f *certstest.Forgery) { f.Public = key(elliptic.P224()).Public() }, certs.ErrUntrusted, "certificate 1 of its chain: a key on the curve P-224"},
		{"Ed25519", "/agent", func(f *certstest.Forgery) { f.Public = edwards }, nil, ""},
		{"RSA of 2048 bits", "/agent", func(f *certstest.Forgery) { f.Public = rsaOf(2048).Public() }, nil, ""},
		{"RSA of 2047 bits", "/agent", func(f *certstest.Forgery) { f.Public = rsaOf(2047).Public() }, certs.ErrUntrusted, "an RSA key of 2047 bits, the least is 2048"},
		{"no key usage", "/agent", func(f *certstest.Forgery) { f.Template.KeyUsage = 0 }, nil, ""},
		{"key usage without signatures", "/agent", func(f *certstest.Forgery) { f.Template.KeyUsage = x509.KeyUsageKeyAgreement }, certs.ErrNotSPIFFE, "other purposes"},
		{"no extended key usage", "/agent", func(f *certstest.Forgery) { f.Template.ExtKeyUsage = nil }, nil, ""},
		{"for servers alone", "/agent", func(f *certstest.Forgery) { f.Template.ExtKeyUsage = f.Template.ExtKeyUsage[:1] }, certs.ErrNotSPIFFE, "other purposes"},
		{"for what nobody knows alone", "/agent", func(f *certstest.Forgery) {
			f.Template.ExtKeyUsage, f.Template.UnknownExtKeyUsage = nil, append(f.Template.UnknownExtKeyUsage, []int{1, 3, 6, 1, 4, 1, 32473, 2})
		}, certs.ErrNotSPIFFE, "other purposes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := here.Verify(parsed(t, d.Forge(d.ID(tt.path), tt.change)), certs.AuthorizeAny())
			if !errors.Is(err, tt.want) || tt.says != "" && !strings.Contains(err.Error(), tt.says) {
				t.Errorf("Verify() error: %v, want %v, %q", err, tt.want, tt.says)
			}
		})
	}
}

// TestWeakRoot: what an owner's root has signed is worth as much as its key.
func TestWeakRoot(t *testing.T) {
	mesh := certstest.Mesh(t, "aws.example", "weak.example")
	weak := mesh["weak.example"]
	key, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	chain := parsed(t, weak.Forge(weak.ID("/agent"), func(f *certstest.Forgery) {
		root := *f.By
		root.SignatureAlgorithm, root.PublicKey, root.SubjectKeyId, root.AuthorityKeyId = 0, nil, nil, nil
		f.By, f.Signer, f.Shown = weak.Sign(&root, &root, key.Public(), key), key, nil
		mesh["aws.example"].Trust(spiffebundle.FromX509Authorities(weak.TrustDomain(), []*x509.Certificate{f.By}))
	}))
	_, err = mesh["aws.example"].Source("/agent").Verify(chain, certs.AuthorizeAny())
	if !errors.Is(err, certs.ErrUntrusted) || !strings.Contains(err.Error(), "certificate 2 of its chain: an RSA key of 1024 bits") {
		t.Errorf("Verify() error: %v", err)
	}
}

// TestWeakJWTKey: a JWT authority that a bundle has is no good either if its key
// is not.
func TestWeakJWTKey(t *testing.T) {
	mesh := certstest.Mesh(t, "aws.example", "weak.example")
	weak := mesh["weak.example"]
	key, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	b := spiffebundle.New(weak.TrustDomain())
	if err := b.AddJWTAuthority("k1", key.Public()); err != nil {
		t.Fatal(err)
	}
	mesh["aws.example"].Trust(b)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: key, KeyID: "k1"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	token, err := jwt.Signed(signer).Claims(claims{"sub": weak.ID("/agent").String(), "aud": audience, "exp": now.Add(time.Minute).Unix()}).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	_, err = mesh["aws.example"].Source("/agent").ValidateJWT(token, audience, now)
	if !errors.Is(err, certs.ErrUntrusted) || !strings.Contains(err.Error(), "an RSA key of 1024 bits") {
		t.Errorf("ValidateJWT() error: %v", err)
	}
}

// TestHandshakeError: what crypto/tls refuses by itself is told apart from a peer
// that shows nothing.
func TestHandshakeError(t *testing.T) {
	mesh := certstest.Mesh(t, "aws.example")
	d := mesh["aws.example"]
	here := d.Source("/sallyport/gateway/gw-1")
	another, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cut := d.Certificate(d.ID("/agent"))
	cut.Certificate = [][]byte{cut.Certificate[0][:100]}
	for _, tt := range []struct {
		name  string
		shown tls.Certificate
		want  error
	}{
		{"another's", d.Forge(d.ID("/agent"), func(f *certstest.Forgery) { f.Public = another.Public() }), certs.ErrUntrusted},
		{"none that can be read", cut, certs.ErrNotSPIFFE},
		{"too long", d.Forge(d.ID("/agent"), func(f *certstest.Forgery) {
			f.Extension([]int{1, 3, 6, 1, 4, 1, 32473, 1}, false, make([]byte, 1<<20))
		}), certs.ErrNotSPIFFE},
		{"expired", dated(d, -2*time.Hour), certs.ErrExpired},
	} {
		t.Run(tt.name, func(t *testing.T) {
			client := hostile()
			client.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &tt.shown, nil }
			o := connect(t, certs.ServerTLS(here, certs.AuthorizeAny()), client)
			if err := certs.HandshakeError(o.serverErr); !errors.Is(err, tt.want) || !errors.Is(err, o.serverErr) {
				t.Errorf("at the server: %v, want %v", err, tt.want)
			}
			o = connect(t, &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &tt.shown, nil }}, certs.ClientTLS(here, certs.AuthorizeAny()))
			if err := certs.HandshakeError(o.clientErr); !errors.Is(err, tt.want) {
				t.Errorf("at the client: %v, want %v", err, tt.want)
			}
		})
	}
	for _, err := range []error{nil, io.EOF, tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"}} {
		if got := certs.HandshakeError(err); !errors.Is(got, err) || errors.Is(got, certs.ErrUntrusted) || errors.Is(got, certs.ErrNotSPIFFE) {
			t.Errorf("HandshakeError(%v) = %v", err, got)
		}
	}
}
