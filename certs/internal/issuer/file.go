package issuer

import (
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

const (
	keyBlock  = "PRIVATE KEY" // PKCS #8
	certBlock = "CERTIFICATE"
)

// Marshal is the whole issuer as PEM, secrets included: the root, its key, the
// JWT key. One text, because a root without its key is worth nothing.
func (i *Issuer) Marshal() ([]byte, error) {
	out := pem.EncodeToMemory(&pem.Block{Type: certBlock, Bytes: i.root.Raw})
	for _, key := range []*ecdsa.PrivateKey{i.key, i.jwtKey} {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			return nil, fmt.Errorf("marshal key: %w", err)
		}
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: keyBlock, Bytes: der})...)
	}
	return out, nil
}

// Parse reads what Marshal wrote and checks that it is of the trust domain and
// complete.
func Parse(td spiffeid.TrustDomain, text []byte) (*Issuer, error) {
	der, rest, err := block(certBlock, text)
	if err != nil {
		return nil, err
	}
	root, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("parse root: %w", err)
	}
	key, rest, err := parseKey(rest)
	if err != nil {
		return nil, fmt.Errorf("parse root's key: %w", err)
	}
	jwtKey, rest, err := parseKey(rest)
	if err != nil {
		return nil, fmt.Errorf("parse JWT key: %w", err)
	}
	if p, _ := pem.Decode(rest); p != nil {
		return nil, fmt.Errorf("a second %s follows", p.Type)
	}
	return assemble(td, root, key, jwtKey)
}

func block(kind string, text []byte) (der, rest []byte, err error) {
	p, rest := pem.Decode(text)
	if p == nil || p.Type != kind {
		return nil, nil, fmt.Errorf("no PEM block of type %s where one is due", kind)
	}
	return p.Bytes, rest, nil
}

func parseKey(text []byte) (*ecdsa.PrivateKey, []byte, error) {
	der, rest, err := block(keyBlock, text)
	if err != nil {
		return nil, nil, err
	}
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, nil, err
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return nil, nil, errors.New("not an ECDSA key")
	}
	return key, rest, nil
}
