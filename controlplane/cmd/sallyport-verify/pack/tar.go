package pack

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"strings"
)

// files are those of a pack, by name.
type files struct {
	from  io.ReaderAt
	place map[string]span
	names []string // in the order in which they stand
}

type span struct{ at, size int64 }

const (
	blockSize = 512
	// maxFiles is the most that a pack has.
	maxFiles = 4 << 20
	// maxPadding is the most of zeroes behind the last file.
	maxPadding = 1 << 20
)

// index finds the files of a tar. It refuses one that ends early, has more behind its end,
// or anything but files of different names.
func index(from io.ReaderAt, size int64) (*files, error) {
	f := &files{from: from, place: map[string]span{}}
	section := io.NewSectionReader(from, 0, size)
	archive := tar.NewReader(section)
	end := int64(0)
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return f, f.ends(end, size)
		}
		if err != nil {
			return nil, fmt.Errorf("behind %d files: %w", len(f.names), err)
		}
		at, err := section.Seek(0, io.SeekCurrent)
		if err != nil {
			return nil, err
		}
		switch _, twice := f.place[header.Name]; {
		case header.Typeflag != tar.TypeReg || len(header.PAXRecords) > 0:
			return nil, fmt.Errorf("%.100q is no file", header.Name)
		case twice:
			return nil, fmt.Errorf("%.100q is there twice", header.Name)
		case header.Size > size-at:
			return nil, fmt.Errorf("it ends in mid-file: %.100q has %d bytes, and %d are there", header.Name, header.Size, size-at)
		case len(f.names) == maxFiles:
			return nil, fmt.Errorf("more than %d files", maxFiles)
		}
		f.place[header.Name] = span{at, header.Size}
		f.names = append(f.names, header.Name)
		end = at + (header.Size+blockSize-1)/blockSize*blockSize
	}
}

// ends holds that two blocks of zeroes and nothing else end the tar.
func (f *files) ends(end, size int64) error {
	switch rest := size - end; {
	case rest < 2*blockSize:
		return errors.New("it ends early: a tar ends with two blocks of zeroes")
	case rest > maxPadding:
		return errors.New("there is more behind its end")
	}
	rest := make([]byte, size-end)
	if _, err := f.from.ReadAt(rest, end); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if strings.Trim(string(rest), "\x00") != "" {
		return errors.New("there is more behind its end")
	}
	return nil
}

// read gives a file of at most so many bytes, in a buffer that is there if it is large
// enough.
func (f *files) read(name string, most int64, buffer []byte) ([]byte, error) {
	s, is := f.place[name]
	switch {
	case !is:
		return nil, fmt.Errorf("there is no %s", name)
	case s.size > most:
		return nil, fmt.Errorf("%s has %d bytes, the most are %d", name, s.size, most)
	case int64(cap(buffer)) < s.size:
		buffer = make([]byte, s.size)
	}
	buffer = buffer[:s.size]
	if _, err := f.from.ReadAt(buffer, s.at); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return buffer, nil
}
