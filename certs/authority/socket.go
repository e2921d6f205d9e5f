package authority

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/sallyport-mesh/sallyport/certs/authority/attest"
)

// maxSocketPath is what every system takes: sun_path has 104 bytes on BSDs and
// macOS (108 on Linux), one of them for the final zero.
const maxSocketPath = 103

func checkSocketPath(path string) error {
	switch {
	case path == "":
		return errors.New("socket is missing")
	case !filepath.IsAbs(path):
		return fmt.Errorf("socket %q is not an absolute path", path)
	case len(path) > maxSocketPath:
		return fmt.Errorf("socket %q is %d bytes long, the system takes %d: use a directory with a shorter name", path, len(path), maxSocketPath)
	}
	return nil
}

// endpoint is a Workload API's socket with the entries that are served there.
type endpoint struct {
	socket   string
	entries  []*entry
	listener net.Listener
}

func (e *endpoint) ids() []spiffeid.ID {
	ids := make([]spiffeid.ID, 0, len(e.entries))
	for _, one := range e.entries {
		ids = append(ids, one.ID)
	}
	return ids
}

// asks are what each entry asks of a process.
func (e *endpoint) asks() []attest.Selectors {
	asks := make([]attest.Selectors, 0, len(e.entries))
	for _, one := range e.entries {
		asks = append(asks, one.asks)
	}
	return asks
}

// mode lets other users connect only where an entry may be one of theirs.
func (e *endpoint) mode() fs.FileMode {
	for _, one := range e.entries {
		if !one.asks.OnlyUID(ownUID()) {
			return 0o666
		}
	}
	return 0o600
}

// bindAll binds each socket once. With an error come those that are bound.
func bindAll(entries []*entry) ([]*endpoint, error) {
	var all []*endpoint
	bySocket := map[string]*endpoint{}
	for _, e := range entries {
		at := bySocket[e.Socket]
		if at == nil {
			at = &endpoint{socket: e.Socket}
			bySocket[e.Socket] = at
			all = append(all, at)
		}
		at.entries = append(at.entries, e)
	}
	for i, at := range all {
		l, err := bind(at.socket, at.mode())
		if err != nil {
			return all[:i], fmt.Errorf("bind Workload API: %w", err)
		}
		at.listener = l
	}
	return all, nil
}

func unbind(all []*endpoint) {
	for _, e := range all {
		_ = e.listener.Close() // closed by the server already where it ran
	}
}

// bind listens on a socket. Who may connect by its mode is only the first door:
// what counts is who the kernel says it is.
func bind(path string, mode fs.FileMode) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("make directory of socket: %w", err)
	}
	if err := removeStale(path); err != nil {
		return nil, err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, mode); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

func ownUID() uint32 { return uint32(os.Getuid()) }

// removeStale removes the socket of a process that is gone. A live one is an
// error, and so is anything else of that name.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at socket: %w", err)
	}
	if info.Mode()&fs.ModeSocket == 0 {
		return fmt.Errorf("socket %q: a file that is no socket is there", path)
	}
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		return errors.Join(fmt.Errorf("socket %q: another process is listening on it", path), conn.Close())
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("socket %q: cannot tell whether it is in use: %w", path, err)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("remove stale socket: %w", err)
	}
	return nil
}
