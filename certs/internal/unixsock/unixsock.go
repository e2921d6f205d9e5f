// Package unixsock listens on Unix sockets at paths. It does not say who connects:
// a socket's mode is only the first door.
package unixsock

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

// MaxPath is the longest path of a socket that every system takes: sun_path has
// 104 bytes on BSDs and macOS (108 on Linux), one of them for the final zero.
const MaxPath = 103

// CheckPath says whether a socket may have that path: it is absolute, and not
// longer than every system takes.
func CheckPath(path string) error {
	switch {
	case path == "":
		return errors.New("socket is missing")
	case !filepath.IsAbs(path):
		return fmt.Errorf("socket %q is not an absolute path", path)
	case len(path) > MaxPath:
		return fmt.Errorf("socket %q is %d bytes long, the system takes %d: use a directory with a shorter name", path, len(path), MaxPath)
	}
	return nil
}

// Listen listens at a path, with that mode, and makes the directory if it is
// missing. The socket of a process that is gone is replaced; that of a live one is
// an error, and so is anything else of that name.
func Listen(path string, mode fs.FileMode) (net.Listener, error) {
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
