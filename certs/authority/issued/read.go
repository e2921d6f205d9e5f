package issued

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Read passes on all entries of the log in a directory, the oldest first, until
// each fails. It may be read while it is written.
func Read(dir string, each func(*Entry) error) error {
	parts, err := partsOf(dir)
	if err != nil {
		return err
	}
	for _, n := range parts {
		err := readPart(name(dir, n), each)
		if errors.Is(err, fs.ErrNotExist) {
			continue // it was the oldest, and is gone since
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func readPart(path string, each func(*Entry) error) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("read issuing log: %w", err)
	}
	defer f.Close()
	r := bufio.NewReaderSize(f, 64<<10)
	for n := 1; ; n++ {
		line, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil // what is behind the last end of a line is being written
		}
		if err != nil {
			return fmt.Errorf("read issuing log: %w", err)
		}
		e, err := parse(line)
		if err != nil {
			return fmt.Errorf("read issuing log: %s:%d: %w", filepath.Base(path), n, err)
		}
		if err := each(e); err != nil {
			return err
		}
	}
}

func parse(line []byte) (*Entry, error) {
	d := json.NewDecoder(bytes.NewReader(line))
	e := &Entry{}
	if err := d.Decode(e); err != nil {
		return nil, err
	}
	if e.ID == "" || e.Kind == "" {
		return nil, errors.New("no id or kind")
	}
	return e, nil
}

// ValidUntil is when the last SVID that was issued under a root ends, of all but
// those of one SPIFFE ID; zero if there is none.
func ValidUntil(dir string, root uint64, but string) (time.Time, error) {
	var last time.Time
	err := Read(dir, func(e *Entry) error {
		if e.Root == root && e.ID != but && e.NotAfter.After(last) {
			last = e.NotAfter
		}
		return nil
	})
	return last, err
}
