package disk

import (
	"os"

	"golang.org/x/sys/unix"
)

// osFile is a file whose Sync puts its data on stable storage, without
// metadata that nobody needs to read it back.
type osFile struct{ *os.File }

// Sync is fdatasync.
func (f osFile) Sync() error { return unix.Fdatasync(int(f.Fd())) }
