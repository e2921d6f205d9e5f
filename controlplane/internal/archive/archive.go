// Package archive keeps joined records in Parquet files, one for each hour in which
// they opened. Others read the files, too: each column is what its name says.
//
// The one invariant: a file is whole or not there. It gets its name when it is on the
// disk, the name carries the digest of the content, and no answer is given from a
// file that has another.
package archive

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sallyport-mesh/sallyport/certs/durable"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// Errors of an archive. Each comes with the path of the file, and what to do.
var (
	// ErrDamaged says that a file is not what was written.
	ErrDamaged = errors.New("the archive is damaged")
	// ErrMissing says that there is no file of an hour.
	ErrMissing = errors.New("the archive has no such hour")
)

// Entry is a record as it is kept.
type Entry struct {
	// Opened is when it did, in microseconds since 1970.
	Opened int64
	// Egress and Ingress are the SPIFFE IDs of its gateways.
	Egress, Ingress string
	// Record itself.
	Record *crossingv1.Record
}

// Archive is the files of a directory. All methods may be called concurrently, but
// those that change it only by one at a time.
type Archive struct {
	dir string

	mu      sync.Mutex // guards what follows
	files   map[int64]name
	checked map[name]struct{} // their content has the digest of the name
}

// name of a file. A later version takes the place of an earlier one.
type name struct {
	hour    int64 // since 1970
	version int
	digest  string // SHA-256 of the content, in hex
}

const (
	hourForm = "2006-01-02T15Z"
	suffix   = ".parquet"
	unnamed  = ".unfinished"
)

func (n name) String() string {
	return fmt.Sprintf("%s.%d.%s%s", time.Unix(n.hour*3600, 0).UTC().Format(hourForm), n.version, n.digest, suffix)
}

func parseName(text string) (name, bool) {
	stem, ok := strings.CutSuffix(text, suffix)
	parts := strings.Split(stem, ".")
	if !ok || len(parts) != 3 {
		return name{}, false
	}
	at, errHour := time.Parse(hourForm, parts[0])
	version, errVersion := strconv.Atoi(parts[1])
	n := name{at.Unix() / 3600, version, parts[2]}
	return n, errHour == nil && errVersion == nil && n.String() == text && len(parts[2]) == hex.EncodedLen(sha256.Size)
}

// Open opens the archive in a directory, which it makes if need be, and takes away
// what an earlier process did not finish. Only one process may have it open.
func Open(dir string) (*Archive, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	a := &Archive{dir: dir, files: map[int64]name{}, checked: map[name]struct{}{}}
	for _, e := range entries {
		if err := a.take(e.Name()); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// take a file that is there. What is no file of ours is left alone.
func (a *Archive) take(file string) error {
	if strings.HasSuffix(file, unnamed) {
		return os.Remove(filepath.Join(a.dir, file))
	}
	n, ok := parseName(file)
	if !ok {
		return nil
	}
	old, twice := a.files[n.hour]
	if twice && old.version > n.version {
		n, old = old, n
	}
	a.files[n.hour] = n
	if twice {
		return os.Remove(a.path(old))
	}
	return nil
}

func (a *Archive) path(n name) string { return filepath.Join(a.dir, n.String()) }

// Hours that there are, since 1970, in order.
func (a *Archive) Hours() []int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Sorted(maps.Keys(a.files))
}

// Has says whether there is an hour.
func (a *Archive) Has(hour int64) bool {
	_, ok := a.name(hour)
	return ok
}

func (a *Archive) name(hour int64) (name, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	n, ok := a.files[hour]
	return n, ok
}

// Remove an hour, if there is one.
func (a *Archive) Remove(hour int64) error {
	n, ok := a.name(hour)
	if !ok {
		return nil
	}
	a.mu.Lock()
	delete(a.files, hour)
	delete(a.checked, n)
	a.mu.Unlock()
	if err := os.Remove(a.path(n)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return durable.SyncDir(a.dir)
}

// Check reads each file whole, and names those that are damaged.
func (a *Archive) Check() error {
	var all []error
	for _, hour := range a.Hours() {
		if n, ok := a.name(hour); ok {
			all = append(all, a.check(n))
		}
	}
	return errors.Join(all...)
}

// check compares a file with its digest.
func (a *Archive) check(n name) error {
	file, err := os.Open(a.path(n))
	if err != nil {
		return a.explain(n, err)
	}
	defer file.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, file); err != nil {
		return a.explain(n, err)
	}
	if hex.EncodeToString(sum.Sum(nil)) != n.digest {
		return a.explain(n, errors.New("its content is not that which its name tells"))
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.checked[n] = struct{}{}
	return nil
}

// explain names the file and says what to do.
func (a *Archive) explain(n name, err error) error {
	return fmt.Errorf("%w: %q: %w; put back a copy of it, or move it away, set the database aside too, and put the records of that hour again", ErrDamaged, a.path(n), err)
}
