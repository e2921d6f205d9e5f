package translog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/sallyport-mesh/sallyport/certs/durable"
	logv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/log/v1"
)

// Set is the logs of several environments, each in a directory of its own that has the
// name of its trust domain. One that fails does not keep the others from going on. It is
// safe for concurrent use.
type Set struct {
	dir       string
	readOnly  bool
	witnesses []Witness
	archive   Archive // nil if none is kept
	log       *zap.Logger

	mu      sync.Mutex // guards what follows
	open    map[string]*Log
	failed  map[string]failure
	opening map[string]*sync.Mutex // each held while that log is being opened
	closed  bool
}

// failure is why a log does not open, and until when it is not tried again.
type failure struct {
	err   error
	until time.Time
}

// restFactor is how many times longer a log that does not open is left alone than it took to
// find out: all of its tree may have been read.
const restFactor = 10

// SetConfig is what a set of logs is made of.
type SetConfig struct {
	// Dir is the directory of all of them, which is made if there is none.
	Dir string
	// Witnesses are asked to cosign each of them, and say of which they do.
	Witnesses []Witness
	// Archive keeps the entries of all of them a second time; none is kept if nil.
	Archive Archive
	// Log takes the log of the program; nil for none.
	Log *zap.Logger
}

// ErrReadOnly is of a set that was opened to be read.
var ErrReadOnly = errors.New("the logs are open for reading only")

// OpenSet opens the logs in a directory. A log that cannot be opened is told of by Failed,
// and each time that it is added to.
func OpenSet(ctx context.Context, cfg SetConfig) (*Set, error) {
	if cfg.Log == nil {
		cfg.Log = zap.NewNop()
	}
	s := &Set{
		dir: cfg.Dir, witnesses: cfg.Witnesses, archive: cfg.Archive, log: cfg.Log,
		open: map[string]*Log{}, failed: map[string]failure{}, opening: map[string]*sync.Mutex{},
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, err
	}
	if err := s.writeWitnesses(); err != nil {
		return nil, err
	}
	names, err := s.names()
	var opening sync.WaitGroup
	for _, td := range names {
		opening.Go(func() {
			if _, openErr := s.of(ctx, td); openErr != nil {
				s.log.Error("log not opened", zap.String("trust_domain", td), zap.Error(openErr))
			}
		})
	}
	opening.Wait()
	return s, err
}

// ReadSet reads the logs in a directory.
func ReadSet(dir string) *Set {
	s := &Set{dir: dir, readOnly: true}
	s.readWitnesses()
	return s
}

// witnessesName is the file that says which witnesses were asked last, for those who read.
const witnessesName = "witnesses.json"

func (s *Set) writeWitnesses() error {
	text, err := json.Marshal(s.witnesses)
	if err != nil {
		return err
	}
	return durable.Replace(filepath.Join(s.dir, witnessesName), append(text, '\n'), 0o600)
}

// readWitnesses reads that. Where it is not to be had, proofs have signatures that a keys
// file does not know, and who verifies them says so.
func (s *Set) readWitnesses() {
	if text, err := os.ReadFile(filepath.Join(s.dir, witnessesName)); err == nil {
		_ = json.Unmarshal(text, &s.witnesses)
	}
}

// names are the trust domains that have a log.
func (s *Set) names() (names []string, err error) {
	entries, err := os.ReadDir(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, err
}

// of is the log of a trust domain, which is opened if it is not. While one is, the others
// go on.
func (s *Set) of(ctx context.Context, td string) (*Log, error) {
	if s.readOnly {
		return nil, ErrReadOnly
	}
	opening, l := s.take(td)
	if l != nil {
		return l, nil
	}
	opening.Lock()
	defer opening.Unlock()
	if _, l := s.take(td); l != nil {
		return l, nil
	}
	s.mu.Lock()
	failed, closed := s.failed[td], s.closed
	s.mu.Unlock()
	if closed {
		return nil, errClosed
	}
	began := time.Now()
	if failed.err != nil && began.Before(failed.until) {
		return nil, failed.err
	}
	asked := slices.DeleteFunc(slices.Clone(s.witnesses), func(w Witness) bool { return !w.asksFor(td) })
	l, err := Open(ctx, Config{Dir: filepath.Join(s.dir, td), Origin: OriginOf(td), Witnesses: asked, Archive: s.archive, Log: s.log})
	return s.opened(td, l, err, began)
}

// take gives the log of a trust domain if it is open, and what is held to open it.
func (s *Set) take(td string) (*sync.Mutex, *Log) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.opening[td] == nil {
		s.opening[td] = new(sync.Mutex)
	}
	return s.opening[td], s.open[td]
}

// opened takes note of how opening a log has ended.
func (s *Set) opened(td string, l *Log, err error, began time.Time) (*Log, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil && s.closed {
		err = errors.Join(errClosed, l.Close())
	}
	if err != nil {
		now := time.Now()
		s.failed[td] = failure{err, now.Add(restFactor * now.Sub(began))}
		return nil, err
	}
	delete(s.failed, td)
	s.open[td] = l
	return l, nil
}

// OriginOf is the origin of the log of a trust domain.
func OriginOf(td string) string { return td + "/sallyport/log" }

// Add appends entries to the log of a trust domain, as Log.Add does.
func (s *Set) Add(ctx context.Context, td string, entries ...*logv1.Entry) error {
	if err := checkName(td); err != nil {
		return err
	}
	l, err := s.of(ctx, td)
	if err != nil {
		return err
	}
	return l.Add(ctx, entries...)
}

// checkName: a trust domain is the name of a directory below the set's.
func checkName(td string) error {
	if td == "" || strings.ContainsAny(td, "/\\") || strings.HasPrefix(td, ".") {
		return fmt.Errorf("%q is no trust domain", td)
	}
	return nil
}

// Reader is the log of a trust domain. The error is fs.ErrNotExist if there is none.
func (s *Set) Reader(td string) (*Reader, error) {
	if err := checkName(td); err != nil {
		return nil, err
	}
	return OpenReader(filepath.Join(s.dir, td))
}

// Readers are the logs, by trust domain. One that cannot be read is not among them.
func (s *Set) Readers() map[string]*Reader {
	names, err := s.names()
	if err != nil {
		return nil
	}
	all := map[string]*Reader{}
	for _, td := range names {
		if r, err := s.Reader(td); err == nil {
			all[td] = r
		}
	}
	return all
}

// Witnesses are those that are asked.
func (s *Set) Witnesses() []Witness { return s.witnesses }

// Cosigned is how far each witness has come with the log of a trust domain.
func (s *Set) Cosigned(td string) []Cosigned {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.open[td]; l != nil {
		return l.Cosigned()
	}
	return nil
}

// Failed are the logs that take nothing more, and why, by trust domain.
func (s *Set) Failed() map[string]error {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[string]error{}
	for td, f := range s.failed {
		all[td] = f.err
	}
	for td, l := range s.open {
		if err := l.Failed(); err != nil {
			all[td] = err
		}
	}
	return all
}

// Close closes all of them, as Log.Close does.
func (s *Set) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var closing sync.WaitGroup
	errs := make([]error, len(s.open))
	for i, td := range slices.Sorted(maps.Keys(s.open)) {
		closing.Go(func() { errs[i] = s.open[td].Close() })
	}
	closing.Wait()
	s.open, s.closed = nil, true
	return errors.Join(errs...)
}
