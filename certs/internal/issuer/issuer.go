// Package issuer makes SVIDs: it is the arithmetic of a trust domain's
// authority, without files, sockets or a clock of its own. It does not decide
// who gets which SPIFFE ID. Every X509-SVID it makes verifies against its root
// and ends no later than what signed it.
package issuer

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/cryptosigner"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// backdate lets a peer's clock be a little behind.
const backdate = 30 * time.Second

// Parts are what an Issuer is made of.
type Parts struct {
	TrustDomain spiffeid.TrustDomain
	// Root is what others verify with.
	Root *x509.Certificate
	// Intermediate is what Root signed; nil if Root signs SVIDs itself.
	Intermediate *x509.Certificate
	// Key is Intermediate's, or Root's if there is none.
	Key crypto.Signer
	// JWTKey signs JWT-SVIDs.
	JWTKey crypto.Signer
}

// Issuer signs the SVIDs of one trust domain. It is immutable.
type Issuer struct {
	Parts
	jwtID string
}

// New checks that the parts belong together.
func New(p Parts) (*Issuer, error) {
	signing := p.Root
	if err := checkSigning(p.TrustDomain, p.Root, p.Root); err != nil {
		return nil, fmt.Errorf("root: %w", err)
	}
	if p.Intermediate != nil {
		if err := checkSigning(p.TrustDomain, p.Intermediate, p.Root); err != nil {
			return nil, fmt.Errorf("intermediate: %w", err)
		}
		signing = p.Intermediate
	}
	pub, ok := p.Key.Public().(*ecdsa.PublicKey)
	if !ok || !pub.Equal(signing.PublicKey) {
		return nil, errors.New("certificate and key do not belong together")
	}
	id, err := KeyID(p.JWTKey.Public())
	if err != nil {
		return nil, err
	}
	return &Issuer{p, id}, nil
}

func checkSigning(td spiffeid.TrustDomain, cert, parent *x509.Certificate) error {
	if len(cert.URIs) != 1 || cert.URIs[0].String() != td.IDString() {
		return fmt.Errorf("it is of %v, want %s", cert.URIs, td.IDString())
	}
	if !cert.IsCA {
		return errors.New("it may not sign")
	}
	return cert.CheckSignatureFrom(parent)
}

// Ephemeral makes an issuer whose keys are in memory and nowhere else: a root of
// ten years with an intermediate of as long.
func Ephemeral(td spiffeid.TrustDomain, now time.Time) (*Issuer, error) {
	const life = 10 * 365 * 24 * time.Hour
	var signers [3]*ecdsa.PrivateKey
	for i := range signers {
		key, err := newKey()
		if err != nil {
			return nil, err
		}
		signers[i] = key
	}
	root, err := Root(td, signers[0], now, life)
	if err != nil {
		return nil, err
	}
	intermediate, err := Intermediate(td, root, signers[0], signers[1].Public(), now, life)
	if err != nil {
		return nil, err
	}
	return New(Parts{TrustDomain: td, Root: root, Intermediate: intermediate, Key: signers[1], JWTKey: signers[2]})
}

func newKey() (*ecdsa.PrivateKey, error) {
	return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
}

// JWTKeyID names the key of JWT-SVIDs in bundles.
func (i *Issuer) JWTKeyID() string { return i.jwtID }

// By is the certificate that signs X509-SVIDs.
func (i *Issuer) By() *x509.Certificate {
	if i.Intermediate != nil {
		return i.Intermediate
	}
	return i.Root
}

// Bundle is what others verify this issuer's SVIDs with: its root and its JWT
// authority.
func (i *Issuer) Bundle() *spiffebundle.Bundle {
	b := spiffebundle.New(i.TrustDomain)
	i.AddTo(b)
	return b
}

// AddTo adds the issuer's root and JWT authority to a bundle.
func (i *Issuer) AddTo(b *spiffebundle.Bundle) {
	b.AddX509Authority(i.Root)
	_ = b.AddJWTAuthority(i.jwtID, i.JWTKey.Public()) // fails only without a key id
}

// X509SVID makes an X509-SVID with a new key that is valid from a little before
// now until ttl after it. Among the DNS names there may be IP addresses, which
// stand apart in a certificate (RFC 5280 4.2.1.6). It does not ask whether the ID is of the issuer's
// trust domain: verifiers do, and tests make look-alikes.
func (i *Issuer) X509SVID(id spiffeid.ID, dns []string, now time.Time, ttl time.Duration) (*x509svid.SVID, error) {
	if end := i.By().NotAfter; !now.Before(end) {
		return nil, fmt.Errorf("sign X509-SVID of %s: what would sign it ended at %s", id, end.UTC().Format(time.RFC3339))
	}
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	template, err := i.Template(id, dns, now, ttl)
	if err != nil {
		return nil, err
	}
	leaf, err := certify("X509-SVID of "+id.String(), template, i.By(), key.Public(), i.Key)
	if err != nil {
		return nil, err
	}
	chain := []*x509.Certificate{leaf}
	if i.Intermediate != nil {
		chain = append(chain, i.Intermediate)
	}
	return &x509svid.SVID{ID: id, Certificates: chain, PrivateKey: key}, nil
}

// Template is an X509-SVID of X509SVID before it is signed.
func (i *Issuer) Template(id spiffeid.ID, dns []string, now time.Time, ttl time.Duration) (*x509.Certificate, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{Organization: []string{"Sallyport"}},
		NotBefore:             now.Add(-backdate),
		NotAfter:              earlier(now.Add(ttl), i.By().NotAfter),
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
	return template, nil
}

// JWT is a JWT-SVID as it was made.
type JWT struct {
	Token string
	// JTI tells it from all others (RFC 7519, section 4.1.7).
	JTI    string
	Expiry time.Time
}

// JWTSVID makes a JWT-SVID that is valid from now until ttl after it.
func (i *Issuer) JWTSVID(id spiffeid.ID, audience []string, now time.Time, ttl time.Duration) (*JWT, error) {
	signer, err := jose.NewSigner(
		jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: cryptosigner.Opaque(i.JWTKey), KeyID: i.jwtID}},
		(&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return nil, fmt.Errorf("sign JWT-SVID of %s: %w", id, err)
	}
	var random [16]byte
	if _, err := rand.Read(random[:]); err != nil {
		return nil, err
	}
	out := &JWT{JTI: hex.EncodeToString(random[:]), Expiry: now.Add(ttl)}
	out.Token, err = jwt.Signed(signer).Claims(jwt.Claims{
		ID:       out.JTI,
		Subject:  id.String(),
		Audience: audience,
		IssuedAt: jwt.NewNumericDate(now),
		Expiry:   jwt.NewNumericDate(out.Expiry),
	}).Serialize()
	if err != nil {
		return nil, fmt.Errorf("sign JWT-SVID of %s: %w", id, err)
	}
	return out, nil
}

// KeyID names a key by its own digest, so that a restart gives the same name and
// no two keys share one.
func KeyID(pub crypto.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return "", fmt.Errorf("name JWT key: %w", err)
	}
	sum := sha256.Sum256(der)
	return base64.RawURLEncoding.EncodeToString(sum[:16]), nil
}
