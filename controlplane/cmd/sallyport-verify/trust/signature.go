package trust

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
)

// checkSignature holds that the key of a certificate signed a message: the key says how
// (gateway/statement/FORMAT.md, "Signatures"; certs/federation/FORMAT.md, "What is
// signed").
func checkSignature(c *x509.Certificate, message, signature []byte) error {
	algorithm := x509.UnknownSignatureAlgorithm
	switch k := c.PublicKey.(type) {
	case *ecdsa.PublicKey:
		switch k.Curve.Params().BitSize {
		case 256:
			algorithm = x509.ECDSAWithSHA256
		case 384:
			algorithm = x509.ECDSAWithSHA384
		case 521:
			algorithm = x509.ECDSAWithSHA512
		}
	case *rsa.PublicKey:
		algorithm = x509.SHA256WithRSAPSS
	case ed25519.PublicKey:
		algorithm = x509.PureEd25519
	}
	if algorithm == x509.UnknownSignatureAlgorithm {
		return fmt.Errorf("its SVID has a key of %T, with which nothing is signed here", c.PublicKey)
	}
	if c.CheckSignature(algorithm, message, signature) != nil {
		return errors.New("its signature is not right")
	}
	return nil
}
