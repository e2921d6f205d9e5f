// Package spool is an append-only queue on disk, of entries that are delivered and
// then removed.
//
// It is a directory of segments, each a file of entries: length (u32), CRC-32C of the
// payload (u32), payload, little-endian. A position is a segment's number and an
// offset in it, in one number, so that positions rise. Zeros behind the last entry of
// a segment are room for further ones.
//
// One goroutine writes at a time. What gathers while the disk is busy shares the next
// write and the next fdatasync (group commit). A segment that could not be written is
// never written again, so that nothing whole ever stands behind something torn.
package spool

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/sallyport-mesh/sallyport/gateway/internal/recorder/disk"
)

var (
	// ErrFull says that the spool holds as much as it may.
	ErrFull = errors.New("spool is full")
	// ErrClosed says that the spool was closed.
	ErrClosed = errors.New("spool is closed")
	// ErrStalled says that the disk did not answer in time. What was to be written may
	// be written or not; it will not stay.
	ErrStalled = errors.New("the disk does not answer")
)

const (
	// syncDelay is how long after its write an entry that nobody waits for is
	// synced.
	syncDelay = 10 * time.Millisecond
	// ProbeDelay is how long a spool that could not be written stays shut.
	ProbeDelay = time.Second
	// Patience is how long the disk may take for one write or sync unless told.
	Patience = 5 * time.Second
	// leastLeft is how much of its disk, in bytes, a spool leaves to what is not limited,
	// or an eighth of a small disk: to remove what was delivered takes some, too.
	leastLeft = 16 << 20
	// keptBuffer is how much of what was written at once is kept for the next time.
	keptBuffer = 64 << 10
)

// Config is what a spool is made of.
type Config struct {
	// System is the file system; the machine's own if nil.
	System disk.System
	// Dir holds the spool.
	Dir string
	// Lock is the directory's, which Close lets go of.
	Lock io.Closer
	// MaxBytes is the most that may wait.
	MaxBytes int64
	// SegmentBytes is how large a segment becomes.
	SegmentBytes int64
	// Patience is how long the disk may take for one write or sync; a constant of that
	// name if zero.
	Patience time.Duration
	// Log must be there.
	Log *zap.Logger
}

// Spool is open for writing. All methods may be called concurrently.
type Spool struct {
	cfg   Config
	sys   disk.System
	roll  int64 // a segment is closed once it is this large, in bytes
	least int64 // of the disk, in bytes, is left to what makes room
	acked *acknowledged

	writes func()        // lead, as a value, so that it takes no memory to start it
	spare  sync.Pool     // of *Entry
	grown  chan struct{} // holds one signal: there is more to read
	later  *time.Timer   // syncs what nobody waits for
	guard  *time.Timer   // looks whether the disk answers

	// Of the one whose turn it is, who may read the end, too, without mu.
	file     *appended // the last segment; nil after a failure
	unsynced bool
	buf      []byte // of one write

	mu       sync.Mutex // guards what follows
	max      int64
	busy     bool      // it is somebody's turn; pending is empty if not
	group    []*Entry  // that are being written; its room is used again
	pending  []*Entry  // gathered for the next turn
	began    time.Time // when the disk was given something to do; zero if it has done it
	guarded  bool      // guard will look
	stalled  bool      // it does not answer, and nobody waits any more
	closed   bool
	lean     bool      // the disk has little more than the least
	segments []segment // rising; the last may be the one that is written
	waits    int64     // bytes that are not acknowledged
	kept     int64     // bytes that are, and whose segments are held
	end      Position  // after the last written entry
	synced   Position  // after the last entry on stable storage, which may be read
	broken   error     // why the last write failed
	retry    time.Time // when to try again
}

// segment is a file of the spool and the bytes of its whole entries; what the
// file has beyond them is no part of the spool.
type segment struct {
	number uint32
	held   int // entries that somebody may read again
	size   int64
}

func (s segment) end() Position { return At(s.number, s.size) }

// Open sets torn tails aside and calls each with every payload and where its entry
// is. Earlier segments stay as they are; writing goes on in a new one, whose number is
// above every one that was acknowledged. If it fails, the lock is the caller's still.
func Open(cfg Config, each func(payload []byte, at Position) error) (*Spool, error) {
	if cfg.System == nil {
		cfg.System = disk.OS{}
	}
	if cfg.Patience == 0 {
		cfg.Patience = Patience
	}
	_, size, err := cfg.System.Room(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("look for room: %w", err)
	}
	s := &Spool{
		cfg: cfg, sys: cfg.System, max: cfg.MaxBytes, roll: max(1, min(cfg.SegmentBytes, cfg.MaxBytes/4, size/16)),
		least: min(leastLeft, size/8), grown: make(chan struct{}, 1),
	}
	s.writes = s.lead
	s.later, s.guard = idle(s.sync), idle(s.look)
	if s.acked, err = openAcknowledged(s.sys, cfg.Dir, cfg.Log); err != nil {
		return nil, err
	}
	if err := s.begin(each); err != nil {
		return nil, errors.Join(err, s.acked.close())
	}
	return s, nil
}

// idle is a timer that calls f once it is set.
func idle(f func()) *time.Timer {
	t := time.AfterFunc(time.Hour, f)
	t.Stop()
	return t
}

func (s *Spool) begin(each func(payload []byte, at Position) error) error {
	if err := s.recover(each); err != nil {
		return err
	}
	s.end = max(s.end, s.acked.at)
	s.count()
	return s.next()
}

func (s *Spool) recover(each func(payload []byte, at Position) error) error {
	numbers, err := Segments(s.sys, s.cfg.Dir)
	if err != nil {
		return err
	}
	for _, n := range numbers {
		path, from := Path(s.cfg.Dir, n), int64(0)
		end, cut, err := Scan(s.sys, path, func(payload []byte, end int64) error {
			at := At(n, from)
			from = end
			return each(payload, at)
		})
		if err != nil {
			return err
		}
		if cut {
			if err := s.setAside(path, end); err != nil {
				return fmt.Errorf("recover spool: %w", err)
			}
		}
		s.segments = append(s.segments, segment{number: n, size: end})
		s.end = At(n, end)
	}
	return s.settle()
}

// settle puts the last segment on stable storage: who wrote it may have been killed
// before it was synced.
func (s *Spool) settle() error {
	if len(s.segments) == 0 {
		return nil
	}
	f, err := s.sys.Open(Path(s.cfg.Dir, s.end.Segment()), os.O_RDWR)
	if err == nil {
		err = errors.Join(f.Sync(), f.Close())
	}
	if err != nil {
		return fmt.Errorf("recover spool: %w", err)
	}
	return nil
}

// setAside cuts off what is no whole entry, and keeps it beside, unless it is the
// zeros that entries would have taken the place of: a torn tail is what a crash
// leaves, anything else is for a person to look at.
func (s *Spool) setAside(path string, end int64) error {
	text, err := disk.ReadFile(s.sys, path)
	if err != nil {
		return err
	}
	if len(bytes.Trim(text[end:], "\x00")) == 0 {
		return nil
	}
	s.cfg.Log.Warn("torn tail set aside", zap.String("segment", path), zap.Int("bytes", len(text)-int(end)))
	if err := disk.Replace(s.sys, path+TornSuffix, text[end:]); err != nil {
		return err
	}
	f, err := s.sys.Open(path, os.O_RDWR)
	if err != nil {
		return err
	}
	return errors.Join(f.Truncate(end), f.Close())
}

// next begins a new segment, after the last one is on stable storage.
func (s *Spool) next() error {
	if s.file != nil {
		old := s.file
		s.file, s.unsynced = nil, false
		if err := errors.Join(old.Sync(), old.close()); err != nil {
			return fmt.Errorf("end segment: %w", err)
		}
	}
	for n := s.end.Segment() + 1; ; n++ {
		f, err := create(s.sys, Path(s.cfg.Dir, n), s.roll)
		if errors.Is(err, fs.ErrExist) {
			continue // left by a failure to make its name durable
		}
		if err != nil {
			return fmt.Errorf("begin segment: %w", err)
		}
		s.file = f
		s.mu.Lock()
		s.segments = append(s.segments, segment{number: n})
		s.end = At(n, 0)
		s.synced = s.end
		s.mu.Unlock()
		s.grow()
		return nil
	}
}

// grow tells who reads that there is more.
func (s *Spool) grow() {
	select {
	case s.grown <- struct{}{}:
	default: // who reads has not looked since
	}
}

// Dir is the spool's directory.
func (s *Spool) Dir() string { return s.cfg.Dir }

// Bound changes the most that may wait.
func (s *Spool) Bound(most int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.max = most
}

// Trouble is why the spool cannot be written; nil if it can, as far as is known.
func (s *Spool) Trouble() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stalled {
		return ErrStalled
	}
	return s.broken
}

// Close waits until what has gathered is written, and closes the files; where the disk
// does not answer, only so long. A second call does nothing.
func (s *Spool) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	if err := s.turn(); err != nil {
		return fmt.Errorf("close spool: %w", err)
	}
	s.later.Stop()
	ended := make(chan error, 1)
	go func() { ended <- s.finish() }()
	patience := time.NewTimer(s.cfg.Patience)
	defer patience.Stop()
	select {
	case err := <-ended:
		return err
	case <-patience.C:
		return fmt.Errorf("close spool: %w", ErrStalled)
	}
}

// finish closes what is open. It is the last turn.
func (s *Spool) finish() error {
	var err error
	if s.file != nil {
		err = errors.Join(s.file.Sync(), s.file.close())
	}
	s.guard.Stop()
	return errors.Join(err, s.acked.close(), s.cfg.Lock.Close())
}
