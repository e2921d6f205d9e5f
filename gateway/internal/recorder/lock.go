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

// lockFile is the file in a directory that is locked.
const lockFile = "lock"

// lockDir takes a directory for this process, and for those that it hands the
// file to. The kernel drops the lock with the last of them, however it ends. It
// fails with ErrInUse if another has it, or had it and removed the directory.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock spool: %w", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) || err == nil && !isAt(f, dir) {
		err = ErrInUse
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock spool %q: %w", dir, err), f.Close())
	}
	return f, nil
}

// Lock is another descriptor of the spool's lock, for the process that takes this
// one's place. It is the caller's.
func (r *Recorder) Lock() (*os.File, error) {
	fd, err := unix.FcntlInt(r.runs.lock.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("hand over the spool's lock: %w", err)
	}
	return os.NewFile(uintptr(fd), lockFile), nil
}

// isAt says whether a lock is still that of the directory.
func isAt(lock *os.File, dir string) bool {
	mine, err := lock.Stat()
	if err != nil {
		return false
	}
	there, err := os.Stat(filepath.Join(dir, lockFile))
	return err == nil && os.SameFile(mine, there)
}
