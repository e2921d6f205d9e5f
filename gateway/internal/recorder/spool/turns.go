package spool

import (
	"errors"
	"fmt"
	"runtime"
	"time"

	"go.uber.org/zap"
)

const (
	// maxGroup bounds the bytes of one write.
	maxGroup = 1 << 20
	// usualEntry is as long as nearly all entries are, and keptEntry how much is
	// kept of the room for one, in bytes.
	usualEntry, keptEntry = 1 << 10, 4 << 10
)

// Kind is how an entry is written.
type Kind struct {
	// Durable waits until the entry is synced. Others are synced soon.
	Durable bool
	// Limited refuses it where the spool is full.
	Limited bool
	// Held keeps its segment until Release.
	Held bool
}

// Entry is somebody's entry, who waits for it to be written; without one, somebody who
// waits for a turn. It is used for one after another.
type Entry struct {
	text []byte
	kind Kind
	at   Position
	lost bool       // the disk has it and did not answer; guarded by the spool's mu
	err  chan error // holds one: what became of it, or errTurn
}

// errTurn says that it is the waiting one's turn, who is the first of pending.
var errTurn = errors.New("turn to write the spool")

// Entry gives an entry with room for a payload. Who asked gives it back with Free.
func (s *Spool) Entry() *Entry {
	e, ok := s.spare.Get().(*Entry)
	if !ok {
		e = &Entry{text: make([]byte, 0, usualEntry), err: make(chan error, 1)}
	}
	e.text = append(e.text[:0], make([]byte, HeaderSize)...)
	return e
}

// Free takes back an entry that waits for nothing.
func (s *Spool) Free(e *Entry) {
	if cap(e.text) > keptEntry || e.lost {
		return
	}
	s.spare.Put(e)
}

// Room is what a payload is appended to, for Seal.
func (e *Entry) Room() []byte { return e.text }

// Seal makes an entry of what was appended to its room, if it could be.
func (e *Entry) Seal(text []byte, err error) error {
	e.text = text
	if err == nil {
		sealEntry(text)
	}
	return err
}

// Payload is what Seal was given. It is the entry's own.
func (e *Entry) Payload() []byte { return e.text[HeaderSize:] }

// At is where the entry is once Append has returned nil.
func (e *Entry) At() Position { return e.at }

// Append returns when the entry is written and, if durable, synced. It fails with
// ErrFull, ErrClosed, ErrStalled, or with what the disk said.
//
// Where nobody else writes, an entry that need not be durable is written by its
// caller: the kernel takes it at once, and another goroutine would cost as much again.
// Everything else is written by a goroutine that nobody waits for longer than for a
// disk that answers.
func (s *Spool) Append(e *Entry, kind Kind) error {
	e.kind = kind
	s.mu.Lock()
	if err := s.refuses(kind.Limited, len(e.text)); err != nil {
		s.mu.Unlock()
		return err
	}
	s.pending = append(s.pending, e)
	mine := !s.busy
	s.busy = true
	alone := !kind.Durable && s.broken == nil
	s.mu.Unlock()
	switch {
	case mine && alone:
		s.write()
		s.pass()
	case mine:
		go s.writes()
	}
	return <-e.err
}

// lead writes until nothing more is pending.
func (s *Spool) lead() {
	for again := true; again; again = s.more() {
		s.write()
	}
}

// write is one turn: it writes what is pending, and tells those who wait.
func (s *Spool) write() {
	runtime.Gosched() // who is ready to run goes first, for its entry fits into the same write
	group := s.gather()
	told, err := s.put(group)
	if told {
		return
	}
	for _, e := range group {
		e.err <- err
	}
}

// refuses says why an entry of n bytes is not taken. The caller holds mu.
func (s *Spool) refuses(limited bool, n int) error {
	switch {
	case s.closed:
		return ErrClosed
	case s.stalled:
		return ErrStalled
	case limited && s.waits+s.kept+int64(n) > s.max:
		return fmt.Errorf("%d bytes wait, the most is %d: %w", s.waits+s.kept, s.max, ErrFull)
	case limited && s.lean:
		return fmt.Errorf("the disk has little more than %d bytes left: %w", s.least, ErrFull)
	case s.broken != nil && time.Now().Before(s.retry):
		return fmt.Errorf("spool could not be written: %w", s.broken)
	}
	return nil
}

// gather is what is written in this turn: the entries that wait, up to the next
// turn that is for something else.
func (s *Spool) gather() []*Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, size := 0, 0
	for n < len(s.pending) && size < maxGroup && len(s.pending[n].text) > 0 {
		size += len(s.pending[n].text)
		n++
	}
	s.start()
	return s.take(n)
}

// take takes the first n of pending. They are the group until the next turn. The
// caller holds mu.
func (s *Spool) take(n int) []*Entry {
	rest := append(s.group[:0], s.pending[n:]...)
	s.group, s.pending = s.pending[:n], rest
	return s.group
}

// start notes that the disk is given something to do. The caller holds mu.
func (s *Spool) start() {
	s.began = time.Now()
	if !s.guarded {
		s.guarded = true
		s.guard.Reset(s.cfg.Patience)
	}
}

// done notes that it has done it, and says whether anybody has waited so long. The
// caller holds mu.
func (s *Spool) done() bool {
	s.began = time.Time{}
	return !s.stalled
}

// look sees whether the disk answers. If it does not, those who wait are told so, and
// so is everybody who comes, until it does.
func (s *Spool) look() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.began.IsZero() || s.stalled {
		s.guarded = false
		return
	}
	if left := s.cfg.Patience - time.Since(s.began); left > 0 {
		s.guard.Reset(left)
		return
	}
	s.stalled, s.guarded = true, false
	s.cfg.Log.Error("disk of the spool does not answer", zap.Duration("since", s.cfg.Patience))
	for _, e := range s.group {
		e.lost = true // the disk still has it
		e.err <- ErrStalled
	}
	for _, e := range s.pending {
		e.err <- ErrStalled
	}
	s.pending = s.pending[:0]
}

// turn waits for a turn at what is no entry. It fails with ErrStalled. The caller
// holds mu, which is free on return.
func (s *Spool) turn() error {
	if s.stalled {
		s.mu.Unlock()
		return ErrStalled
	}
	e := &Entry{err: make(chan error, 1)}
	s.pending = append(s.pending, e)
	mine := !s.busy
	s.busy = true
	if !mine {
		s.mu.Unlock()
		if err := <-e.err; !errors.Is(err, errTurn) {
			return err
		}
		s.mu.Lock()
	}
	s.take(1)
	s.group = s.group[:0]
	s.start()
	s.mu.Unlock()
	return nil
}

// more ends a turn, unless it says that there is more to write. If something else is
// to be done, who waits for it has the next turn.
func (s *Spool) more() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy = len(s.pending) > 0
	if !s.busy {
		return false
	}
	if len(s.pending[0].text) == 0 {
		s.pending[0].err <- errTurn
		return false
	}
	return true
}

// pass ends a turn for good: another goroutine writes what is pending.
func (s *Spool) pass() {
	if s.more() {
		go s.writes()
	}
}
