package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/sallyport-mesh/sallyport/gateway/internal/recorder/disk"
)

// Follower reads the spool of another process while that process writes it, or once it
// has ended.
type Follower struct {
	sys  disk.System
	dir  string
	at   Position  // up to which it was read
	file disk.File // of segment at; nil if none is open
}

// Follow begins before the first entry of a directory.
func Follow(sys disk.System, dir string) *Follower { return &Follower{sys: sys, dir: dir} }

// At is the position up to which it has read.
func (f *Follower) At() Position { return f.at }

// Read calls each with every payload that was written since, and where its entry is.
// If the directory is gone, that is the rest of the segment that was being read, and
// the error is fs.ErrNotExist.
func (f *Follower) Read(each func(payload []byte, at Position) error) error {
	for {
		// Listed before it is read: a segment that is not the last any more is not
		// written any more.
		numbers, listed := Segments(f.sys, f.dir)
		if err := errors.Join(f.read(each), listed); err != nil {
			return err
		}
		next, ok := after(numbers, f.at.Segment())
		if !ok {
			return nil
		}
		f.Close()
		var err error
		f.file, err = f.sys.Open(Path(f.dir, next), os.O_RDONLY)
		f.at = At(next, 0)
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // that was trimmed meanwhile
			return fmt.Errorf("follow spool: %w", err)
		}
	}
}

// read reads on in the open segment.
func (f *Follower) read(each func(payload []byte, at Position) error) error {
	if f.file == nil {
		return nil
	}
	_, _, err := scan(f.file, f.at.Offset(), func(payload []byte, end int64) error {
		at := f.at
		f.at = At(at.Segment(), end)
		return each(payload, at)
	})
	return err
}

// after is the first number above n.
func after(numbers []uint32, n uint32) (uint32, bool) {
	for _, m := range numbers {
		if m > n {
			return m, true
		}
	}
	return 0, false
}

// Close lets go of the file. Read opens it no more, but goes on with the next.
func (f *Follower) Close() {
	if f.file != nil {
		f.file.Close()
		f.file = nil
	}
}
