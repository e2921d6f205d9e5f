package translog

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ErrInUse says that another has the log open for appending.
var ErrInUse = errors.New("the log is in use: stop who appends to it, or wait until it has ended")

// lock is a held lock of a log's directory. The kernel drops it with the process.
type lock struct{ file *os.File }

func takeLock(dir string) (*lock, error) {
	file, err := os.OpenFile(filepath.Join(dir, lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = ErrInUse
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", file.Name(), err), file.Close())
	}
	return &lock{file}, nil
}

func (l *lock) release() error { return l.file.Close() }
