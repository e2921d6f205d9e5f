// Package issuer makes SVIDs: it is the arithmetic of a trust domain's
// authority, without files, sockets or a clock of its own. It does not decide
// who gets which SPIFFE ID. Every X509-SVID it makes verifies against its Bundle
// and ends no later than its root.
package issuer

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

const (
	// rootLife is long because roots of this authority are replaced by hand.
	rootLife = 10 * 365 * 24 * time.Hour
	// backdate lets a peer's clock be a little behind.
	backdate = 30 * time.Second
)

// Issuer signs the SVIDs of one trust domain. It is immutable.
type Issuer struct {
	td     spiffeid.TrustDomain
	root   *x509.Certificate
	key    *ecdsa.PrivateKey
	jwtKey *ecdsa.PrivateKey
	jwtID  string
}

// New makes an issuer with new keys and a root that begins at now.
func New(td spiffeid.TrustDomain, now time.Time) (*Issuer, error) {
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	jwtKey, err := newKey()
	if err != nil {
		return nil, err
	}
	root, err := selfSign(td, key, now)
	if err != nil {
		return nil, err
	}
	return assemble(td, root, key, jwtKey)
}

// assemble checks that keys and root belong together.
func assemble(td spiffeid.TrustDomain, root *x509.Certificate, key, jwtKey *ecdsa.PrivateKey) (*Issuer, error) {
	if len(root.URIs) != 1 || root.URIs[0].String() != td.IDString() {
		return nil, fmt.Errorf("root is of %v, want %s", root.URIs, td.IDString())
	}
	if !key.PublicKey.Equal(root.PublicKey) {
		return nil, errors.New("root and key do not belong together")
	}
	id, err := keyID(&jwtKey.PublicKey)
	if err != nil {
		return nil, err
	}
	return &Issuer{td: td, root: root, key: key, jwtKey: jwtKey, jwtID: id}, nil
}

func newKey() (*ecdsa.PrivateKey, error) {
	return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
}

// selfSign makes the root: a signing certificate whose SPIFFE ID is the trust
// domain itself (X509-SVID, section 4).
func selfSign(td spiffeid.TrustDomain, key *ecdsa.PrivateKey, now time.Time) (*x509.Certificate, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		// The serial in the subject keeps two roots of one trust domain apart for
		// verifiers that look for issuers by name.
		Subject:               pkix.Name{Organization: []string{"Sallyport"}, CommonName: td.Name(), SerialNumber: serial.String()},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(rootLife),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
		URIs:                  []*url.URL{td.ID().URL()},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("sign root: %w", err)
	}
	return x509.ParseCertificate(der)
}

// Bundle is what others verify this issuer's SVIDs with: its root and its JWT
// authority.
func (i *Issuer) Bundle() *spiffebundle.Bundle {
	b := spiffebundle.FromX509Authorities(i.td, []*x509.Certificate{i.root})
	_ = b.AddJWTAuthority(i.jwtID, i.jwtKey.Public()) // fails only without a key id
	return b
}

// X509SVID makes an X509-SVID with a new key that is valid from a little before
// now until ttl after it. Among the DNS names there may be IP addresses, which
// stand apart in a certificate (RFC 5280 4.2.1.6). It does not ask whether the ID is of the issuer's
// trust domain: verifiers do, and tests make look-alikes.
func (i *Issuer) X509SVID(id spiffeid.ID, dns []string, now time.Time, ttl time.Duration) (*x509svid.SVID, error) {
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	end := now.Add(ttl)
	if end.After(i.root.NotAfter) {
		end = i.root.NotAfter
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{Organization: []string{"Sallyport"}},
		NotBefore:             now.Add(-backdate),
		NotAfter:              end,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
		URIs:                  []*url.URL{id.URL()},
	}
	for _, name := range dns {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, i.root, key.Public(), i.key)
	if err != nil {
		return nil, fmt.Errorf("sign X509-SVID of %s: %w", id, err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("parse X509-SVID of %s: %w", id, err)
	}
	return &x509svid.SVID{ID: id, Certificates: []*x509.Certificate{leaf}, PrivateKey: key}, nil
}

// JWTSVID makes a JWT-SVID that is valid from now until ttl after it.
func (i *Issuer) JWTSVID(id spiffeid.ID, audience []string, now time.Time, ttl time.Duration) (string, error) {
	signer, err := jose.NewSigner(
		jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: i.jwtKey, KeyID: i.jwtID}},
		(&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return "", fmt.Errorf("sign JWT-SVID of %s: %w", id, err)
	}
	token, err := jwt.Signed(signer).Claims(jwt.Claims{
		Subject:  id.String(),
		Audience: audience,
		IssuedAt: jwt.NewNumericDate(now),
		Expiry:   jwt.NewNumericDate(now.Add(ttl)),
	}).Serialize()
	if err != nil {
		return "", fmt.Errorf("sign JWT-SVID of %s: %w", id, err)
	}
	return token, nil
}

// newSerial is a positive random number of at most 127 bits (RFC 5280, 4.1.2.2).
func newSerial() (*big.Int, error) {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	return n.Add(n, big.NewInt(1)), nil
}

// keyID names a key by its own digest, so that a restart gives the same name and
// no two keys share one.
func keyID(pub *ecdsa.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return "", fmt.Errorf("name JWT key: %w", err)
	}
	sum := sha256.Sum256(der)
	return base64.RawURLEncoding.EncodeToString(sum[:16]), nil
}
