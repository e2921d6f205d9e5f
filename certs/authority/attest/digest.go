package attest

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"sync"
)

const (
	// maxProgram bounds the work that a workload can make for a digest.
	maxProgram = 1 << 30
	// maxDigests bounds what is remembered of programs.
	maxDigests = 256
)

// fileID tells a file's content from any other's, as far as a file system does.
type fileID struct {
	dev, inode     uint64
	size           int64
	mtime, changed int64 // in nanoseconds
}

// same says that two are of one file, whatever was done to its names since.
func (f fileID) same(g fileID) bool { return f.dev == g.dev && f.inode == g.inode }

// digests remembers the digests of programs. One is computed at a time.
type digests struct {
	mu    sync.Mutex // guards what follows
	known map[fileID]string
}

// of is the digest of a file in hex. after is the file's identity once it was read.
func (d *digests) of(id fileID, file io.Reader, after func() (fileID, error)) (string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if sum, ok := d.known[id]; ok {
		return sum, nil
	}
	if id.size > maxProgram {
		return "", fmt.Errorf("program has %d bytes, at most %d are hashed", id.size, maxProgram)
	}
	h := sha256.New()
	if _, err := io.Copy(h, io.LimitReader(file, maxProgram+1)); err != nil {
		return "", fmt.Errorf("hash program: %w", err)
	}
	switch now, err := after(); {
	case err != nil:
		return "", err
	case now != id:
		return "", fmt.Errorf("%w: its file was written to", ErrGone)
	}
	if len(d.known) >= maxDigests || d.known == nil {
		d.known = map[fileID]string{} // those in use come back by themselves
	}
	sum := hex.EncodeToString(h.Sum(nil))
	d.known[id] = sum
	return sum, nil
}
