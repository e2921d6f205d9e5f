package ca

import (
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/sallyport-mesh/sallyport/certs/authority/keys"
	"github.com/sallyport-mesh/sallyport/certs/durable"
)

// legacy is what version 0 kept in one file of PEM: a root without room for an
// intermediate, its key, and the key of JWT-SVIDs.
type legacy struct {
	root     *x509.Certificate
	key, jwt *ecdsa.PrivateKey
}

// readLegacy reads such a file; fs.ErrNotExist if there is none.
func readLegacy(path string) (*legacy, error) {
	text, err := durable.ReadPrivate(path)
	if err != nil {
		return nil, fmt.Errorf("open keys of authority: %w", err)
	}
	l, err := parseLegacy(text)
	if err != nil {
		return nil, fmt.Errorf("parse keys of authority %q: %w", path, err)
	}
	return l, nil
}

func parseLegacy(text []byte) (*legacy, error) {
	var blocks []*pem.Block
	for len(blocks) < 4 {
		p, rest := pem.Decode(text)
		if p == nil {
			break
		}
		blocks, text = append(blocks, p), rest
	}
	if len(blocks) != 3 || blocks[0].Type != "CERTIFICATE" {
		return nil, errors.New("want a root and two keys in PEM")
	}
	var l legacy
	var err error
	if l.root, err = x509.ParseCertificate(blocks[0].Bytes); err != nil {
		return nil, fmt.Errorf("root: %w", err)
	}
	if l.key, err = keys.Parse(pem.EncodeToMemory(blocks[1])); err != nil {
		return nil, fmt.Errorf("root's key: %w", err)
	}
	if l.jwt, err = keys.Parse(pem.EncodeToMemory(blocks[2])); err != nil {
		return nil, fmt.Errorf("JWT key: %w", err)
	}
	return &l, nil
}
