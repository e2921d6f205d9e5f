package http2

import (
	"fmt"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
)

// WriteHead sends the head of the answer, for a server. With end set it is one
// frame that ends the stream; else it is held for the first Write, Hold, End or
// Flush, and a Read that waits. Fields of a connection in h are left out. A head
// that is not well formed is refused whole.
func (s *Stream) WriteHead(h *l7.ResponseHead, end bool) error {
	if s.begun {
		return s.misuse(ErrHeadTwice)
	}
	if err := h.Check(); err != nil {
		return s.misuse(err)
	}
	length, known, _ := h.Fields.ContentLength() // Check has seen it
	accepted := s.connect && h.Status/100 == 2
	s.bodiless = s.asksHead || h.Status == 204 || h.Status == 304
	s.counted, s.left = known && !s.bodiless && !accepted, length
	if end && s.counted && length > 0 {
		return s.misuse(ErrTooShort)
	}
	s.begun = true
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waitForRoom()
	if err := s.writable(); err != nil {
		return err
	}
	s.expects = false
	start := c.openHead(s)
	c.out.fields.Response(h, accepted || h.Status == 204)
	c.closeHead(start, s.id, end)
	if end {
		s.ended()
		c.flush()
	}
	return nil
}

// Write sends p as the peer grants credit for it, and what is held before it. It
// returns when all of p is on its way; p is not used afterwards. The last of
// content whose length was declared is held for the End which must follow.
func (s *Stream) Write(p []byte) (int, error) { return s.write(p, false) }

// Hold is Write, but for what fits into the output: that leaves with the next
// Write, End or Flush of the stream, or with what others write.
func (s *Stream) Hold(p []byte) (int, error) { return s.write(p, true) }

func (s *Stream) write(p []byte, hold bool) (int, error) {
	switch {
	case s.misused != nil:
		return 0, s.misused
	case !s.begun:
		return 0, s.misuse(ErrNoHead)
	case s.counted && int64(len(p)) > s.left:
		return 0, s.misuse(ErrTooLong)
	}
	if s.counted {
		s.left -= int64(len(p))
		hold = hold || s.left == 0
	}
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := s.writable(); err != nil {
		return 0, err
	}
	if s.bodiless {
		return len(p), nil
	}
	return s.send1(p, hold)
}

// send1 sends data. The caller holds the Conn's mu.
func (s *Stream) send1(p []byte, hold bool) (int, error) {
	c := s.c
	s.data, s.moved = p, true
	if c.out.ready.first == nil {
		for c.pack(s) {
		}
	}
	c.credited(s)
	if len(s.data) > 0 || !hold || len(c.out.pending) > gather {
		c.flush()
	}
	for len(s.data) > 0 && s.writable() == nil {
		s.wrote.Wait()
	}
	left := len(s.data)
	s.data = nil
	if left > 0 {
		return len(p) - left, s.writable()
	}
	return len(p), nil
}

// End ends this end's direction with trailers, if any. Fields of a connection
// among them are left out.
func (s *Stream) End(trailers l7.Fields) error {
	switch {
	case s.misused != nil:
		return s.misused
	case !s.begun:
		return s.misuse(ErrNoHead)
	case s.counted && s.left > 0:
		return s.misuse(ErrTooShort)
	}
	if err := trailers.Check(0); err != nil {
		return s.misuse(err)
	}
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(trailers) > 0 {
		c.waitForRoom()
	}
	if err := s.writable(); err != nil {
		return err
	}
	switch {
	case len(trailers) > 0:
		start := c.openHead(s)
		c.out.fields.Trailers(trailers)
		c.closeHead(start, s.id, true)
	case s.held():
		c.out.pending[s.at+4] |= flagEndStream
	default:
		c.out.pending = appendData(c.out.pending, s.id, nil, true)
	}
	s.ended()
	c.flush()
	return nil
}

// Flush sends what is held of the stream.
func (s *Stream) Flush() error {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.held() {
		c.flush()
	}
	return s.err
}

// misuse keeps the first use against the rules: what follows it is not what was
// meant.
func (s *Stream) misuse(err error) error {
	if s.misused == nil {
		s.misused = fmt.Errorf("write to stream: %w", err)
	}
	return s.misused
}

// writable says why nothing can be written. The caller holds the Conn's mu.
func (s *Stream) writable() error {
	switch {
	case s.err != nil:
		return s.err
	case s.sentEnd:
		return ErrOver
	case s.c.out.broken && s.c.out.failed != nil:
		return s.c.out.failed
	}
	return nil
}

// mark remembers where the stream's last frame is to begin. The caller holds the
// Conn's mu.
func (s *Stream) mark(c *Conn) { s.batch, s.at = c.out.batch, len(c.out.pending) }

// held says that the last frame is still pending. The caller holds the Conn's mu.
func (s *Stream) held() bool { return s.batch == s.c.out.batch }
