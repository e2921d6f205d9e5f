package tunnel

import (
	"io"
	"sync"
)

// talker is a stream whose peer is the test: it says what was written, and what
// it answers.
type talker struct {
	*fakeStream
	answers chan string

	mu    sync.Mutex // guards what follows
	cond  sync.Cond
	said  []byte
	ended bool // CloseWrite was called
	stuck bool // nothing that is written leaves
	hasty bool
}

var _ Interruptible = (*talker)(nil)

func newTalker(s *fakeStream) *talker {
	t := &talker{fakeStream: s, answers: make(chan string, 16)}
	t.cond.L = &t.mu
	return t
}

func (t *talker) Read(p []byte) (int, error) {
	select {
	case <-t.done:
		return 0, &ResetError{Code: t.code}
	default:
	}
	select {
	case text, ok := <-t.answers:
		if !ok {
			return 0, io.EOF
		}
		if n := copy(p, text); n < len(text) {
			rest := []string{text[n:]}
			for len(t.answers) > 0 {
				rest = append(rest, <-t.answers)
			}
			for _, text := range rest {
				t.answers <- text
			}
			return n, nil
		}
		return len(text), nil
	case <-t.done:
		return 0, &ResetError{Code: t.code}
	}
}

func (t *talker) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for t.stuck && !t.hasty && !t.over() {
		t.cond.Wait()
	}
	switch {
	case t.over():
		return 0, &ResetError{Code: t.code}
	case t.stuck:
		n := len(p) / 2 // some of it
		t.said = append(t.said, p[:n]...)
		return n, ErrInterrupted
	}
	t.said = append(t.said, p...)
	return len(p), nil
}

func (t *talker) over() bool {
	select {
	case <-t.done:
		return true
	default:
		return false
	}
}

func (t *talker) set(do func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	do()
	t.cond.Broadcast()
}

func (t *talker) Interrupt() { t.set(func() { t.hasty = true }) }
func (t *talker) Resume()    { t.set(func() { t.hasty = false }) }

func (t *talker) CloseWrite() error {
	t.set(func() { t.ended = true })
	return nil
}

func (t *talker) Reset(code ResetCode) {
	t.end(code)
	t.set(func() {})
}

// told is what was written to it, with a full stop if that is all.
func (t *talker) told() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended {
		return string(t.said) + "."
	}
	return string(t.said)
}
