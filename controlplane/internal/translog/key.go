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
)

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
	if err := replace(filepath.Join(dir, vkeyName), []byte(public+"\n"), 0o644); err != nil {
		return nil, err
	}
	return signer, replace(filepath.Join(dir, keyName), []byte(private+"\n"), 0o600)
}

func trim(text []byte) string { return strings.TrimSuffix(string(text), "\n") }

// replace writes a file so that it is there whole, or is what it was, whatever happens.
func replace(path string, data []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
