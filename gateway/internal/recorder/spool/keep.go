package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"go.uber.org/zap"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/internal/recorder/disk"
)

// End is the position after the last entry that is written.
func (s *Spool) End() Position {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.end
}

// Grown holds a signal when there is more that Locate finds.
func (s *Spool) Grown() <-chan struct{} { return s.grown }

// Locate finds the first entry at a position or after it: its position and the
// end of what may be read of its segment. It says false if there is none yet. What is
// not synced is not there to be read: a power cut may take it, and nobody should have
// what its writer does not know of.
func (s *Spool) Locate(from Position) (start, end Position, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, seg := range s.segments {
		start, end = max(from, At(seg.number, 0)), min(seg.end(), s.synced)
		if start < end {
			return start, end, true
		}
	}
	return from, from, false
}

// OpenSegment opens a segment for reading. If it is gone, nobody will be told to read
// it again, and the error is fs.ErrNotExist.
func (s *Spool) OpenSegment(n uint32) (disk.File, error) {
	f, err := s.sys.Open(Path(s.cfg.Dir, n), os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		s.cfg.Log.Error("segment is gone before it was delivered", zap.String("segment", Path(s.cfg.Dir, n)))
		s.forget(n)
	}
	return f, err
}

// Acknowledged is the position before which everything was delivered for good, and a
// channel that is closed when it has moved or Release was called.
func (s *Spool) Acknowledged() (Position, <-chan struct{}) { return s.acked.watch() }

// Acknowledge notes that everything before a position was delivered for good.
func (s *Spool) Acknowledge(to Position) error {
	s.mu.Lock()
	s.acked.mu.Lock()
	at := max(s.acked.at, to)
	s.acked.mu.Unlock()
	s.countFrom(at) // first: who waits for the move looks at what is left
	s.mu.Unlock()
	return s.acked.move(to)
}

// count counts what waits. The caller holds mu.
func (s *Spool) count() {
	at, _ := s.acked.watch()
	s.countFrom(at)
}

func (s *Spool) countFrom(acked Position) {
	s.waits, s.kept = 0, 0
	for _, seg := range s.segments {
		from := min(max(acked, At(seg.number, 0)), seg.end())
		s.waits += int64(seg.end() - from)
		if seg.held > 0 {
			s.kept += from.Offset()
		}
	}
}

// Waiting is the bytes that are not acknowledged.
func (s *Spool) Waiting() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return uint64(s.waits)
}

// measure sees how much the disk has left. That it cannot tell says nothing.
func (s *Spool) measure() {
	free, _, err := s.sys.Room(s.cfg.Dir)
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	least := s.least
	if s.lean {
		least += least / 4 // or it would come and go with each entry
	}
	s.lean = free < least
}

// Roomy says that the spool is not about to be full again.
func (s *Spool) Roomy() bool {
	s.measure()
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.lean && s.max-s.waits-s.kept > min(crossing.MaxFrame, s.max/4)
}

// Held is how many entries are held.
func (s *Spool) Held() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, seg := range s.segments {
		n += seg.held
	}
	return n
}

// Hold holds n entries of a segment that was there when the spool was opened.
func (s *Spool) Hold(number uint32, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if seg := s.find(number); seg != nil {
		seg.held += n
	}
	s.count()
}

// Release lets go of entries that were held. It says whether there is something to
// trim now.
func (s *Spool) Release(at ...Position) bool {
	s.mu.Lock()
	for _, p := range at {
		if seg := s.find(p.Segment()); seg != nil && seg.held > 0 {
			seg.held--
		}
	}
	s.count()
	s.mu.Unlock()
	s.acked.wake()
	return len(s.spent()) > 0
}

// find is the segment of that number; nil if there is none. The caller holds mu.
func (s *Spool) find(number uint32) *segment {
	i, ok := slices.BinarySearchFunc(s.segments, number, func(seg segment, n uint32) int { return int(int64(seg.number) - int64(n)) })
	if !ok {
		return nil
	}
	return &s.segments[i]
}

// spent are the segments that nobody needs: everything in them was delivered, and
// nothing is held.
func (s *Spool) spent() []uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	acked, _ := s.acked.watch()
	var numbers []uint32
	for _, seg := range s.segments {
		if seg.number < acked.Segment() && seg.held == 0 {
			numbers = append(numbers, seg.number)
		}
	}
	return numbers
}

// Trim removes the segments that nobody needs, after save has kept what they say: it
// is told the highest number. Only one may trim at a time.
func (s *Spool) Trim(save func(highest uint32) error) error {
	spent := s.spent()
	if len(spent) == 0 {
		return nil
	}
	if err := save(spent[len(spent)-1]); err != nil {
		return err
	}
	for _, n := range spent {
		if err := s.sys.Remove(Path(s.cfg.Dir, n)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("trim spool: %w", err)
		}
		s.forget(n)
	}
	s.measure()
	return nil
}

func (s *Spool) forget(number uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.segments = slices.DeleteFunc(s.segments, func(seg segment) bool { return seg.number == number })
	s.count()
}
