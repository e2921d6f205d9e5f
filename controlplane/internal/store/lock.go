package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// lockName is the file whose flock says that a store is open. The kernel drops
// the lock with the process, however it ends.
const lockName = "lock"

// dirLock is a held lock on a store's directory.
type dirLock struct{ file *os.File }

// lockExclusive takes the directory for writing. The error is ErrInUse if
// anybody has it.
func lockExclusive(dir string) (*dirLock, error) {
	file, err := os.OpenFile(filepath.Join(dir, lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	return lockFile(file, unix.LOCK_EX)
}

// lockShared takes the directory for reading: nobody may write meanwhile.
func lockShared(dir string) (*dirLock, error) {
	file, err := os.Open(filepath.Join(dir, lockName))
	if err != nil {
		return nil, err
	}
	return lockFile(file, unix.LOCK_SH)
}

func lockFile(file *os.File, how int) (*dirLock, error) {
	err := unix.Flock(int(file.Fd()), how|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = ErrInUse
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %q: %w", file.Name(), err), file.Close())
	}
	return &dirLock{file: file}, nil
}

// release lets go of the directory.
func (l *dirLock) release() error { return l.file.Close() }
