package simulation

import (
	"io"
	"sync"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// part is what comes of one write, and when.
type part struct {
	text []byte
	at   time.Time
}

// way is one direction of a stream.
type way struct {
	parts   []part // in the order in which they are read
	held    []byte // comes after the next one
	ended   bool
	changed chan struct{} // closed, and made anew, with each change
}

// stream is a stream between two gateways. The mutex guards all but the ends' names.
type stream struct {
	mu    sync.Mutex
	ways  [2]way
	reset *tunnel.ResetError // as the end that was reset by its peer sees it
	by    *end               // who reset it; nil for its tunnel
	over  bool               // done is closed
	done  chan struct{}
}

// tamper says what becomes of a message: the texts that come in its place, of which the
// first may be held back until after the next message, and how much later.
type tamper func(message []byte) (texts [][]byte, behind bool, late time.Duration)

// end is one gateway's end of a stream.
type end struct {
	*stream
	out, in int // ways
	header  *crossingv1.Header
	tamper  tamper
	latency time.Duration
	lossy   func() bool // what is written now is lost
}

var _ tunnel.Stream = (*end)(nil)

// newStream is the two ends of a stream: the one that opened it, and the other.
func newStream(h *crossingv1.Header, latency time.Duration) (from, to *end) {
	s := &stream{done: make(chan struct{})}
	for i := range s.ways {
		s.ways[i].changed = make(chan struct{})
	}
	return &end{stream: s, out: 0, in: 1, latency: latency}, &end{stream: s, out: 1, in: 0, header: h, latency: latency}
}

// Header implements tunnel.Stream.
func (e *end) Header() *crossingv1.Header { return e.header }

// Done implements tunnel.Stream.
func (e *end) Done() <-chan struct{} { return e.done }

// Read implements tunnel.Stream.
func (e *end) Read(p []byte) (int, error) {
	for {
		n, changed, wait, err := e.take(p)
		if n > 0 || err != nil {
			return n, err
		}
		timer := time.NewTimer(wait)
		select {
		case <-changed:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// take reads what has come, or says what to wait for.
func (e *end) take(p []byte) (n int, changed <-chan struct{}, wait time.Duration, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	w := &e.ways[e.in]
	switch {
	case e.reset != nil:
		return 0, nil, 0, e.why()
	case len(w.parts) == 0 && w.ended:
		return 0, nil, 0, io.EOF
	case len(w.parts) == 0:
		return 0, w.changed, time.Hour, nil
	}
	first := &w.parts[0]
	if wait := time.Until(first.at); wait > 0 {
		return 0, w.changed, wait, nil
	}
	n = copy(p, first.text)
	if first.text = first.text[n:]; len(first.text) == 0 {
		w.parts = w.parts[1:]
	}
	return n, nil, 0, nil
}

// why is the reset as this end sees it. The caller holds mu.
func (e *end) why() error {
	return &tunnel.ResetError{Code: e.reset.Code, Remote: e.by != nil && e.by != e}
}

// Write implements tunnel.Stream.
func (e *end) Write(p []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	w := &e.ways[e.out]
	switch {
	case e.reset != nil:
		return 0, e.why()
	case w.ended:
		return 0, io.ErrClosedPipe
	case e.lossy != nil && e.lossy():
		return len(p), nil
	}
	texts, behind, late := [][]byte{p}, false, time.Duration(0)
	if e.tamper != nil {
		texts, behind, late = e.tamper(p)
	}
	held := w.held
	w.held = nil
	for _, text := range texts {
		if behind {
			w.held, behind = append([]byte(nil), text...), false
			continue
		}
		e.put(w, text, late)
	}
	if held != nil {
		e.put(w, held, late)
	}
	return len(p), nil
}

// put appends a text to a way. The caller holds mu.
func (e *end) put(w *way, text []byte, late time.Duration) {
	if len(text) > 0 {
		w.parts = append(w.parts, part{append([]byte(nil), text...), time.Now().Add(e.latency + late)})
		w.change()
	}
}

func (w *way) change() {
	close(w.changed)
	w.changed = make(chan struct{})
}

// CloseWrite implements tunnel.Stream.
func (e *end) CloseWrite() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.reset != nil {
		return e.why()
	}
	w := &e.ways[e.out]
	if e.lossy != nil && e.lossy() {
		return nil
	}
	if !w.ended {
		if w.held != nil {
			e.put(w, w.held, 0)
			w.held = nil
		}
		w.ended = true
		w.change()
	}
	if e.ways[0].ended && e.ways[1].ended {
		e.finish()
	}
	return nil
}

// finish closes done. The caller holds mu.
func (s *stream) finish() {
	if !s.over {
		s.over = true
		close(s.done)
	}
}

// Reset implements tunnel.Stream.
func (e *end) Reset(code tunnel.ResetCode) { e.resetBy(e, code) }

// lose ends a stream by the loss of its tunnel.
func (s *stream) lose() { s.resetBy(nil, tunnel.TunnelClosed) }

func (s *stream) resetBy(by *end, code tunnel.ResetCode) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over || s.reset != nil {
		return
	}
	s.reset, s.by = &tunnel.ResetError{Code: code}, by
	s.finish()
	for i := range s.ways {
		s.ways[i].change()
	}
}
