package recorder

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// ahead is how many bytes of zeros are written at a time, before entries take
// their place: to sync a file that does not grow is one write to the disk, and
// not its metadata's besides.
const ahead = 256 << 10

// appended is a file that is appended to. Behind its end may stand zeros, until
// it is closed in order.
type appended struct {
	osFile
	end, room int64 // room is where the zeros end
}

var zeros [ahead]byte

// createFile makes a new file to append to; its name is durable on return.
func createFile(path string) (file, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syncDir(filepath.Dir(path)); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &appended{osFile: osFile{f}}, nil
}

// Write appends p. Where there is no room for zeros there may be for p.
func (f *appended) Write(p []byte) (int, error) {
	if f.end+int64(len(p)) > f.room {
		n, _ := f.WriteAt(zeros[:], max(f.room, f.end))
		f.room = max(f.room, f.end) + int64(n)
	}
	n, err := f.WriteAt(p, f.end)
	f.end += int64(n)
	return n, err
}

// Truncate implements file.
func (f *appended) Truncate(size int64) error {
	f.end, f.room = size, size
	return f.osFile.Truncate(size)
}

// Close leaves nothing behind the end.
func (f *appended) Close() error {
	return errors.Join(f.Truncate(f.end), f.osFile.Close())
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	return nil
}

// writeSynced writes a file that is on stable storage on return, but for its
// name.
func writeSynced(path string, text []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Sync(), f.Close())
}
