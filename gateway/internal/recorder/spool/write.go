package spool

import (
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
)

// put puts a group on disk. If told, those who wait for it know that it failed: the
// disk took too long.
func (s *Spool) put(group []*Entry) (told bool, err error) {
	if s.file == nil || s.end.Offset() >= s.roll {
		if err := s.next(); err != nil {
			return s.fail(err, 0)
		}
	}
	text, sum := s.join(group)
	room := s.file.room
	err = s.file.write(text)
	if s.file.room != room {
		s.measure()
	}
	if err == nil && sum.durable {
		err = s.file.Sync()
	}
	if err != nil {
		return s.fail(fmt.Errorf("write spool: %w", err), s.end.Offset())
	}
	if !s.wrote(len(text), sum) {
		return s.fail(ErrStalled, s.end.Offset())
	}
	return false, nil
}

// sum is what a group is in all.
type sum struct {
	durable bool // somebody waits for a sync
	held    int
}

// join is the entries of a group, who learn where they are.
func (s *Spool) join(group []*Entry) (text []byte, of sum) {
	if len(group) == 1 {
		of.add(group[0], s.end)
		return group[0].text, of
	}
	text = s.buf[:0]
	for _, e := range group {
		of.add(e, s.end+Position(len(text)))
		text = append(text, e.text...)
	}
	if cap(text) <= keptBuffer {
		s.buf = text
	}
	return text, of
}

func (s *sum) add(e *Entry, at Position) {
	e.at = at
	s.durable = s.durable || e.kind.Durable
	if e.kind.Held {
		s.held++
	}
}

// wrote notes what was written. It says false if nobody waits for it any more: then
// it may not stay.
func (s *Spool) wrote(n int, of sum) bool {
	s.mu.Lock()
	if !s.done() {
		s.mu.Unlock()
		return false
	}
	if s.broken != nil {
		s.cfg.Log.Info("spool is written again")
	}
	s.broken = nil
	last := &s.segments[len(s.segments)-1]
	recount := last.held == 0 && of.held > 0
	last.size += int64(n)
	last.held += of.held
	s.waits += int64(n)
	s.end += Position(n)
	if of.durable {
		s.synced = s.end
	}
	if recount {
		s.count()
	}
	s.mu.Unlock()
	switch {
	case of.durable:
		s.unsynced = false
		s.grow()
	case !s.unsynced:
		s.unsynced = true
		s.later.Reset(syncDelay)
	}
	return true
}

// sync puts on stable storage what nobody waited for.
func (s *Spool) sync() {
	s.Sync() //nolint:errcheck // whom it concerns has gone; the log has it
}

// Sync returns when all that was written is on stable storage.
func (s *Spool) Sync() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return ErrClosed
	}
	if err := s.turn(); err != nil {
		return err // the segment is given up when the disk answers
	}
	defer s.pass()
	var err error
	if s.unsynced {
		s.unsynced = false
		err = s.file.Sync()
	}
	if err == nil && s.isSynced() {
		s.grow()
		return nil
	}
	if err == nil {
		err = ErrStalled
	}
	_, err = s.fail(fmt.Errorf("sync spool: %w", err), s.end.Offset())
	return err
}

// isSynced notes it. It says false if nobody waits for it any more.
func (s *Spool) isSynced() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.done() {
		return false
	}
	s.synced = s.end
	return true
}

// fail shuts the spool for a while and gives the segment up: after a failed
// write or sync nobody knows what of it is on the disk. If told, those who wait know
// already.
func (s *Spool) fail(err error, size int64) (told bool, _ error) {
	gone := false
	if s.file != nil {
		// If this fails too, recovery finds the torn entry at the end.
		err = errors.Join(err, s.file.cut(size), s.file.Sync(), s.file.close())
		s.file, s.unsynced = nil, false
		// Or each try on a bad disk would leave a file.
		gone = size == 0 && s.sys.Remove(Path(s.cfg.Dir, s.end.Segment())) == nil
	}
	s.cfg.Log.Error("spool not written", zap.Error(err))
	s.mu.Lock()
	defer s.mu.Unlock()
	if gone {
		s.segments = s.segments[:len(s.segments)-1]
	}
	told = !s.done()
	s.stalled = false
	s.broken, s.retry = err, time.Now().Add(ProbeDelay)
	return told, err
}
