// Package disk is the little that a spool asks of a file system, so that a test can
// stand for one and cut its power. What was written is on stable storage once it was
// synced, and not before: a file's bytes and size by the file's Sync, its name by that
// of its directory.
package disk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// ErrInUse says that another process has a directory's lock.
var ErrInUse = errors.New("another process uses it")

// LockFile is the file in a directory that is locked.
const LockFile = "lock"

// System is a file system. Its errors are those of package os.
type System interface {
	// Open opens a file for reading and, as os.OpenFile's flags say, for writing.
	Open(path string, flag int) (File, error)
	// List is what a directory has, by name.
	List(dir string) ([]Entry, error)
	// MakeDir makes a directory, and those that it is in.
	MakeDir(dir string) error
	// Rename gives a file or a directory another name; it takes the place of a file
	// that has it.
	Rename(from, to string) error
	// Remove removes a file, or a directory that is empty.
	Remove(path string) error
	// SyncDir puts on stable storage which files a directory has.
	SyncDir(dir string) error
	// Room is how many bytes more the file system that a directory is on takes, and how
	// many it takes in all.
	Room(dir string) (free, size int64, err error)
	// Lock takes a directory for this process, until it is closed or the process ends.
	// It fails with ErrInUse if another has it, or had it and removed the directory.
	Lock(dir string) (io.Closer, error)
}

// Entry is one name in a directory.
type Entry struct {
	Name string
	Size int64 // in bytes, of a file
	Dir  bool
}

// File is an open file.
type File interface {
	io.ReaderAt
	io.WriterAt
	// Sync puts the bytes on stable storage, and what it takes to read them back.
	Sync() error
	Truncate(size int64) error
	Size() (int64, error)
	Close() error
}

// ReadFile reads a whole file.
func ReadFile(sys System, path string) ([]byte, error) {
	f, err := sys.Open(path, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	b := make([]byte, size)
	n, err := f.ReadAt(b, 0)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return b[:n], err
}

// WriteFile writes a file whose bytes are on stable storage on return; its name may
// not be.
func WriteFile(sys System, path string, text []byte) error {
	f, err := sys.Open(path, os.O_CREATE|os.O_TRUNC|os.O_RDWR)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(text, 0)
	return errors.Join(err, f.Sync(), f.Close())
}

// NewSuffix is what a file is called by while Replace writes it, beside its name.
const NewSuffix = ".new"

// Replace writes a file as a whole: after a crash it is the old one or the new one,
// and on return the new one.
func Replace(sys System, path string, text []byte) error {
	if err := WriteFile(sys, path+NewSuffix, text); err != nil {
		return err
	}
	if err := sys.Rename(path+NewSuffix, path); err != nil {
		return err
	}
	return sys.SyncDir(filepath.Dir(path))
}

// Exists says whether there is a directory of that name.
func Exists(sys System, dir string) (bool, error) {
	switch _, err := sys.List(dir); {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("look for %q: %w", dir, err)
	}
	return true, nil
}
