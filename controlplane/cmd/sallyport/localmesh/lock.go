package localmesh

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// ErrRunning says that a mesh runs in the directory already.
var ErrRunning = errors.New("a mesh already runs there")

// lock takes the directory until its release. The kernel drops the lock with the
// process, however it ends.
func (m *Mesh) lock() (release func(), err error) {
	file, err := os.OpenFile(m.layout.lock(), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	release = func() { _ = file.Close() } // nothing was written
	err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = ErrRunning
	}
	if err != nil {
		release()
		return nil, fmt.Errorf("lock %q: %w", m.layout.lock(), err)
	}
	return release, nil
}

// remedy says what to do about an address that somebody else has taken since the
// mesh was last there. It cannot move: its own policy, and what was told to
// workloads, name it.
func (m *Mesh) remedy(err error) error {
	if !errors.Is(err, syscall.EADDRINUSE) {
		return err
	}
	return fmt.Errorf("%w: the mesh in %s was there before, and cannot move; end the program that is there now, or start a new mesh with another --dir",
		err, m.Dir())
}
