package http2

// window is one receiving window: what the peer may still send, and what was
// consumed and is not granted again yet.
type window struct {
	credit   int64
	consumed int64
	size     int64
}

func newWindow(size uint32) window { return window{credit: int64(size), size: int64(size)} }

// take takes n bytes that came; false if they are more than the peer had credit
// for.
func (w *window) take(n int) bool {
	if int64(n) > w.credit {
		return false
	}
	w.credit -= int64(n)
	return true
}

// grant is the credit to grant now, 0 to wait: half a window at a time, so that
// updates stay few while the sender never runs dry.
func (w *window) grant() uint32 {
	if w.consumed*2 < w.size {
		return 0
	}
	n := w.consumed
	w.consumed = 0
	w.credit += n
	return uint32(n) //nolint:gosec // at most the window's size
}

// grantConn tells the peer of the connection's credit if there is enough to tell
// of, and says whether it did. The caller holds mu.
func (c *Conn) grantConn() bool {
	n := c.recv.grant()
	if n == 0 || c.cause != nil {
		return false
	}
	c.out.pending = appendWindow(c.out.pending, 0, n)
	return true
}

// consumed gives the peer credit for what was read of the stream.
func (s *Stream) consumed(n int) {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	taken := min(int64(n), s.unread) // less if a reset has given it back meanwhile
	s.unread -= taken
	c.recv.consumed += taken
	told := c.grantConn()
	if s.recv.consumed += taken; !s.closed && !s.recvEnd {
		if more := s.recv.grant(); more > 0 {
			c.out.pending = appendWindow(c.out.pending, s.id, more)
			told = true
		}
	}
	if told {
		c.flush()
	}
}

// giveBack takes what the stream received and nobody will read back into the
// connection's window. The caller holds mu.
func (s *Stream) giveBack() {
	s.c.recv.consumed += s.unread
	s.unread = 0
}

// windowUpdate takes a WINDOW_UPDATE frame.
func (c *Conn) windowUpdate(h header, p []byte) error {
	if h.length != 4 {
		return broken(FrameSizeError, "WINDOW_UPDATE of %d bytes", h.length)
	}
	more := int64(beUint31(p))
	c.mu.Lock()
	defer c.mu.Unlock()
	if h.stream == 0 {
		if more == 0 {
			return broken(ProtocolError, "WINDOW_UPDATE of 0")
		}
		if c.send += more; c.send > maxWindow {
			return broken(FlowControlError, "WINDOW_UPDATE of %d makes a window of %d", more, c.send)
		}
		c.resume()
		return nil
	}
	s := c.streams[h.stream]
	switch {
	case s == nil:
		return c.notIdle(h)
	case more == 0:
		return &streamError{h.stream, ProtocolError, "WINDOW_UPDATE of 0"}
	case s.send+more > maxWindow:
		return &streamError{h.stream, FlowControlError, "WINDOW_UPDATE beyond the largest window"}
	}
	s.send += more
	c.credited(s)
	c.resume()
	return nil
}

// credited queues a stream that may go on sending. The caller holds mu.
func (c *Conn) credited(s *Stream) {
	if len(s.data) > 0 && s.send > 0 {
		c.out.ready.push(s)
	}
}

// resume lets those go on who waited for credit. The caller holds mu, and is the
// read loop.
func (c *Conn) resume() {
	if c.out.ready.first != nil {
		c.fill()
		c.owed = true
	}
}
