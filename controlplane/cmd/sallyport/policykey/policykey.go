// Package policykey keeps the operator's side of a policy's signatures: the
// Ed25519 key that signs, and the key set that gateways pin.
//
// It is not the control plane's: no key of this package ever leaves the
// operator's machine. Its invariant: it never replaces a file that exists, since
// a lost policy key means a new bootstrap file for every gateway.
package policykey

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/render"
	"github.com/sallyport-mesh/sallyport/gateway/policy/signed"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// The files of an operator's directory.
const (
	// KeyFile holds the private key: PEM, PKCS #8, mode 0600.
	KeyFile = "policy.key"
	// KeySetFile holds the key set that gateways pin: JSON.
	KeySetFile = "keyset.json"
)

// pemType is what RFC 5958 calls a PKCS #8 key in PEM.
const pemType = "PRIVATE KEY"

// ErrExists says that a file to be made is there already.
var ErrExists = errors.New("it exists and is not replaced")

// Generate makes a key and a key set of this one key, threshold 1, and writes
// both into dir, which it makes if need be. An empty id becomes one made of the
// public key's digest. It fails with ErrExists if either file is there.
func Generate(dir, id string) (signed.Signer, *policyv1.KeySet, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("generate key: %w", err)
	}
	if id == "" {
		digest := sha256.Sum256(public)
		id = "policy-" + hex.EncodeToString(digest[:4])
	}
	set := &policyv1.KeySet{Threshold: 1, Keys: map[string][]byte{id: public}}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, fmt.Errorf("make the operator's directory: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, fmt.Errorf("encode key: %w", err)
	}
	var text bytes.Buffer
	if err := render.WriteJSON(&text, render.Message(set)); err != nil {
		return nil, nil, fmt.Errorf("encode key set: %w", err)
	}
	if err := writeBoth(dir, pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: der}), text.Bytes()); err != nil {
		return nil, nil, err
	}
	return signed.NewSigner(id, private), set, nil
}

// writeBoth writes the key before the key set, so that a key set never names a
// key that was not kept.
func writeBoth(dir string, key, set []byte) error {
	keyPath, setPath := filepath.Join(dir, KeyFile), filepath.Join(dir, KeySetFile)
	if _, err := os.Lstat(setPath); err == nil {
		return fmt.Errorf("write %s: %w", setPath, ErrExists)
	}
	if err := WriteNew(keyPath, key, 0o600); err != nil {
		return err
	}
	return WriteNew(setPath, set, 0o644)
}

// WriteNew writes a file that must not exist yet, and syncs it. It fails with
// ErrExists if it does.
func WriteNew(path string, text []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("write %s: %w", path, ErrExists)
	}
	if err != nil {
		return fmt.Errorf("write new file: %w", err)
	}
	_, err = f.Write(text)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(fmt.Errorf("write new file: %w", err), os.Remove(path))
	}
	return nil
}

// Read reads a private key and finds its id in the key set. It refuses a key
// that the set does not list: no gateway would accept what it signs.
func Read(path string, set *policyv1.KeySet) (signed.Signer, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read policy key: %w", err)
	}
	private, err := Parse(text)
	if err != nil {
		return nil, fmt.Errorf("read policy key %s: %w", path, err)
	}
	public, _ := private.Public().(ed25519.PublicKey)
	for id, listed := range set.GetKeys() {
		if public.Equal(ed25519.PublicKey(listed)) {
			return signed.NewSigner(id, private), nil
		}
	}
	return nil, fmt.Errorf("policy key %s is not in the key set: no gateway would accept what it signs", path)
}

// Parse reads one PEM block that holds an Ed25519 key in PKCS #8.
func Parse(text []byte) (ed25519.PrivateKey, error) {
	block, rest := pem.Decode(text)
	if block == nil || block.Type != pemType || len(bytes.TrimSpace(rest)) > 0 {
		return nil, errors.New("want one PEM block PRIVATE KEY (`sallyport policy keygen` makes one)")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("parse PKCS #8: %w", err)
	}
	private, ok := key.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("want an Ed25519 key, not %T", key)
	}
	return private, nil
}

// ReadSet reads a key set and refuses one that nothing could satisfy.
func ReadSet(path string) (*policyv1.KeySet, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read key set: %w", err)
	}
	set := new(policyv1.KeySet)
	if err := protojson.Unmarshal(text, set); err != nil {
		return nil, fmt.Errorf("read key set %s: %w", path, err)
	}
	if err := signed.CheckKeys(set); err != nil {
		return nil, fmt.Errorf("read key set %s: %w", path, err)
	}
	return set, nil
}
