package keys

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/sallyport-mesh/sallyport/certs/durable"
)

const keyBlock = "PRIVATE KEY" // PKCS #8

// Disk keeps each key in a file NAME.pem of mode 0600 in a directory of mode 0700.
// Files and directories that others could read, or that are another user's, are
// refused.
type Disk struct{ dir string }

// OpenDisk makes the directory if it is missing.
func OpenDisk(dir string) (*Disk, error) {
	if err := durable.MakePrivateDir(dir); err != nil {
		return nil, fmt.Errorf("open keys: %w", err)
	}
	return &Disk{dir}, nil
}

func (d *Disk) path(name string) string { return filepath.Join(d.dir, name+".pem") }

// Make implements Store.
func (d *Disk) Make(name string) (crypto.Signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	if err := d.Import(name, key); err != nil {
		return nil, err
	}
	return key, nil
}

// Import takes a key that was made elsewhere. It fails with fs.ErrExist if there
// is one of that name.
func (d *Disk) Import(name string, key *ecdsa.PrivateKey) error {
	if err := CheckName(name); err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("write key %q: %w", name, err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: keyBlock, Bytes: der})
	if err := durable.Create(d.path(name), text, 0o600); err != nil {
		return fmt.Errorf("write key %q: %w", name, err)
	}
	return nil
}

// Load implements Store.
func (d *Disk) Load(name string) (crypto.Signer, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	text, err := durable.ReadPrivate(d.path(name))
	if err != nil {
		return nil, fmt.Errorf("open key %q: %w", name, err)
	}
	key, err := Parse(text)
	if err != nil {
		return nil, fmt.Errorf("open key %q: %w", name, err)
	}
	return key, nil
}

// Remove implements Store.
func (d *Disk) Remove(name string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	if err := durable.Remove(d.path(name)); err != nil {
		return fmt.Errorf("remove key %q: %w", name, err)
	}
	return nil
}

// Parse reads one private key in PEM. Its errors never hold any of the text.
func Parse(text []byte) (*ecdsa.PrivateKey, error) {
	p, rest := pem.Decode(text)
	if p == nil || p.Type != keyBlock {
		return nil, fmt.Errorf("no PEM block of type %s", keyBlock)
	}
	if next, _ := pem.Decode(rest); next != nil {
		return nil, errors.New("a second PEM block follows")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(p.Bytes)
	if err != nil {
		return nil, err
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return nil, errors.New("not an ECDSA key")
	}
	_, err = CheckPublic(key.Public())
	return key, err
}
