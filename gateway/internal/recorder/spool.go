package recorder

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
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
	// maxGroup bounds the bytes of one write.
	maxGroup = 1 << 20
)

// spool is an append-only queue on disk. One goroutine writes: what gathers
// while the disk is busy shares the next write and the next fdatasync (group
// commit). A segment that could not be written is never written again, so that
// nothing whole ever stands behind something torn.
type spool struct {
	dir    string
	max    int64
	roll   int64 // a segment is closed once it is this large, in bytes
	log    *zap.Logger
	lock   *os.File
	create func(path string) (file, error)
	done   chan struct{} // closed when the writer has ended

	// The writer's own.
	file     file // the last segment; nil after a failure
	unsynced bool

	mu      sync.Mutex // guards what follows
	wake    *sync.Cond // there is something for the writer to do
	pending []*waiting // gathered for the next write
	syncDue bool       // what nobody waits for must be synced now
	rollDue bool       // the last segment is to be ended, so that it can go
	closed  bool
	total   int64         // bytes in all segments
	end     position      // after the last written entry
	grown   chan struct{} // closed and replaced when end moves
	broken  error         // why the last write failed
	retry   time.Time     // when to try again
}

// file is what the spool writes to.
type file interface {
	Write(p []byte) (int, error)
	Sync() error // puts the data on stable storage
	Truncate(size int64) error
	Close() error
}

// waiting is a writer that waits for its entry.
type waiting struct {
	entry   []byte
	durable bool
	err     chan error
}

// openSpool sets torn tails aside and calls each with every payload. Earlier
// segments stay as they are; writing goes on in a new one, of at most about
// size bytes, whose number is above every one that was acknowledged.
func openSpool(cfg *Config, lock *os.File, acked position, size int64, each func(payload []byte) error) (*spool, error) {
	s := &spool{
		dir: cfg.Dir, max: cfg.MaxBytes, roll: min(size, max(1, cfg.MaxBytes/4)), log: cfg.Log, lock: lock, create: createFile,
		done: make(chan struct{}), grown: make(chan struct{}),
	}
	s.wake = sync.NewCond(&s.mu)
	err := s.recover(each)
	if err == nil {
		s.end = max(s.end, acked)
		err = s.next()
	}
	if err != nil {
		return nil, err
	}
	go s.write()
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
		s.total += end
		s.end = at(n, end)
	}
	return nil
}

// setAside cuts off what is no whole entry, and keeps it beside: a torn tail
// is what a crash leaves, anything else is for a person to look at.
func (s *spool) setAside(path string, end int64) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("recover spool: %w", err)
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
		s.file = nil
		if err := errors.Join(old.Sync(), old.Close()); err != nil {
			return fmt.Errorf("end segment: %w", err)
		}
	}
	s.unsynced = false
	for n := s.last().segment() + 1; ; n++ {
		f, err := s.create(segmentPath(s.dir, n))
		if errors.Is(err, fs.ErrExist) {
			continue // left by a failure to make its name durable
		}
		if err != nil {
			return fmt.Errorf("begin segment: %w", err)
		}
		s.file = f
		s.mu.Lock()
		s.end = at(n, 0)
		s.mu.Unlock()
		return nil
	}
}

func (s *spool) last() position {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.end
}

// append returns when the payload is written and, if durable, synced. A
// limited one is refused with ErrFull when the spool is full.
func (s *spool) append(payload []byte, durable, limited bool) error {
	w := &waiting{
		entry:   appendEntry(make([]byte, 0, entryHeader+len(payload)), payload),
		durable: durable, err: make(chan error, 1),
	}
	s.mu.Lock()
	if err := s.refuses(limited, len(w.entry)); err != nil {
		s.mu.Unlock()
		return err
	}
	s.pending = append(s.pending, w)
	s.wake.Signal()
	s.mu.Unlock()
	return <-w.err
}

func (s *spool) refuses(limited bool, n int) error {
	switch {
	case s.closed:
		return ErrClosed
	case limited && s.total+int64(n) > s.max:
		return fmt.Errorf("%d bytes wait, the most is %d: %w", s.total, s.max, ErrFull)
	case s.broken != nil && time.Now().Before(s.retry):
		return fmt.Errorf("spool could not be written: %w", s.broken)
	}
	return nil
}

// write is the writer: it writes groups until the spool is closed and nothing
// is left.
func (s *spool) write() {
	defer close(s.done)
	for {
		group, sync, roll, ok := s.gather()
		if !ok {
			return
		}
		if roll && s.file != nil {
			if err := s.next(); err != nil {
				s.fail(err, 0) //nolint:errcheck // whoever writes next is told
			}
		}
		if len(group) > 0 {
			s.commit(group)
		}
		if sync && s.unsynced {
			s.unsynced = false
			if err := s.file.Sync(); err != nil {
				s.fail(fmt.Errorf("sync spool: %w", err), s.last().offset()) //nolint:errcheck // whom it concerns has gone; the log has it
			}
		}
	}
}

// gather waits for something to do.
func (s *spool) gather() (group []*waiting, sync, roll, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.pending) == 0 && !s.syncDue && !s.rollDue {
		if s.closed {
			return nil, false, false, false
		}
		s.wake.Wait()
	}
	n, size := 0, 0
	for n < len(s.pending) && size < maxGroup {
		size += len(s.pending[n].entry)
		n++
	}
	group, s.pending = s.pending[:n:n], s.pending[n:]
	sync, s.syncDue = s.syncDue, false
	roll, s.rollDue = s.rollDue, false
	return group, sync, roll, true
}

// commit puts a group on disk, and tells its writers.
func (s *spool) commit(group []*waiting) {
	err := s.put(group)
	for _, w := range group {
		w.err <- err
	}
}

func (s *spool) put(group []*waiting) error {
	at := s.last()
	if s.file == nil || at.offset() >= s.roll {
		if err := s.next(); err != nil {
			return s.fail(err, 0)
		}
		at = s.last()
	}
	var buf []byte
	durable := false
	for _, w := range group {
		buf = append(buf, w.entry...)
		durable = durable || w.durable
	}
	_, err := s.file.Write(buf)
	if err == nil && durable {
		err = s.file.Sync()
	}
	if err != nil {
		return s.fail(fmt.Errorf("write spool: %w", err), at.offset())
	}
	s.wrote(len(buf), durable)
	return nil
}

func (s *spool) wrote(n int, durable bool) {
	switch {
	case durable:
		s.unsynced = false
	case !s.unsynced:
		s.unsynced = true
		time.AfterFunc(syncDelay, s.dueSync)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total += int64(n)
	s.end += position(n)
	s.broken = nil
	close(s.grown)
	s.grown = make(chan struct{})
}

func (s *spool) dueSync() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.syncDue = true
	s.wake.Signal()
}

// fail shuts the spool for a while and gives the segment up: after a failed
// write or sync nobody knows what of it is on the disk.
func (s *spool) fail(err error, size int64) error {
	if s.file != nil {
		// If this fails too, recovery finds the torn entry at the end.
		err = errors.Join(err, s.file.Truncate(size), s.file.Close())
		s.file, s.unsynced = nil, false
	}
	s.log.Error("spool not written", zap.Error(err))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken, s.retry = err, time.Now().Add(probeDelay)
	return err
}

// written is the position after the last entry, and a channel that is closed
// when it moves.
func (s *spool) written() (position, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.end, s.grown
}

// endSegment has the last segment ended if it is large and all of it was
// acknowledged, so that its space can be given back.
func (s *spool) endSegment(acked position) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if acked == s.end && acked.offset() >= s.roll/4 {
		s.rollDue = true
		s.wake.Signal()
	}
}

// trim deletes segments that end before a position.
func (s *spool) trim(to position) error {
	numbers, err := segments(s.dir)
	if err != nil {
		return err
	}
	for _, n := range numbers {
		if n >= to.segment() {
			return nil
		}
		path := segmentPath(s.dir, n)
		info, err := os.Stat(path)
		if err != nil {
			return fmt.Errorf("trim spool: %w", err)
		}
		if err := os.Remove(path); err != nil {
			return fmt.Errorf("trim spool: %w", err)
		}
		s.mu.Lock()
		s.total -= info.Size()
		s.mu.Unlock()
	}
	return nil
}

// waits is the bytes after a position that was acknowledged: before it, all
// that is still there is the beginning of its own segment.
func (s *spool) waits(acked position) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return uint64(max(0, s.total-acked.offset()))
}

// close writes what has gathered and closes the files. A second call does
// nothing.
func (s *spool) close() error {
	s.mu.Lock()
	closed := s.closed
	s.closed = true
	s.wake.Signal()
	s.mu.Unlock()
	<-s.done
	if closed {
		return nil
	}
	var err error
	if s.file != nil {
		err = errors.Join(s.file.Sync(), s.file.Close())
	}
	return errors.Join(err, s.lock.Close())
}
