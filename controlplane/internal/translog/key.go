package translog

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/sallyport-mesh/sallyport/certs/durable"
)

// Prepare makes the key of the log of a trust domain, beside those of a set's others, if it
// has none, and gives its public half: so that witnesses can know the log before it begins.
func Prepare(dir, td string) (vkey string, err error) {
	dir = filepath.Join(dir, td)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	release, err := takeLock(dir)
	if err != nil {
		return "", err
	}
	defer release()
	if _, err := loadKey(dir, OriginOf(td)); err != nil {
		return "", err
	}
	_, vkey, err = verifierOf(dir)
	return vkey, err
}

// loadKey gives the log's key, an Ed25519 key of C2SP signed-note, which is made with the
// log. A log whose key is gone is not given another: who follows it would not believe it.
func loadKey(dir, origin string) (note.Signer, error) {
	path := filepath.Join(dir, keyName)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(filepath.Join(dir, tilesName)); err == nil {
			return nil, fmt.Errorf("%s is gone, and the log is not empty: put the key back from where it is kept, or start another log in an empty directory", path)
		}
		return makeKey(dir, origin)
	}
	if err != nil {
		return nil, err
	}
	signer, err := note.NewSigner(trim(text))
	if err != nil {
		return nil, fmt.Errorf("%s is no key of a signed note: %w", path, err)
	}
	if signer.Name() != origin {
		return nil, fmt.Errorf("%s is the key of the log %q, not of %q", path, signer.Name(), origin)
	}
	return signer, nil
}

func makeKey(dir, origin string) (note.Signer, error) {
	private, public, err := note.GenerateKey(rand.Reader, origin)
	if err != nil {
		return nil, err
	}
	signer, err := note.NewSigner(private)
	if err != nil {
		return nil, fmt.Errorf("origin %q: %w", origin, err)
	}
	if err := durable.Replace(filepath.Join(dir, vkeyName), []byte(public+"\n"), 0o644); err != nil {
		return nil, err
	}
	return signer, durable.Replace(filepath.Join(dir, keyName), []byte(private+"\n"), 0o600)
}

func trim(text []byte) string { return strings.TrimSuffix(string(text), "\n") }
