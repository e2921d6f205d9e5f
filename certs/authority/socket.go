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

// bind listens on the entry's socket. Who may connect by the socket's mode is
// only the first door: what counts is who the kernel says it is.
func bind(e Entry) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(e.Socket), 0o755); err != nil {
		return nil, fmt.Errorf("make directory of socket: %w", err)
	}
	if err := removeStale(e.Socket); err != nil {
		return nil, err
	}
	l, err := net.Listen("unix", e.Socket)
	if err != nil {
		return nil, fmt.Errorf("bind Workload API of %s: %w", e.ID, err)
	}
	if err := os.Chmod(e.Socket, e.socketMode()); err != nil {
		return nil, errors.Join(fmt.Errorf("bind Workload API of %s: %w", e.ID, err), l.Close())
	}
	return l, nil
}

// socketMode lets other users connect only where the entry names some.
func (e Entry) socketMode() fs.FileMode {
	for _, uid := range e.UIDs {
		if uid != ownUID() {
			return 0o666
		}
	}
	return 0o600
}

// allows says whether a user may have the entry's SVID.
func (e Entry) allows(uid uint32) bool {
	if len(e.UIDs) == 0 {
		return uid == ownUID()
	}
	for _, allowed := range e.UIDs {
		if uid == allowed {
			return true
		}
	}
	return false
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
