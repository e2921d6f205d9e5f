package spool

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/sallyport-mesh/sallyport/gateway/internal/recorder/disk"
)

// ahead is how many bytes of zeros are written at a time, before entries take
// their place: to sync a file that does not grow is one write to the disk, and
// not its metadata's besides.
const ahead = 256 << 10

// appended is a file that is appended to. Behind its end may stand zeros, until
// it is closed in order.
type appended struct {
	disk.File
	end, room int64 // room is where the zeros end
	step      int   // how many zeros at a time
}

var zeros [ahead]byte

// create makes a new segment to append to, of about that size; its name is durable on
// return.
func create(sys disk.System, path string, size int64) (*appended, error) {
	f, err := sys.Open(path, os.O_CREATE|os.O_EXCL|os.O_RDWR)
	if err != nil {
		return nil, err
	}
	if err := sys.SyncDir(filepath.Dir(path)); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &appended{File: f, step: int(max(1, min(size/4, ahead)))}, nil
}

// write appends p. Where there is no room for zeros there may be for p.
func (f *appended) write(p []byte) error {
	if f.end+int64(len(p)) > f.room {
		n, _ := f.WriteAt(zeros[:f.step], max(f.room, f.end))
		f.room = max(f.room, f.end) + int64(n)
	}
	n, err := f.WriteAt(p, f.end)
	f.end += int64(n)
	return err
}

// cut makes size the end.
func (f *appended) cut(size int64) error {
	f.end, f.room = size, size
	return f.Truncate(size)
}

// close leaves nothing behind the end.
func (f *appended) close() error { return errors.Join(f.cut(f.end), f.Close()) }
