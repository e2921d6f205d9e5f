// Package keys keeps an authority's signing keys: all are ECDSA on P-256, which
// FIPS 186-5 allows and every verifier knows. A Store makes keys and signs with
// them; no key ever leaves it. Two are here: files of the authority's own user
// (Disk), and a process that others may write for whatever holds their keys, such
// as a PKCS #11 token or a cloud's key service (Remote).
//
// What is signed is not its business: whoever may use a Store is the authority.
package keys

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"errors"
	"fmt"
	"io/fs"
)

// Store makes keys and gives what signs with them. A name is given to one key
// only. What is made is durable on return. All methods may be called
// concurrently.
type Store interface {
	// Make makes a key. It fails with fs.ErrExist if there is one of that name.
	Make(name string) (crypto.Signer, error)
	// Load gives the signer of a key. It fails with fs.ErrNotExist if there is
	// none. Its Sign takes SHA-256 digests and gives ASN.1, as ecdsa's does.
	Load(name string) (crypto.Signer, error)
	// Remove destroys a key. It is no error if there is none.
	Remove(name string) error
}

var (
	_ Store = (*Disk)(nil)
	_ Store = (*Remote)(nil)
)

// maxName bounds a key's name.
const maxName = 64

// CheckName refuses what could be anything but a plain name: a name is a file's
// and part of an address.
func CheckName(name string) error {
	if name == "" || len(name) > maxName {
		return fmt.Errorf("name of key %q: from 1 to %d bytes", name, maxName)
	}
	for i := range len(name) {
		if c := name[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return fmt.Errorf("name of key %q: only a-z, 0-9 and -", name)
		}
	}
	return nil
}

// Ensure loads a key, or makes it. It is for one whose name was chosen before and
// that may have been made by a process that ended too early to say so.
func Ensure(s Store, name string) (crypto.Signer, error) {
	signer, err := s.Make(name)
	if errors.Is(err, fs.ErrExist) {
		return s.Load(name)
	}
	return signer, err
}

// CheckPublic says whether a key is of the only kind that an authority signs with.
func CheckPublic(pub crypto.PublicKey) (*ecdsa.PublicKey, error) {
	key, ok := pub.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, fmt.Errorf("key is a %T, want ECDSA on P-256", pub)
	}
	return key, nil
}
