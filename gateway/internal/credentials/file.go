package credentials

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync"
	"time"
)

const (
	// maxSecret bounds a secret's file, in bytes: far more than keys of providers have,
	// and less than heads may have.
	maxSecret = 8 << 10
	// others is what the mode of a secret's file must not have: reading by anybody, and
	// writing by its group. Its group may read it, as Kubernetes gives secrets to who is
	// not root.
	others = 0o027
	// settles is for how long after a file was written it may be written again without
	// another time of it: file systems count in ticks.
	settles = time.Second
)

// file is a secret's file.
type file struct {
	path string

	mu     sync.Mutex // guards what follows
	secret Secret
	seen   fs.FileInfo // of what secret was read from; nil if it is to be read
}

// get is the secret that the file has now.
func (f *file) get() (Secret, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now, err := stat(f.path)
	if err != nil {
		f.seen, f.secret = nil, Secret{}
		return Secret{}, err
	}
	if f.seen != nil && unchanged(f.seen, now) {
		return f.secret, nil
	}
	f.seen = nil
	asked := time.Now()
	if f.secret, now, err = read(f.path); err != nil {
		return Secret{}, err
	}
	if asked.Sub(now.ModTime()) > settles {
		f.seen = now
	}
	return f.secret, nil
}

// unchanged says that a file is one that was seen, and its mode, too.
func unchanged(seen, now fs.FileInfo) bool {
	return seen.ModTime().Equal(now.ModTime()) && seen.Size() == now.Size() && seen.Mode() == now.Mode() && os.SameFile(seen, now)
}

// stat looks at a file without opening it: to open a pipe may take for ever.
func stat(path string) (fs.FileInfo, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, plain(err)
	}
	return info, check(info)
}

// check refuses a file that no secret may be in.
func check(info fs.FileInfo) error {
	switch {
	case !info.Mode().IsRegular():
		return errIrregular
	case info.Mode().Perm()&others != 0:
		return errOpen
	case info.Size() > maxSecret:
		return errLong
	}
	return nil
}

// read is the secret of a file, and what the file is that it was read from.
func read(path string) (Secret, fs.FileInfo, error) {
	f, err := os.Open(path)
	if err != nil {
		return Secret{}, nil, plain(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return Secret{}, nil, plain(err)
	}
	if err := check(info); err != nil { // it may be another one than stat has seen
		return Secret{}, nil, err
	}
	text, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err != nil {
		return Secret{}, nil, plain(err)
	}
	secret, err := parse(text)
	return secret, info, err
}

// parse reads one line, which may have space around it.
func parse(text []byte) (Secret, error) {
	if len(text) > maxSecret {
		return Secret{}, errLong
	}
	line := strings.Trim(string(text), " \t\r\n")
	if line == "" {
		return Secret{}, errForm
	}
	for _, c := range []byte(line) {
		if c < 0x21 || c > 0x7e {
			return Secret{}, errForm
		}
	}
	return newSecret(line), nil
}

// plain is an error of the file system without what it is of, for a record.
func plain(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return errMissing
	}
	return errUnread
}
