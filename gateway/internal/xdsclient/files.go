package xdsclient

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// The files of the state directory.
const (
	policyFile    = "policy.pb"         // the policy in force: a sallyport.policy.v1.SignedPolicy
	earlierFile   = "policy.earlier.pb" // the policy before it: likewise; its time is when it was replaced
	floorFile     = "policy.floor"      // the highest serial that was in force, as JSON
	endpointsFile = "endpoints.pb"      // the endpoints: an Envoy DeltaDiscoveryResponse
)

// maxFile is the most that is read of a state file, in bytes.
const maxFile = 64 << 20

// files is the state directory.
type files struct{ dir string }

func openFiles(dir string) (files, error) {
	if dir == "" {
		return files{}, errors.New("open state: no directory is named")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return files{}, fmt.Errorf("open state: %w", err)
	}
	return files{dir}, nil
}

// save replaces a file as a whole. When it returns without an error, the new
// content survives a crash; with one, the old content is still there, or the
// new one whole.
func (f files) save(name string, content []byte) error {
	if err := f.write(name, content); err != nil {
		return fmt.Errorf("save %s: %w", filepath.Join(f.dir, name), err)
	}
	return nil
}

func (f files) write(name string, content []byte) error {
	tmp, err := os.CreateTemp(f.dir, "."+name+".*")
	if err != nil {
		return err
	}
	_, err = tmp.Write(content)
	if err == nil {
		err = tmp.Sync()
	}
	if err = errors.Join(err, tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), filepath.Join(f.dir, name))
	}
	if err != nil {
		os.Remove(tmp.Name())
		return err
	}
	return f.sync()
}

// sync makes the directory's names durable.
func (f files) sync() error {
	d, err := os.Open(f.dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// modified is when a file was saved; zero if there is none.
func (f files) modified(name string) (time.Time, error) {
	info, err := os.Stat(filepath.Join(f.dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("load state: %w", err)
	}
	return info.ModTime(), nil
}

// load reads a file; nil if there is none.
func (f files) load(name string) ([]byte, error) {
	file, err := os.Open(filepath.Join(f.dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("load state: %w", err)
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("load state: %w", err)
	}
	if len(content) > maxFile {
		return nil, fmt.Errorf("load state: %s is larger than %d bytes", file.Name(), maxFile)
	}
	return content, nil
}
