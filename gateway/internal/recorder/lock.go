package recorder

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ErrInUse says that another gateway uses the spool.
var ErrInUse = errors.New("another gateway uses the spool")

// lockDir takes a directory for this process. The kernel drops the lock with
// the file, so also with the process, however it ends. It fails with ErrInUse
// if another has it.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock spool: %w", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = ErrInUse
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock spool %q: %w", dir, err), f.Close())
	}
	return f, nil
}
