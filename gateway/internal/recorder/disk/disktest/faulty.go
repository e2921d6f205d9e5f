package disktest

import (
	"errors"
	"sync"

	"github.com/sallyport-mesh/sallyport/gateway/internal/recorder/disk"
)

// ErrDisk is how a faulty disk fails.
var ErrDisk = errors.New("disk failure")

// Faults are what a faulty disk does, in everything that it is asked for.
type Faults struct {
	Open, Write, Sync, Truncate bool          // these fail
	Halfway                     bool          // a failing write leaves half of it
	Err                         error         // what the failure is; ErrDisk if nil
	Taken                       int64         // of the disk's room, in bytes, by others
	Stall                       chan struct{} // writes and syncs wait until it is closed
}

// Faulty is a file system whose files fail when they are told to. Files that are only
// read do not.
type Faulty struct {
	disk.System

	mu     sync.Mutex // guards what follows
	faults Faults
	calls  int
}

// Set says how to fail from now on.
func (f *Faulty) Set(faults Faults) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults = faults
}

// Calls is how many writes and syncs there were.
func (f *Faulty) Calls() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls
}

func (f *Faulty) now() Faults {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.faults
}

// Room implements disk.System.
func (f *Faulty) Room(dir string) (free, size int64, err error) {
	free, size, err = f.System.Room(dir)
	return min(free, size-f.now().Taken), size, err
}

// Open implements disk.System.
func (f *Faulty) Open(path string, flag int) (disk.File, error) {
	if faults := f.now(); faults.Open && flag != 0 {
		return nil, faults.err()
	}
	file, err := f.System.Open(path, flag)
	if err != nil {
		return nil, err
	}
	return &faultyFile{file, f}, nil
}

func (f Faults) err() error {
	if f.Err != nil {
		return f.Err
	}
	return ErrDisk
}

type faultyFile struct {
	disk.File
	of *Faulty
}

// asked waits while the disk is stalled, and says how it fails.
func (f *faultyFile) asked() Faults {
	f.of.mu.Lock()
	f.of.calls++
	stall := f.of.faults.Stall
	f.of.mu.Unlock()
	if stall != nil {
		<-stall
	}
	return f.of.now()
}

// WriteAt implements disk.File.
func (f *faultyFile) WriteAt(p []byte, offset int64) (int, error) {
	faults := f.asked()
	if !faults.Write {
		return f.File.WriteAt(p, offset)
	}
	n := 0
	if faults.Halfway {
		n, _ = f.File.WriteAt(p[:len(p)/2], offset)
	}
	return n, faults.err()
}

// Sync implements disk.File.
func (f *faultyFile) Sync() error {
	if faults := f.asked(); faults.Sync {
		return faults.err()
	}
	return f.File.Sync()
}

// Truncate implements disk.File.
func (f *faultyFile) Truncate(size int64) error {
	if faults := f.of.now(); faults.Truncate {
		return faults.err()
	}
	return f.File.Truncate(size)
}
