package verifytest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net/url"
	"testing"
	"time"
)

// Authority is the certificate authority of a trust domain.
type Authority struct {
	// Root is its own certificate.
	Root *x509.Certificate

	t      testing.TB
	key    crypto.Signer
	serial int64
}

// NewAuthority makes one whose root is good from then on, for so long.
func NewAuthority(t testing.TB, trustDomain string, from time.Time, lasts time.Duration) *Authority {
	a := &Authority{t: t, key: newKey(t)}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: trustDomain}, NotBefore: from, NotAfter: from.Add(lasts),
		URIs: []*url.URL{must[*url.URL](t)(url.Parse("spiffe://" + trustDomain))}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a.Root = certificate(t, template, template, a.key.Public(), a.key)
	return a
}

// SVID makes an X509-SVID that is good from then on, for so long, and its key.
func (a *Authority) SVID(id string, from time.Time, lasts time.Duration) (*x509.Certificate, crypto.Signer) {
	key := newKey(a.t)
	a.serial++
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1 + a.serial), NotBefore: from, NotAfter: from.Add(lasts),
		URIs: []*url.URL{must[*url.URL](a.t)(url.Parse(id))}, KeyUsage: x509.KeyUsageDigitalSignature,
	}
	return certificate(a.t, template, a.Root, key.Public(), a.key), key
}

func newKey(t testing.TB) crypto.Signer {
	return must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
}

func certificate(t testing.TB, template, parent *x509.Certificate, public crypto.PublicKey, key crypto.Signer) *x509.Certificate {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// must gives what there is if nothing went wrong.
func must[T any](t testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}
