package witness

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// The names in a witness's directory.
const (
	lockName     = "lock"
	originsName  = "origins"     // of all logs that were ever cosigned, one a line
	keyName      = "witness.key" // PRIVATE+KEY+...
	vkeyName     = "witness.vkey"
	headsName    = "cosigned" // a checkpoint for each origin, named by its hash
	evidenceName = "evidence"
)

// memory is what was cosigned last, of each log, on disk: a note with the
// witness's own cosignature. The origins are written down apart from it, so that
// a checkpoint that has gone is missed.
type memory struct {
	dir    string
	unlock func()
	// replace puts a file in place: durable when it returns, and whole or not at all
	// whenever the power goes.
	replace func(path string, text []byte, mode fs.FileMode) error

	mu      sync.Mutex      // guards what follows
	origins map[string]bool // as in the file
}

// openMemory takes the directory for this process. It makes it if it is missing.
func openMemory(dir string) (*memory, error) {
	if err := os.MkdirAll(filepath.Join(dir, headsName), 0o700); err != nil {
		return nil, fmt.Errorf("make the witness's directory: %w", err)
	}
	unlock, err := lock(filepath.Join(dir, lockName))
	if err != nil {
		return nil, err
	}
	m := &memory{dir: dir, unlock: unlock, replace: replace}
	if err := errors.Join(syncDir(filepath.Dir(dir)), syncDir(dir)); err != nil {
		m.close()
		return nil, fmt.Errorf("make the witness's directory durable: %w", err)
	}
	return m, nil
}

func (m *memory) close() { m.unlock() }

// openKey reads the key, or makes it where nothing was cosigned yet. Key and
// memory belong together: either without the other is refused.
func (m *memory) openKey(path, name string) (*cosigner, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return m.makeKey(path, name)
	}
	if err != nil {
		return nil, fmt.Errorf("read the witness's key: %w", err)
	}
	if info, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("read the witness's key: %w", err)
	} else if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("key %q may be read by others (mode %v): chmod 600 it, and replace it if somebody has", path, info.Mode().Perm())
	}
	c, err := parseCosigner(strings.TrimSuffix(string(text), "\n"))
	if err != nil {
		return nil, fmt.Errorf("key %q: %w", path, err)
	}
	if c.name != name {
		return nil, fmt.Errorf("key %q is that of %s, not of %s: set name to it, or begin anew with another directory and key", path, c.name, name)
	}
	if err := m.readOrigins(); err != nil {
		return nil, fmt.Errorf("key %q has a past, and what it cosigned cannot be told: %w. Put back the whole directory %q; if it is lost, so is the key: begin anew with another directory and key", path, err, m.dir)
	}
	return c, m.writeVKey(c)
}

// makeKey writes the list of origins before the key: a key alone has lost it.
func (m *memory) makeKey(path, name string) (*cosigner, error) {
	err := m.readOrigins()
	if err == nil && len(m.origins) > 0 {
		return nil, fmt.Errorf("key %q is missing, and %q has what it cosigned: put the key back, or begin anew with another directory", path, m.dir)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err := m.writeOrigins(map[string]bool{}); err != nil {
		return nil, err
	}
	c, err := generateCosigner(name)
	if err != nil {
		return nil, err
	}
	if err := m.replace(path, []byte(c.encode()+"\n"), 0o600); err != nil {
		return nil, fmt.Errorf("write the witness's key: %w", err)
	}
	return c, m.writeVKey(c)
}

func (m *memory) writeVKey(c *cosigner) error {
	if err := m.replace(filepath.Join(m.dir, vkeyName), []byte(c.vkey()+"\n"), 0o644); err != nil {
		return fmt.Errorf("write the witness's verifier key: %w", err)
	}
	return nil
}

func (m *memory) readOrigins() error {
	text, err := os.ReadFile(filepath.Join(m.dir, originsName))
	if err != nil {
		return fmt.Errorf("read which logs were cosigned: %w", err)
	}
	m.origins = map[string]bool{}
	for origin := range strings.Lines(string(text)) {
		m.origins[strings.TrimSuffix(origin, "\n")] = true
	}
	return nil
}

func (m *memory) writeOrigins(origins map[string]bool) error {
	text := ""
	for _, origin := range slices.Sorted(maps.Keys(origins)) {
		text += origin + "\n"
	}
	if err := m.replace(filepath.Join(m.dir, originsName), []byte(text), 0o600); err != nil {
		return fmt.Errorf("write which logs are cosigned: %w", err)
	}
	m.origins = origins
	return nil
}

// recall reads the head of every log that was ever cosigned, by origin, and of
// those logs that it was given: a crash may have come before their origin was
// written down.
func (m *memory) recall(c *cosigner, logs []Log) (map[string]*head, error) {
	heads := map[string]*head{}
	for origin := range m.origins {
		h, err := m.read(c, origin)
		if err != nil {
			return nil, fmt.Errorf("what was cosigned of %s cannot be told: %w. Put back the newest copy that no cosignature was given after, or begin anew with another directory and key", origin, err)
		}
		heads[origin] = h
	}
	for _, l := range logs {
		if m.origins[l.Origin] {
			continue
		}
		h, err := m.read(c, l.Origin)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		heads[l.Origin] = h
	}
	return heads, nil
}

func (m *memory) read(c *cosigner, origin string) (*head, error) {
	path := m.headPath(origin)
	signed, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	h, err := c.recall(signed)
	if err != nil {
		return nil, fmt.Errorf("%q: %w", path, err)
	}
	if h.origin != origin {
		return nil, fmt.Errorf("%q is of another log, %s", path, h.origin)
	}
	return h, nil
}

func (m *memory) headPath(origin string) string {
	return filepath.Join(m.dir, headsName, originHash(origin))
}

// keep makes a head durable. Of an origin, only one caller at a time may keep one.
// Until it has succeeded no cosignature of the head may be given. If it fails, a
// restart may find the head that it was to replace, or this one.
func (m *memory) keep(h *head) error {
	if err := m.replace(m.headPath(h.origin), h.signed, 0o600); err != nil {
		return fmt.Errorf("keep the checkpoint of %s: %w", h.origin, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.origins[h.origin] {
		return nil
	}
	origins := maps.Clone(m.origins)
	origins[h.origin] = true
	return m.writeOrigins(origins)
}

// replace writes beside the path and renames. It needs no name of its own for
// each try: the directory is this process's, and callers take turns.
func replace(path string, text []byte, mode fs.FileMode) error {
	temp := path + ".tmp"
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(temp)) // it may be what fills the disk
	}
	if err := os.Rename(temp, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes the names in a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// lock takes a file until unlock, or the end of this process.
func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the witness's directory: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("%q is used by another witness: give each its own directory", filepath.Dir(path))
		}
		return nil, fmt.Errorf("lock %q: %w", path, err)
	}
	return func() { f.Close() }, nil
}
