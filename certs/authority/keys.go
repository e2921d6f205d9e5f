package authority

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/sallyport-mesh/sallyport/certs/internal/issuer"
)

const (
	keysFile   = "authority.pem"
	bundleFile = "bundle.json"
)

// load reads the authority's keys, or makes them, and writes the bundle for
// others to read.
func load(dir string, td spiffeid.TrustDomain, now time.Time) (*issuer.Issuer, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make directory of authority: %w", err)
	}
	i, err := read(filepath.Join(dir, keysFile), td)
	if errors.Is(err, fs.ErrNotExist) {
		i, err = create(filepath.Join(dir, keysFile), td, now)
	}
	if err != nil {
		return nil, err
	}
	doc, err := i.Bundle().Marshal()
	if err != nil {
		return nil, fmt.Errorf("marshal bundle: %w", err)
	}
	if err := replace(filepath.Join(dir, bundleFile), doc, 0o644); err != nil {
		return nil, fmt.Errorf("write bundle: %w", err)
	}
	return i, nil
}

// read refuses keys that others can read: they may be others' by now.
func read(path string, td spiffeid.TrustDomain) (*issuer.Issuer, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("open keys of authority: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("open keys of authority %q: mode is %04o, others may read it: chmod 600", path, info.Mode().Perm())
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("open keys of authority: %w", err)
	}
	i, err := issuer.Parse(td, text)
	if err != nil {
		return nil, fmt.Errorf("parse keys of authority %q: %w", path, err)
	}
	return i, nil
}

// create makes keys and keeps them. Where another process was faster, its keys
// count.
func create(path string, td spiffeid.TrustDomain, now time.Time) (*issuer.Issuer, error) {
	i, err := issuer.New(td, now)
	if err != nil {
		return nil, fmt.Errorf("make keys of authority: %w", err)
	}
	text, err := i.Marshal()
	if err != nil {
		return nil, err
	}
	temp, err := writeTemp(path, text, 0o600)
	if err != nil {
		return nil, fmt.Errorf("write keys of authority: %w", err)
	}
	defer func() { _ = os.Remove(temp) }()
	err = os.Link(temp, path) // a link never replaces what is there
	if errors.Is(err, fs.ErrExist) {
		return read(path, td)
	}
	if err != nil {
		return nil, fmt.Errorf("write keys of authority: %w", err)
	}
	return i, syncDir(filepath.Dir(path))
}

// replace puts a file in place as a whole or not at all.
func replace(path string, text []byte, mode fs.FileMode) error {
	temp, err := writeTemp(path, text, mode)
	if err != nil {
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		_ = os.Remove(temp)
		return err
	}
	return syncDir(filepath.Dir(path))
}

// writeTemp writes a durable file beside path and gives its name.
func writeTemp(path string, text []byte, mode fs.FileMode) (name string, err error) {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.tmp") // mode 0600
	if err != nil {
		return "", err
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	if _, err := f.Write(text); err != nil {
		return "", err
	}
	if err := f.Chmod(mode); err != nil {
		return "", err
	}
	return f.Name(), f.Sync()
}

// syncDir makes a new name in a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
