package label

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/go-jose/go-jose/v4/json" // it knows members by their case and refuses one that stands there twice
)

// parsed is a label of which nothing is known to be true.
type parsed struct {
	header  header
	chain   []*x509.Certificate
	claims  claims
	content [sha256.Size]byte
}

// parse reads a label of that type in the one form that it may have: what another reader
// could read another way is none.
func parse(token, typ string) (*parsed, error) {
	if len(token) > MaxSize {
		return nil, fmt.Errorf("it has %d bytes, the limit is %d", len(token), MaxSize)
	}
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, errors.New("it is not one signed text of three parts")
	}
	var p parsed
	if err := object(parts[0], &p.header, "alg", "typ", "x5c"); err != nil {
		return nil, fmt.Errorf("its header %w", err)
	}
	if p.header.Type != typ {
		return nil, fmt.Errorf("its header is of another type than %s", typ)
	}
	if err := p.certificates(); err != nil {
		return nil, err
	}
	if want := algorithmOf(p.chain[0].PublicKey); want == "" || p.header.Algorithm != string(want) {
		return nil, fmt.Errorf("a key such as its labeler's signs by %q alone", want)
	}
	if err := object(parts[1], &p.claims, "class", "sub", "aud", "request", "sha256", "iat", "exp"); err != nil {
		return nil, fmt.Errorf("its text %w", err)
	}
	if p.claims.Class == "" {
		return nil, errors.New("it names no class")
	}
	digest, err := base64.RawURLEncoding.Strict().DecodeString(p.claims.Content)
	if err != nil || len(digest) != sha256.Size || strings.ContainsAny(p.claims.Content, "\r\n") {
		return nil, errors.New("its sha256 is no digest")
	}
	p.content = [sha256.Size]byte(digest)
	if _, err := decode(parts[2]); err != nil {
		return nil, fmt.Errorf("its signature %w", err)
	}
	return &p, nil
}

// object reads a part that is a JSON object of exactly these members.
func object(part string, into any, members ...string) error {
	text, err := decode(part)
	if err != nil {
		return err
	}
	var found map[string]json.RawMessage
	if err := json.Unmarshal(text, &found); err != nil || found == nil {
		return errors.New("is no JSON object, or has a member twice")
	}
	for _, name := range members {
		if _, ok := found[name]; !ok {
			return fmt.Errorf("has no %s", name)
		}
	}
	if len(found) != len(members) {
		return fmt.Errorf("has others than %s", strings.Join(members, ", "))
	}
	if err := json.Unmarshal(text, into); err != nil {
		return errors.New("has a member of another type")
	}
	return nil
}

// decode reads Base64url that can be written in one way only.
func decode(part string) ([]byte, error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(part)
	if err != nil || len(b) == 0 || strings.ContainsAny(part, "\r\n") { // which the decoder ignores
		return nil, errors.New("is not Base64url")
	}
	return b, nil
}

func (p *parsed) certificates() error {
	for _, text := range p.header.Chain {
		der, err := base64.StdEncoding.Strict().DecodeString(text)
		if err != nil {
			return errors.New("its x5c is not Base64")
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return errors.New("its x5c has what is no certificate")
		}
		p.chain = append(p.chain, cert)
	}
	if len(p.chain) == 0 {
		return errors.New("its x5c has no certificate")
	}
	return nil
}
