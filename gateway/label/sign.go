package label

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/cryptosigner"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// Sign makes a label: that the request, whose content has this digest, is of a class.
// Who labels is the SVID's ID. It lasts for Lifetime, or as long as the SVID does.
func Sign(svid *x509svid.SVID, r Request, class string, content [sha256.Size]byte, now time.Time) (string, error) {
	return r.named().sign(svid, class, content, now)
}

// SignAnswer makes a label likewise: that the answer, whose content has this digest, is
// of a class.
func SignAnswer(svid *x509svid.SVID, a Answer, class string, content [sha256.Size]byte, now time.Time) (string, error) {
	return a.named().sign(svid, class, content, now)
}

func (n named) sign(svid *x509svid.SVID, class string, content [sha256.Size]byte, now time.Time) (string, error) {
	algorithm := algorithmOf(svid.PrivateKey.Public())
	switch {
	case algorithm == "":
		return "", fmt.Errorf("label: an SVID's key of type %T signs no labels", svid.PrivateKey)
	case class == "":
		return "", errors.New("label: no class")
	case checkLine(n.line) != nil:
		return "", fmt.Errorf("label: %w", checkLine(n.line))
	case n.sender.IsZero() || n.audience == "":
		return "", errors.New("label: neither caller nor destination may be missing")
	}
	payload, err := json.Marshal(claims{
		Class: class, Subject: n.sender.String(), Audience: n.audience, Line: n.line,
		Content: base64.RawURLEncoding.EncodeToString(content[:]),
		Issued:  now.Unix(), Expires: ends(now, svid).Unix(),
	})
	if err != nil {
		return "", err
	}
	var chain []string
	for _, cert := range svid.Certificates {
		chain = append(chain, base64.StdEncoding.EncodeToString(cert.Raw))
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: cryptosigner.Opaque(svid.PrivateKey)},
		(&jose.SignerOptions{}).WithType(jose.ContentType(n.typ)).WithHeader("x5c", chain))
	if err != nil {
		return "", fmt.Errorf("label: %w", err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		return "", fmt.Errorf("label: %w", err)
	}
	token, err := signed.CompactSerialize()
	if err == nil && len(token) > MaxSize {
		err = fmt.Errorf("label: it has %d bytes, the limit is %d", len(token), MaxSize)
	}
	return token, err
}

// ends is when a label ends that is made now.
func ends(now time.Time, svid *x509svid.SVID) time.Time {
	if end := svid.Certificates[0].NotAfter; end.Before(now.Add(Lifetime)) {
		return end
	}
	return now.Add(Lifetime)
}

// algorithmOf is the one by which a key signs labels; "" if it signs none. There is no
// choice: who verifies takes the algorithm from the key, and the label must agree.
func algorithmOf(key crypto.PublicKey) jose.SignatureAlgorithm {
	switch key := key.(type) {
	case *rsa.PublicKey:
		return jose.PS256
	case ed25519.PublicKey:
		return jose.EdDSA
	case *ecdsa.PublicKey:
		switch key.Curve {
		case elliptic.P256():
			return jose.ES256
		case elliptic.P384():
			return jose.ES384
		case elliptic.P521():
			return jose.ES512
		}
	}
	return ""
}

// checkLine holds the form of a request's line.
func checkLine(line string) error {
	method, path, ok := strings.Cut(line, " ")
	if !ok || method == "" || path == "" || strings.Contains(path, " ") {
		return fmt.Errorf("%.100q is not a method and a path", line)
	}
	return nil
}
