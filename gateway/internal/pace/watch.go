// Package pace says how long an exchange may take, and how fast it goes: a Watch ends what
// takes too long, and a Flow takes its bytes from its caller's budget before they pass, and
// has them wait where little is left.
package pace

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
)

// Limits of time. Zero is no limit.
type Limits struct {
	Silence time.Duration // in both directions at a time
	Total   time.Duration
}

// Watch resets the stream of a crossing that takes too long. A nil Watch does
// nothing: most gateways have no such limit.
type Watch struct {
	limits Limits
	began  time.Time
	last   atomic.Int64 // when something passed, since it began
	paused atomic.Int32 // by how many

	mu     sync.Mutex // guards what follows
	stream Resetter
	timer  *time.Timer
	late   bool // the stream was reset
	over   bool
}

// Resetter is what a Watch needs of a stream.
type Resetter interface{ Reset(code tunnel.ResetCode) }

// NewWatch watches a stream from now on.
func NewWatch(s Resetter, l Limits) *Watch {
	if l.Silence == 0 && l.Total == 0 {
		return nil
	}
	w := &Watch{stream: s, limits: l, began: time.Now()}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer = time.AfterFunc(w.left(), w.check)
	return w
}

// Follow watches another stream from now on, as if it had from the beginning. A nil
// Watch begins here.
func (w *Watch) Follow(s Resetter, l Limits) *Watch {
	if w == nil {
		return NewWatch(s, l)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stream = s; w.late {
		s.Reset(tunnel.Refused)
	}
	return w
}

// TooLate says that the stream was reset.
func (w *Watch) TooLate() bool {
	if w == nil {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.late
}

// Passed says that something passes, in whatever direction.
func (w *Watch) Passed() {
	if w != nil && w.limits.Silence > 0 {
		w.last.Store(int64(time.Since(w.began)))
	}
}

// pause lets the silence not count until the function is called that it gives.
func (w *Watch) pause() (goOn func()) {
	if w == nil {
		return func() {}
	}
	w.paused.Add(1)
	return func() {
		w.Passed()
		w.paused.Add(-1)
	}
}

// left is the time until the next limit, unless something passes.
func (w *Watch) left() time.Duration {
	now := time.Since(w.began)
	if w.paused.Load() > 0 {
		w.Passed()
	}
	silence, total := w.limits.Silence-(now-time.Duration(w.last.Load())), w.limits.Total-now
	switch {
	case w.limits.Silence == 0:
		return total
	case w.limits.Total == 0:
		return silence
	}
	return min(silence, total)
}

func (w *Watch) check() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over {
		return
	}
	if left := w.left(); left > 0 {
		w.timer.Reset(left)
		return
	}
	w.late = true
	w.stream.Reset(tunnel.Refused)
}

// Stop ends it. Only the first call counts.
func (w *Watch) Stop() {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.over = true
	w.timer.Stop()
}
