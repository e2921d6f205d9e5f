package issuer

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net/url"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// Root signs a root with its own key: a signing certificate whose SPIFFE ID is the
// trust domain itself (X509-SVID, section 3.2). One intermediate may stand below
// it, and nothing below that signs.
func Root(td spiffeid.TrustDomain, key crypto.Signer, now time.Time, life time.Duration) (*x509.Certificate, error) {
	template, err := signing(td, now, now.Add(life))
	if err != nil {
		return nil, err
	}
	template.MaxPathLen = 1
	return certify("root", template, template, key.Public(), key)
}

// Intermediate has a root sign the key of an intermediate, which ends with the root
// at the latest.
func Intermediate(td spiffeid.TrustDomain, root *x509.Certificate, by crypto.Signer, key crypto.PublicKey, now time.Time, life time.Duration) (*x509.Certificate, error) {
	template, err := signing(td, now, earlier(now.Add(life), root.NotAfter))
	if err != nil {
		return nil, err
	}
	template.MaxPathLenZero = true
	return certify("intermediate", template, root, key, by)
}

// Direct says that a root has no room for an intermediate below it (RFC 5280,
// 4.2.1.9) and signs SVIDs itself.
func Direct(root *x509.Certificate) bool { return root.MaxPathLenZero }

// signing is what signing certificates have in common.
func signing(td spiffeid.TrustDomain, now, end time.Time) (*x509.Certificate, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	return &x509.Certificate{
		SerialNumber: serial,
		// The serial in the subject keeps two of one trust domain apart for
		// verifiers that look for issuers by name.
		Subject:               pkix.Name{Organization: []string{"Sallyport"}, CommonName: td.Name(), SerialNumber: serial.String()},
		NotBefore:             now.Add(-backdate),
		NotAfter:              end,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		URIs:                  []*url.URL{td.ID().URL()},
	}, nil
}

func certify(what string, template, parent *x509.Certificate, pub crypto.PublicKey, by crypto.Signer) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, pub, by)
	if err != nil {
		return nil, fmt.Errorf("sign %s: %w", what, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("parse %s: %w", what, err)
	}
	return cert, nil
}

// newSerial is a positive random number of at most 127 bits (RFC 5280, 4.1.2.2).
func newSerial() (*big.Int, error) {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	return n.Add(n, big.NewInt(1)), nil
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
