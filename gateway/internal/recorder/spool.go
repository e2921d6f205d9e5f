package recorder

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
)

// ErrFull says that the spool holds as much as it may: crossings are refused
// until the control plane has taken some.
var ErrFull = errors.New("spool is full")

// ErrClosed says that the spool was closed.
var ErrClosed = errors.New("spool is closed")

const (
	// syncDelay is how long after its write an entry that nobody waits for is
	// synced.
	syncDelay = 10 * time.Millisecond
	// probeDelay is how long a spool that could not be written stays shut.
	probeDelay = time.Second
	// keptBuffer is how much of what was written at once is kept for the next time.
	keptBuffer = 64 << 10
)

// spool is an append-only queue on disk. One goroutine writes at a time: whoever
// finds nobody writing writes himself, and what gathers while the disk is busy
// shares the next write and the next fdatasync (group commit), which the first
// of those who wait does for all. A segment that could not be written is never
// written again, so that nothing whole ever stands behind something torn.
type spool struct {
	dir    string
	max    int64
	roll   int64 // a segment is closed once it is this large, in bytes
	log    *zap.Logger
	lock   *os.File
	create func(path string) (file, error)

	spare sync.Pool     // of *waiting
	grown chan struct{} // holds one signal: there is more to read
	later *time.Timer   // syncs what nobody waits for

	// Of the one whose turn it is, who may read the end, too, without mu.
	file     file // the last segment; nil after a failure
	unsynced bool
	buf      []byte     // of one write
	group    []*waiting // of the last one, whose room the next one takes

	mu       sync.Mutex // guards what follows
	busy     bool       // it is somebody's turn; pending is empty if not
	pending  []*waiting // gathered for the next turn
	closed   bool
	segments []segment // rising; the last may be the one that is written
	acked    position
	waits    int64     // bytes that are not acknowledged
	end      position  // after the last written entry
	broken   error     // why the last write failed
	retry    time.Time // when to try again
}

// segment is a file of the spool and the bytes of its whole entries; what the
// file has beyond them is no part of the spool.
type segment struct {
	number uint32
	size   int64
}

func (s segment) end() position { return at(s.number, s.size) }

// file is what the spool writes to.
type file interface {
	Write(p []byte) (int, error)
	Sync() error // puts the data on stable storage
	Truncate(size int64) error
	Close() error
}

// openSpool sets torn tails aside and calls each with every payload. Earlier
// segments stay as they are; writing goes on in a new one, of at most about
// size bytes, whose number is above every one that was acknowledged.
func openSpool(cfg *Config, lock *os.File, acked position, size int64, each func(payload []byte) error) (*spool, error) {
	s := &spool{
		dir: cfg.Dir, max: cfg.MaxBytes, roll: min(size, max(1, cfg.MaxBytes/4)), log: cfg.Log, lock: lock, create: createFile,
		grown: make(chan struct{}, 1), acked: acked,
	}
	s.later = time.AfterFunc(syncDelay, s.sync)
	s.later.Stop()
	if err := s.recover(each); err != nil {
		return nil, err
	}
	s.end = max(s.end, acked)
	s.count()
	if err := s.next(); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *spool) recover(each func(payload []byte) error) error {
	numbers, err := segments(s.dir)
	if err != nil {
		return err
	}
	for _, n := range numbers {
		path := segmentPath(s.dir, n)
		end, cut, err := scan(path, 0, func(payload []byte, _ int64) error { return each(payload) })
		if err != nil {
			return err
		}
		if cut {
			if err := s.setAside(path, end); err != nil {
				return err
			}
		}
		s.segments = append(s.segments, segment{n, end})
		s.end = at(n, end)
	}
	return nil
}

// setAside cuts off what is no whole entry, and keeps it beside, unless it is the
// zeros that entries would have taken the place of: a torn tail is what a crash
// leaves, anything else is for a person to look at.
func (s *spool) setAside(path string, end int64) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("recover spool: %w", err)
	}
	if len(bytes.Trim(text[end:], "\x00")) == 0 {
		return nil
	}
	s.log.Warn("torn tail set aside", zap.String("segment", path), zap.Int("bytes", len(text)-int(end)))
	if err := writeSynced(path+".torn", text[end:]); err != nil {
		return fmt.Errorf("recover spool: %w", err)
	}
	if err := os.Truncate(path, end); err != nil {
		return fmt.Errorf("recover spool: %w", err)
	}
	return nil
}

// next begins a new segment, after the last one is on stable storage.
func (s *spool) next() error {
	if s.file != nil {
		old := s.file
		s.file, s.unsynced = nil, false
		if err := errors.Join(old.Sync(), old.Close()); err != nil {
			return fmt.Errorf("end segment: %w", err)
		}
	}
	for n := s.end.segment() + 1; ; n++ {
		f, err := s.create(segmentPath(s.dir, n))
		if errors.Is(err, fs.ErrExist) {
			continue // left by a failure to make its name durable
		}
		if err != nil {
			return fmt.Errorf("begin segment: %w", err)
		}
		s.file = f
		s.mu.Lock()
		s.segments = append(s.segments, segment{number: n})
		s.end = at(n, 0)
		s.mu.Unlock()
		return nil
	}
}

// append returns when the entry is written and, if durable, synced. A limited one
// is refused with ErrFull when the spool is full.
func (s *spool) append(w *waiting, durable, limited bool) error {
	w.durable = durable
	s.mu.Lock()
	err := s.refuses(limited, len(w.entry))
	if err != nil {
		s.mu.Unlock()
		return err
	}
	if err := s.await(w); !errors.Is(err, errTurn) {
		return err
	}
	runtime.Gosched() // who is ready to run goes first, for its entry fits into the same write
	group := s.gather()
	err = s.put(group)
	for _, other := range group[1:] {
		other.err <- err
	}
	s.pass()
	return err
}

// sync puts on stable storage what nobody waited for.
func (s *spool) sync() {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return
	}
	s.turn()
	if s.unsynced {
		s.unsynced = false
		if err := s.file.Sync(); err != nil {
			s.fail(fmt.Errorf("sync spool: %w", err), s.end.offset()) //nolint:errcheck // whom it concerns has gone; the log has it
		}
	}
	s.pass()
}

func (s *spool) refuses(limited bool, n int) error {
	switch {
	case s.closed:
		return ErrClosed
	case limited && s.waits+int64(n) > s.max:
		return fmt.Errorf("%d bytes wait, the most is %d: %w", s.waits, s.max, ErrFull)
	case s.broken != nil && time.Now().Before(s.retry):
		return fmt.Errorf("spool could not be written: %w", s.broken)
	}
	return nil
}

// put puts a group on disk.
func (s *spool) put(group []*waiting) error {
	if s.file == nil || s.end.offset() >= s.roll {
		if err := s.next(); err != nil {
			return s.fail(err, 0)
		}
	}
	text, durable := s.join(group)
	_, err := s.file.Write(text)
	if err == nil && durable {
		err = s.file.Sync()
	}
	if err != nil {
		return s.fail(fmt.Errorf("write spool: %w", err), s.end.offset())
	}
	s.wrote(len(text), durable)
	return nil
}

// join is the entries of a group, and whether anybody waits for a sync.
func (s *spool) join(group []*waiting) (text []byte, durable bool) {
	if len(group) == 1 {
		return group[0].entry, group[0].durable
	}
	text = s.buf[:0]
	for _, w := range group {
		text = append(text, w.entry...)
		durable = durable || w.durable
	}
	if cap(text) <= keptBuffer {
		s.buf = text
	}
	return text, durable
}

func (s *spool) wrote(n int, durable bool) {
	switch {
	case durable:
		s.unsynced = false
	case !s.unsynced:
		s.unsynced = true
		s.later.Reset(syncDelay)
	}
	s.mu.Lock()
	if s.broken != nil {
		s.log.Info("spool is written again")
	}
	s.broken = nil
	s.segments[len(s.segments)-1].size += int64(n)
	s.waits += int64(n)
	s.end += position(n)
	s.mu.Unlock()
	select {
	case s.grown <- struct{}{}:
	default: // who reads has not looked since
	}
}

// fail shuts the spool for a while and gives the segment up: after a failed
// write or sync nobody knows what of it is on the disk.
func (s *spool) fail(err error, size int64) error {
	gone := false
	if s.file != nil {
		// If this fails too, recovery finds the torn entry at the end.
		err = errors.Join(err, s.file.Truncate(size), s.file.Close())
		s.file, s.unsynced = nil, false
		// Or each try on a bad disk would leave a file.
		gone = size == 0 && os.Remove(segmentPath(s.dir, s.end.segment())) == nil
	}
	s.log.Error("spool not written", zap.Error(err))
	s.mu.Lock()
	defer s.mu.Unlock()
	if gone {
		s.segments = s.segments[:len(s.segments)-1]
	}
	s.broken, s.retry = err, time.Now().Add(probeDelay)
	return err
}

// locate finds the first entry at a position or after it: its position and the
// end of its segment. It says false if there is none yet.
func (s *spool) locate(from position) (start, end position, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, seg := range s.segments {
		if start = max(from, at(seg.number, 0)); start < seg.end() {
			return start, seg.end(), true
		}
	}
	return from, from, false
}

// acknowledge notes that everything before a position was delivered for good.
func (s *spool) acknowledge(to position) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.acked = max(s.acked, to)
	s.count()
}

// count counts what waits. s.mu is held.
func (s *spool) count() {
	s.waits = 0
	for _, seg := range s.segments {
		if from := max(s.acked, at(seg.number, 0)); from < seg.end() {
			s.waits += int64(seg.end() - from)
		}
	}
}

// waiting is the bytes that are not acknowledged.
func (s *spool) waiting() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return uint64(s.waits)
}

// trim deletes the segments before the one that was acknowledged up to.
func (s *spool) trim() error {
	for {
		oldest, ok := s.acknowledged()
		if !ok {
			return nil
		}
		if err := os.Remove(segmentPath(s.dir, oldest)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("trim spool: %w", err)
		}
		s.forget(oldest)
	}
}

// acknowledged is the oldest segment if nobody needs it any more.
func (s *spool) acknowledged() (number uint32, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.segments) == 0 || s.segments[0].number >= s.acked.segment() {
		return 0, false
	}
	return s.segments[0].number, true
}

// lose forgets a segment that somebody removed before it was delivered.
func (s *spool) lose(number uint32) {
	s.log.Error("segment is gone before it was delivered", zap.String("segment", segmentPath(s.dir, number)))
	s.forget(number)
}

func (s *spool) forget(number uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.segments = slices.DeleteFunc(s.segments, func(seg segment) bool { return seg.number == number })
	s.count()
}

// close waits until what has gathered is written, and closes the files. A second
// call does nothing.
func (s *spool) close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.turn() // the last one
	s.later.Stop()
	var err error
	if s.file != nil {
		err = errors.Join(s.file.Sync(), s.file.Close())
	}
	return errors.Join(err, s.lock.Close())
}
