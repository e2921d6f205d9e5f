package simulation

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/sallyport-mesh/sallyport/gateway/internal/recorder/disk"
	"github.com/sallyport-mesh/sallyport/gateway/internal/recorder/disk/disktest"
)

// errDead is what a disk says to a process that was killed: nothing of what it still
// does is done.
var errDead = errors.New("the process was killed")

// mortal is a disk as one process sees it until it is killed, which may be after any
// call that changes something. It takes no time: a goroutine that waits for a mutex
// would keep virtual time from going on.
type mortal struct {
	*disktest.Memory
	dead, full atomic.Bool

	mu    sync.Mutex // guards what follows
	calls int        // that the process has left; 0 if nobody counts
	last  func()     // is called in the last one
}

// mount has a process use what is on a disk.
func mount(m *disktest.Memory) *mortal {
	d := &mortal{Memory: m}
	m.After = func(string) { d.count() }
	return d
}

// count counts a call that has changed something.
func (m *mortal) count() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.calls == 0 {
		return
	}
	if m.calls--; m.calls == 0 {
		m.last()
	}
}

// after has f called in the last of so many calls that change something.
func (m *mortal) after(calls int, f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls, m.last = calls, f
}

// do does something to the disk. What a process does while it is killed is not done, as
// far as the process hears.
func (m *mortal) do(f func() error) error {
	if m.dead.Load() {
		return errDead
	}
	err := f()
	if m.dead.Load() {
		return errDead
	}
	return err
}

// grow does something for which there must be room.
func (m *mortal) grow(f func() error) error {
	return m.do(func() error {
		if m.full.Load() {
			return unix.ENOSPC
		}
		return f()
	})
}

// Open implements disk.System.
func (m *mortal) Open(path string, flag int) (f disk.File, err error) {
	err = m.do(func() error { f, err = m.Memory.Open(path, flag); return err })
	if err != nil {
		return nil, err
	}
	return &mortalFile{f, m}, nil
}

// List implements disk.System.
func (m *mortal) List(dir string) (entries []disk.Entry, err error) {
	err = m.do(func() error { entries, err = m.Memory.List(dir); return err })
	return entries, err
}

// MakeDir implements disk.System.
func (m *mortal) MakeDir(dir string) error {
	return m.do(func() error { return m.Memory.MakeDir(dir) })
}

// Rename implements disk.System.
func (m *mortal) Rename(from, to string) error {
	return m.do(func() error { return m.Memory.Rename(from, to) })
}

// Remove implements disk.System.
func (m *mortal) Remove(path string) error {
	return m.do(func() error { return m.Memory.Remove(path) })
}

// SyncDir implements disk.System.
func (m *mortal) SyncDir(dir string) error {
	return m.grow(func() error { return m.Memory.SyncDir(dir) })
}

// Lock implements disk.System.
func (m *mortal) Lock(dir string) (lock io.Closer, err error) {
	err = m.do(func() error { lock, err = m.Memory.Lock(dir); return err })
	return lock, err
}

type mortalFile struct {
	disk.File
	of *mortal
}

// ReadAt implements disk.File.
func (f *mortalFile) ReadAt(p []byte, at int64) (n int, err error) {
	err = f.of.do(func() error { n, err = f.File.ReadAt(p, at); return err })
	return n, err
}

// WriteAt implements disk.File.
func (f *mortalFile) WriteAt(p []byte, at int64) (n int, err error) {
	err = f.of.grow(func() error { n, err = f.File.WriteAt(p, at); return err })
	return n, err
}

// Sync implements disk.File.
func (f *mortalFile) Sync() error { return f.of.grow(f.File.Sync) }

// Truncate implements disk.File.
func (f *mortalFile) Truncate(size int64) error {
	return f.of.do(func() error { return f.File.Truncate(size) })
}
