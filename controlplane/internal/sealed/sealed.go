// Package sealed keeps contents that gateways have sealed to reviewers' keys, each in a file
// of its own, until its retention is over. It cannot read them, and decides nothing of who
// may.
//
// The one invariant: what Put has answered for is on stable storage, whole, and is given
// out as it came or not at all.
package sealed

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/policy/kept"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

const (
	// DefaultTotal bounds what is kept, in bytes.
	DefaultTotal = 16 << 30
	// maxPart bounds one part: the 64 MiB that a gateway seals at most, and what age adds.
	maxPart = 65 << 20
	// maxText bounds a name, a digest or a key in what is said of a part.
	maxText = 256
	// skew is how far a gateway's clock may be ahead.
	skew = time.Hour
)

var (
	// ErrInvalid says that a part cannot be what it is said to be. Its text is for its gateway.
	ErrInvalid = errors.New("no sealed part")
	// ErrOther says that there is another part of that name.
	ErrOther = errors.New("there is another part of that name, with other bytes")
	// ErrFull says that there is no room.
	ErrFull = errors.New("there is no room for sealed contents")
	// ErrNotFound says that there is no such part, or that its retention is over.
	ErrNotFound = errors.New("no sealed content")
)

// Store keeps parts below a directory: TRUST-DOMAIN/GATEWAY/DAY/CROSSING.SIDE.PART, where
// DAY is the last of the retention. It is safe for concurrent use.
type Store struct {
	dir   string
	total int64

	mu    sync.Mutex // guards what follows
	taken int64
	busy  map[string]bool // parts that are being written, by path
}

// Open opens a store over a directory, which it makes. Total bounds it; DefaultTotal if 0.
func Open(dir string, total int64) (*Store, error) {
	s := &Store{dir: dir, total: cmp.Or(total, DefaultTotal), busy: map[string]bool{}}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("keep sealed contents: %w", err)
	}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if strings.HasSuffix(path, unfinished) {
			return os.Remove(path) // nobody was answered
		}
		info, err := d.Info()
		if err == nil {
			s.taken += info.Size()
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("keep sealed contents: %w", err)
	}
	return s, nil
}

// Check refuses what a gateway cannot say of a part of its own.
func Check(p *controlv1.SealedPart, gateway spiffeid.ID, now time.Time) error {
	created := p.GetCreated().AsTime()
	switch {
	case crossing.CheckID(p.GetCrossing()) != nil:
		return fmt.Errorf("%w: %q is no crossing's id", ErrInvalid, clip(p.GetCrossing()))
	case p.GetGateway() != gateway.String():
		return fmt.Errorf("%w: it is of %q, and comes from %s", ErrInvalid, clip(p.GetGateway()), gateway)
	case strings.Trim(gateway.TrustDomain().Name(), ".") == "":
		return fmt.Errorf("%w: no directory can have the name of its trust domain", ErrInvalid)
	case p.GetSide() != crossingv1.Side_EGRESS && p.GetSide() != crossingv1.Side_INGRESS:
		return fmt.Errorf("%w: it is of no side", ErrInvalid)
	case p.GetPart() != controlv1.SealedPart_REQUEST && p.GetPart() != controlv1.SealedPart_ANSWER:
		return fmt.Errorf("%w: it is neither a request nor an answer", ErrInvalid)
	case p.GetIntent() == "" || p.GetReviewer() == "" || max(len(p.GetIntent()), len(p.GetReviewer()), len(p.GetKey()), len(p.GetSha256())) > maxText:
		return fmt.Errorf("%w: it has no intent or no reviewer, or endless ones", ErrInvalid)
	case p.GetCreated().CheckValid() != nil || created.After(now.Add(skew)):
		return fmt.Errorf("%w: it is of a time that has not come", ErrInvalid)
	case p.GetRetentionDays() < 1 || p.GetRetentionDays() > kept.MaxDays:
		return fmt.Errorf("%w: it is kept for %d days, and 1 to %d are possible", ErrInvalid, p.GetRetentionDays(), kept.MaxDays)
	case p.GetBytes() < 1 || p.GetBytes() > maxPart:
		return fmt.Errorf("%w: it has %d bytes, and 1 to %d are possible", ErrInvalid, p.GetBytes(), int64(maxPart))
	}
	return nil
}

func clip(text string) string { return text[:min(len(text), maxText)] }

// Until is when a part's retention is over.
func Until(p *controlv1.SealedPart) time.Time {
	return p.GetCreated().AsTime().AddDate(0, 0, int(p.GetRetentionDays()))
}

// Put keeps a part that Check accepts. Next gives its bytes in pieces, and io.EOF behind
// them. A part that is there already, with the same bytes, is not read again, and one whose
// retention is over is not kept.
func (s *Store) Put(p *controlv1.SealedPart, next func() ([]byte, error), now time.Time) error {
	if !Until(p).After(now) {
		return nil
	}
	path := s.path(p)
	if there, err := readHead(path); err == nil {
		return same(there, p)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	size := fileSize(p)
	if err := s.enter(path, size); err != nil {
		return err
	}
	err := s.write(path, p, next)
	s.leave(path, size, err)
	return err
}

// same says that a part is the one that is there.
func same(there, p *controlv1.SealedPart) error {
	if there.GetSha256() != p.GetSha256() || there.GetBytes() != p.GetBytes() {
		return ErrOther
	}
	return nil
}

// enter takes room for a part, which nobody else may write meanwhile.
func (s *Store) enter(path string, size int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busy[path] {
		return fmt.Errorf("%w: it is being uploaded", ErrFull) // later there will be room, or it is there
	}
	if size > s.total-s.taken {
		return ErrFull
	}
	s.taken += size
	s.busy[path] = true
	return nil
}

func (s *Store) leave(path string, size int64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.busy, path)
	if err != nil {
		s.taken -= size
	}
}

// List are the parts of a crossing, or of all if it is empty, by time; of very many the
// last. What cannot be read is not among them, and is the error beside them.
func (s *Store) List(id string, most int, now time.Time) ([]*controlv1.SealedPart, error) {
	pattern := "*"
	if id != "" {
		if err := crossing.CheckID(id); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
		}
		pattern = id + ".*"
	}
	paths, err := filepath.Glob(filepath.Join(quote(s.dir), "*", "*", "*", pattern))
	slices.SortFunc(paths, func(a, b string) int { // crossings' ids rise with time
		return cmp.Or(strings.Compare(filepath.Base(b), filepath.Base(a)), strings.Compare(b, a))
	})
	var all []*controlv1.SealedPart
	for _, path := range paths {
		if len(all) == most {
			break
		}
		if strings.HasSuffix(path, unfinished) {
			continue
		}
		p, bad := readHead(path)
		switch {
		case errors.Is(bad, fs.ErrNotExist): // deleted meanwhile
		case bad != nil:
			err = errors.Join(err, bad)
		case Until(p).After(now):
			all = append(all, p)
		}
	}
	slices.Reverse(all)
	return all, err
}

// quote makes a path one that a pattern has as it is.
func quote(path string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(path)
}

// Give gives the bytes of a part that List had to each, in pieces, after it has seen that
// they are whole.
func (s *Store) Give(p *controlv1.SealedPart, each func([]byte) error) error {
	f, err := openPart(s.path(p))
	if errors.Is(err, fs.ErrNotExist) {
		return ErrNotFound
	}
	if err != nil {
		return err
	}
	defer f.Close()
	sum := sha256.New()
	n, err := io.Copy(sum, f)
	if err != nil {
		return err
	}
	if hex.EncodeToString(sum.Sum(nil)) != p.GetSha256() || uint64(n) != p.GetBytes() { //nolint:gosec // never negative
		return fmt.Errorf("%s: it is damaged", f.Name())
	}
	if _, err := f.Seek(-n, io.SeekCurrent); err != nil {
		return err
	}
	_, err = io.CopyBuffer(pieces(each), struct{ io.Reader }{f}, make([]byte, pieceBytes))
	return err
}

const pieceBytes = 256 << 10

// pieces gives what is written to a function.
type pieces func([]byte) error

// Write implements io.Writer.
func (p pieces) Write(b []byte) (int, error) { return len(b), p(b) }

// Expire deletes the parts of days that are over.
func (s *Store) Expire(now time.Time) error {
	days, err := filepath.Glob(filepath.Join(quote(s.dir), "*", "*", "????????"))
	today := now.UTC().Format(dayForm)
	for _, dir := range days {
		if filepath.Base(dir) < today {
			err = errors.Join(err, s.removeDay(dir))
		}
	}
	return err
}

func (s *Store) removeDay(dir string) error {
	files, err := os.ReadDir(dir)
	for _, f := range files {
		info, bad := f.Info()
		if bad == nil {
			bad = os.Remove(filepath.Join(dir, f.Name()))
		}
		if bad != nil {
			err = errors.Join(err, bad)
			continue
		}
		s.mu.Lock()
		s.taken -= info.Size()
		s.mu.Unlock()
	}
	return errors.Join(err, os.Remove(dir))
}
