// Package issued is an authority's log of what it issued: a line of JSON for each
// SVID, appended and on stable storage before anybody gets the SVID. It is not
// evidence against the authority, which writes it: it is how its owner learns what
// was given to whom.
//
// Parts are files issued-NNNNNN.log of up to 16 MiB; the newest eight are kept, so
// that 128 MiB are the most it takes: about 300,000 SVIDs, or half a year of 40
// workloads.
package issued

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/sallyport-mesh/sallyport/certs/durable"
)

const (
	maxPart  = 16 << 20
	maxParts = 8
)

// Kinds of SVIDs.
const (
	X509 = "x509-svid"
	JWT  = "jwt-svid"
)

// Entry is one SVID. It holds no secret.
type Entry struct {
	Time time.Time `json:"time"`
	Kind string    `json:"kind"` // X509 or JWT
	ID   string    `json:"id"`
	// Serial is an X509-SVID's serial number in hex, or a JWT-SVID's jti.
	Serial string `json:"serial"`
	// Digest is "sha256:" and the hex digest of the certificate in DER, or of the
	// token.
	Digest   string    `json:"digest"`
	NotAfter time.Time `json:"notAfter"`
	Audience []string  `json:"audience,omitempty"` // of a JWT-SVID
	DNSNames []string  `json:"dnsNames,omitempty"`
	// Root is the number of the root that it was issued under, By the digest of
	// the certificate that signed it, or the id of the key.
	Root uint64 `json:"root"`
	By   string `json:"by"`
	// Socket is the Workload API's; empty if the authority issued to itself.
	Socket string `json:"socket,omitempty"`
	// PID is the process's, and Attested what was found out of it for its
	// selectors, in their form.
	PID      int32    `json:"pid,omitempty"`
	Attested []string `json:"attested,omitempty"`
}

// Log is the log that is written. Who appends at one time share one sync.
type Log struct {
	dir  string
	part int64 // bytes at which a part ends

	next sync.Mutex // guards batch
	// batch is what is written next.
	batch *batch

	write sync.Mutex // guards what follows, and the batch that was taken
	file  *os.File
	n     int   // of the part
	size  int64 // of the part, as far as it is whole
	fault error // set once what is on disk is not known any more
}

// batch is lines that are written together.
type batch struct {
	lines bytes.Buffer
	done  bool
	err   error
}

// Open opens the log in a directory, or begins one. What a crash left of a last
// line is cut off: nobody got that SVID.
func Open(dir string) (*Log, error) {
	l := &Log{dir: dir, part: maxPart, batch: &batch{}, n: 1}
	parts, err := partsOf(dir)
	if err != nil {
		return nil, err
	}
	if len(parts) > 0 {
		l.n = parts[len(parts)-1]
	}
	if err := l.open(); err != nil {
		return nil, fmt.Errorf("open issuing log: %w", err)
	}
	return l, nil
}

func name(dir string, n int) string { return filepath.Join(dir, fmt.Sprintf("issued-%06d.log", n)) }

// partsOf are the numbers of the parts, in order.
func partsOf(dir string) ([]int, error) {
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("open issuing log: %w", err)
	}
	var parts []int
	for _, f := range files {
		var n int
		if _, err := fmt.Sscanf(f.Name(), "issued-%d.log", &n); err == nil && filepath.Base(name(dir, n)) == f.Name() {
			parts = append(parts, n)
		}
	}
	slices.Sort(parts)
	return parts, nil
}

// open opens the part l.n for appending.
func (l *Log) open() error {
	f, err := os.OpenFile(name(l.dir, l.n), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	size, err := wholeLines(f)
	if err == nil {
		err = errors.Join(f.Truncate(size), durable.SyncDir(l.dir))
	}
	if err != nil {
		f.Close()
		return err
	}
	l.file, l.size = f, size
	return nil
}

// wholeLines is where the last whole line of a file ends.
func wholeLines(f *os.File) (int64, error) {
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, err
	}
	buf := make([]byte, 4096)
	for end > 0 {
		from := max(0, end-int64(len(buf)))
		chunk := buf[:end-from]
		if _, err := f.ReadAt(chunk, from); err != nil {
			return 0, err
		}
		if i := bytes.LastIndexByte(chunk, '\n'); i >= 0 {
			return from + int64(i) + 1, nil
		}
		end = from
	}
	return 0, nil
}

// Append writes entries. They are on stable storage when it returns; if it fails,
// what they are of must not be given to anybody.
func (l *Log) Append(entries ...Entry) error {
	var lines bytes.Buffer
	encoder := json.NewEncoder(&lines)
	for i := range entries {
		if err := encoder.Encode(&entries[i]); err != nil {
			return fmt.Errorf("write issuing log: %w", err)
		}
	}
	l.next.Lock()
	b := l.batch
	b.lines.Write(lines.Bytes())
	l.next.Unlock()

	l.write.Lock()
	defer l.write.Unlock()
	if !b.done { // else another wrote it while this one waited
		l.next.Lock()
		l.batch = &batch{}
		l.next.Unlock()
		b.done, b.err = true, l.flush(b.lines.Bytes())
	}
	if b.err != nil {
		return fmt.Errorf("write issuing log: %w", b.err)
	}
	return nil
}

// flush writes whole lines. After an error of the disk what is there is not known:
// then nothing is written any more.
func (l *Log) flush(lines []byte) error {
	if l.fault != nil {
		return l.fault
	}
	if l.size > 0 && l.size+int64(len(lines)) > l.part {
		if err := l.rotate(); err != nil {
			return err
		}
	}
	if _, err := l.file.WriteAt(lines, l.size); err != nil {
		if cut := l.file.Truncate(l.size); cut != nil {
			l.fault = errors.Join(err, cut)
		}
		return err
	}
	if err := l.file.Sync(); err != nil {
		l.fault = err
		return err
	}
	l.size += int64(len(lines))
	return nil
}

// rotate begins a new part and removes the oldest beyond those that are kept.
func (l *Log) rotate() error {
	last := l.file
	l.n++
	if err := l.open(); err != nil {
		l.n--
		return err
	}
	last.Close()
	parts, err := partsOf(l.dir)
	if err != nil {
		return err
	}
	for _, n := range parts[:max(0, len(parts)-maxParts)] {
		if err := durable.Remove(name(l.dir, n)); err != nil {
			return err
		}
	}
	return nil
}

var errClosed = errors.New("it is closed")

// Close ends the log: nothing can be appended after it.
func (l *Log) Close() error {
	l.write.Lock()
	defer l.write.Unlock()
	if errors.Is(l.fault, errClosed) {
		return nil
	}
	l.fault = errClosed
	return l.file.Close()
}
