package recorder

import "errors"

const (
	// maxGroup bounds the bytes of one write.
	maxGroup = 1 << 20
	// usualEntry is as long as nearly all entries are, and keptEntry how much is
	// kept of the room for one, in bytes.
	usualEntry, keptEntry = 1 << 10, 4 << 10
)

// waiting is somebody who waits for an entry to be written, or without one for a
// turn at what is no entry. It is used for one after another.
type waiting struct {
	entry   []byte
	durable bool
	err     chan error // holds one: what became of it, or errTurn
}

// errTurn says that it is the waiting one's turn, who is the first of pending.
var errTurn = errors.New("turn to write the spool")

// entry gives a waiting one with room for an entry's header, and for a payload
// behind it. Who asked gives it back with free.
func (s *spool) entry() *waiting {
	w, ok := s.spare.Get().(*waiting)
	if !ok {
		w = &waiting{entry: make([]byte, 0, usualEntry), err: make(chan error, 1)}
	}
	w.entry = append(w.entry[:0], make([]byte, entryHeader)...)
	return w
}

// free takes back one that waits for nothing.
func (s *spool) free(w *waiting) {
	if cap(w.entry) > keptEntry {
		return
	}
	s.spare.Put(w)
}

// seal makes an entry of what was appended to that room, if it could be.
func (w *waiting) seal(entry []byte, err error) error {
	w.entry = entry
	if err == nil {
		sealEntry(entry)
	}
	return err
}

// await waits until w is written, or gives errTurn. The caller holds mu, which
// is free on return.
func (s *spool) await(w *waiting) error {
	s.pending = append(s.pending, w)
	if !s.busy {
		s.busy = true
		s.mu.Unlock()
		return errTurn
	}
	s.mu.Unlock()
	return <-w.err
}

// gather is what is written in this turn: the entries that wait, up to the next
// turn that is for something else.
func (s *spool) gather() []*waiting {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, size := 0, 0
	for n < len(s.pending) && size < maxGroup && len(s.pending[n].entry) > 0 {
		size += len(s.pending[n].entry)
		n++
	}
	return s.take(n)
}

// take takes the first n of pending. They are the group until the next turn. The
// caller holds mu.
func (s *spool) take(n int) []*waiting {
	rest := append(s.group[:0], s.pending[n:]...)
	s.group, s.pending = s.pending[:n], rest
	return s.group
}

// turn waits for a turn at what is no entry. The caller holds mu, which is free
// on return.
func (s *spool) turn() {
	w := s.entry()
	w.entry = w.entry[:0]
	s.await(w) //nolint:errcheck // errTurn, for nobody else writes what is no entry
	s.mu.Lock()
	defer s.mu.Unlock()
	s.take(1)
	s.free(w)
}

// pass ends a turn.
func (s *spool) pass() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busy = len(s.pending) > 0; s.busy {
		s.pending[0].err <- errTurn
	}
}
