package durable

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// ReadPrivate reads a file that nobody but this process's user could have read or
// written: one that others can read, or that is another's, is refused, because
// what is in it may be others' by now.
func ReadPrivate(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat() // of what was opened, not of what the name is by now
	if err != nil {
		return nil, err
	}
	if err := private(path, info, 0o600); err != nil {
		return nil, err
	}
	text := make([]byte, info.Size())
	n, err := f.ReadAt(text, 0)
	if err != nil {
		return nil, fmt.Errorf("read %q: %w", path, err)
	}
	return text[:n], nil
}

// MakePrivateDir makes a directory for this process's user alone, or checks one
// that is there.
func MakePrivateDir(path string) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	return private(path, info, 0o700)
}

func private(path string, info fs.FileInfo, mode fs.FileMode) error {
	if info.Mode().Perm()&^mode != 0 {
		return fmt.Errorf("%q: mode is %04o, others may use it: chmod %o", path, info.Mode().Perm(), mode)
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && int(stat.Uid) != os.Geteuid() {
		return fmt.Errorf("%q is of user %d, want that of this process, %d", path, stat.Uid, os.Geteuid())
	}
	return nil
}
