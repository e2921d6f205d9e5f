package http2

// readData hands a frame's payload on as it comes: a frame may be longer than
// what arrives at a time.
func (c *Conn) readData(h header) error {
	padding, err := c.padding(h)
	if err != nil {
		return err
	}
	left := h.length - padding
	s, fault := c.account(h, left)
	if _, ok := fault.(*streamError); fault != nil && !ok { //nolint:errorlint // account wraps none
		return fault
	}
	for {
		if left > 0 && c.in.buffered() == 0 {
			if err := c.read(); err != nil {
				return err
			}
		}
		piece := c.in.peek(min(left, c.in.buffered()))
		left -= len(piece)
		if s != nil {
			s.take(piece, h.has(flagEndStream) && left == 0)
		}
		c.in.discard(len(piece))
		if left == 0 {
			break
		}
	}
	if err := c.skip(max(0, padding-1)); err != nil {
		return err
	}
	return fault
}

// padding takes the length of the padding off and gives it, with itself.
func (c *Conn) padding(h header) (int, error) {
	if !h.has(flagPadded) {
		return 0, nil
	}
	if h.length == 0 {
		return 0, broken(FrameSizeError, "DATA of no bytes with padding")
	}
	if err := c.need(1); err != nil {
		return 0, err
	}
	n := int(c.in.peek(1)[0]) + 1
	c.in.discard(1)
	if n > h.length {
		return 0, broken(ProtocolError, "DATA on stream %d is padding beyond its length", h.stream)
	}
	return n, nil
}

func (c *Conn) skip(n int) error {
	for n > 0 {
		if c.in.buffered() == 0 {
			if err := c.read(); err != nil {
				return err
			}
		}
		k := min(n, c.in.buffered())
		c.in.discard(k)
		n -= k
	}
	return nil
}

// account takes a DATA frame from the windows and gives the stream that takes its
// data, nil if none does. A *streamError is what only that stream must end for.
func (c *Conn) account(h header, data int) (*Stream, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	end := h.has(flagEndStream)
	switch {
	case c.cause != nil:
		return nil, c.cause
	case h.stream == 0:
		return nil, broken(ProtocolError, "DATA on stream 0")
	case !c.recv.take(h.length):
		return nil, broken(FlowControlError, "DATA of %d bytes beyond the connection's window", h.length)
	}
	s := c.streams[h.stream]
	if s != nil && data > 0 {
		c.chatter.earn(earned)
	} else if (s == nil || !end) && !c.chatter.spend() {
		return nil, broken(EnhanceYourCalm, "DATA and more of frames that carry nothing")
	}
	err := c.accountStream(s, h, data)
	if s == nil || err != nil || s.deaf {
		c.recv.consumed += int64(h.length)
	} else {
		s.unread += int64(data)
		c.recv.consumed += int64(h.length - data)
		s.recv.consumed += int64(h.length - data)
	}
	c.owed = c.grantConn() || c.owed
	if s == nil || err != nil {
		return nil, err
	}
	if end {
		s.recvEnded()
	}
	return s, nil
}

// accountStream does what belongs to the stream alone, nil if there is none. The
// caller holds mu.
func (c *Conn) accountStream(s *Stream, h header, data int) error {
	switch {
	case s == nil:
		return c.late(h)
	case s.recvEnd:
		return &streamError{h.stream, StreamClosed, "DATA after the end of its stream"}
	case !s.headed:
		return &streamError{h.stream, ProtocolError, "DATA before HEADERS"}
	case !s.recv.take(h.length):
		return &streamError{h.stream, FlowControlError, "DATA beyond its stream's window"}
	}
	return s.count(data, h.has(flagEndStream))
}

// count holds the content against the length that its head declared. The caller
// holds the Conn's mu.
func (s *Stream) count(data int, end bool) error {
	if s.expect < 0 {
		return nil
	}
	s.expect -= int64(data)
	if s.expect < 0 || end && s.expect > 0 {
		return &streamError{s.id, ProtocolError, "content is not as long as its content-length"}
	}
	return nil
}

// recvEnded notes that the peer has ended its direction. The caller holds the
// Conn's mu.
func (s *Stream) recvEnded() {
	s.recvEnd = true
	s.over()
}

// ended notes that this end has ended its direction. The caller holds the Conn's
// mu.
func (s *Stream) ended() {
	s.sentEnd = true
	s.over()
}

// over takes out a stream of which both directions have ended.
func (s *Stream) over() {
	if s.sentEnd && s.recvEnd && !s.closed {
		if s.refused == nil {
			s.c.trouble.earn(1)
		}
		s.c.remove(s)
	}
}
