package http2

import (
	"encoding/binary"
	"errors"
	"os"
	"time"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

func beUint31(p []byte) uint32 { return binary.BigEndian.Uint32(p) & maxStream }

// readAll takes frames until the connection ends. It never waits for anything
// else, so that two ends cannot wait for each other.
func (c *Conn) readAll() error {
	if err := c.expectBy(time.Now().Add(c.cfg.HeadTimeout)); err != nil {
		return err
	}
	if c.server {
		if err := c.readPreface(); err != nil {
			return err
		}
	}
	for {
		err := c.readFrame()
		if err == nil {
			continue
		}
		var fault *streamError
		if !errors.As(err, &fault) {
			return err
		}
		if err := c.streamFailed(fault); err != nil {
			return err
		}
	}
}

func (c *Conn) readPreface() error {
	if err := c.need(len(preface)); err != nil {
		return err
	}
	if string(c.in.peek(len(preface))) != preface {
		return broken(ProtocolError, "no preface of HTTP/2")
	}
	c.in.discard(len(preface))
	return nil
}

func (c *Conn) readFrame() error {
	if err := c.need(headerLen); err != nil {
		return err
	}
	h := parseHeader(c.in.peek(headerLen))
	if err := c.checkOrder(h); err != nil {
		return err
	}
	if h.kind == kindData {
		c.in.discard(headerLen)
		return c.readData(h)
	}
	if err := c.need(headerLen + h.length); err != nil {
		return err
	}
	err := c.receive(h, c.in.peek(headerLen + h.length)[headerLen:])
	c.in.discard(headerLen + h.length)
	return err
}

func (c *Conn) checkOrder(h header) error {
	switch {
	case h.length > frameSize:
		return broken(FrameSizeError, "%s of %d bytes", h.kind, h.length)
	case !c.greeted && (h.kind != kindSettings || h.has(flagAck)): // only the read loop changes greeted
		return broken(ProtocolError, "%s before SETTINGS", h.kind)
	case c.head.open && (h.kind != kindContinuation || h.stream != c.head.stream):
		return broken(ProtocolError, "%s on stream %d inside the head of stream %d", h.kind, h.stream, c.head.stream)
	case !c.head.open && h.kind == kindContinuation:
		return broken(ProtocolError, "CONTINUATION of nothing")
	}
	return nil
}

// need makes sure that n bytes are there.
func (c *Conn) need(n int) error {
	for c.in.buffered() < n {
		if err := c.read(); err != nil {
			return err
		}
	}
	return nil
}

// read reads once. What the frames before asked for is done first, for it may
// wait.
func (c *Conn) read() error {
	c.settleOwed()
	for {
		err := c.in.read()
		if err == nil {
			c.heard.Store(true)
			return nil
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		if nap, err := c.woken(); !nap {
			return err
		}
	}
}

func (c *Conn) settleOwed() {
	for i, s := range c.begun {
		c.begun[i] = nil
		c.cfg.Go((*serving)(s))
	}
	c.begun = c.begun[:0]
	if c.owed {
		c.owed = false
		c.mu.Lock()
		c.kick()
		c.mu.Unlock()
	}
}

// woken says why a read came back without bytes: to let go of the buffer and go
// on, or because the connection has ended or a head has not come in time.
func (c *Conn) woken() (nap bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.cause != nil:
		return false, c.cause
	case c.out.failed != nil:
		return false, c.out.failed
	case !c.headBy.IsZero() && !time.Now().Before(c.headBy):
		return false, broken(ProtocolError, "a head or the first SETTINGS did not come within %v", c.cfg.HeadTimeout)
	}
	c.in.nap()
	return true, c.nc.SetReadDeadline(c.headBy)
}

// expectBy sets when a head must have come; zero is whenever.
func (c *Conn) expectBy(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause != nil {
		return c.cause
	}
	c.headBy = t
	return c.nc.SetReadDeadline(t)
}

// receive takes one frame, not of data. The payload is used until it returns.
func (c *Conn) receive(h header, p []byte) error {
	switch h.kind {
	case kindHeaders:
		return c.headers(h, p)
	case kindContinuation:
		return c.continuation(h, p)
	case kindReset:
		return c.wasReset(h, p)
	case kindPushPromise:
		return broken(ProtocolError, "PUSH_PROMISE")
	case kindGoAway:
		return c.goAway(h, p)
	case kindData: // readData has it
	case kindPriority, kindSettings, kindPing, kindWindow:
	}
	if err := c.chat(h); err != nil {
		return err
	}
	switch h.kind {
	case kindPriority:
		return c.priority(h, p)
	case kindSettings:
		return c.greet(h, p)
	case kindPing:
		return c.ping(h, p)
	case kindWindow:
		return c.windowUpdate(h, p)
	default:
		return nil // unknown types are ignored (RFC 9113 4.1)
	}
}

// chat takes a frame that carries nothing.
func (c *Conn) chat(h header) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.chatter.spend() {
		return broken(EnhanceYourCalm, "%s and more of frames that carry nothing", h.kind)
	}
	return nil
}

// answer adds what the peer makes this end say. The caller holds mu, and is the
// read loop.
func (c *Conn) answer(pending []byte) {
	c.out.pending = pending
	c.owed = true
	if c.out.broken {
		c.out.pending = c.out.pending[:0] // nobody will write it
	}
}

// overrun says that the peer does not read its answers. The caller holds mu.
func (c *Conn) overrun() error {
	if len(c.out.pending) > outHard {
		return broken(EnhanceYourCalm, "answers are not read")
	}
	return nil
}

func (c *Conn) greet(h header, p []byte) error {
	first := !c.greeted
	if err := c.settings(h, p); err != nil {
		return err
	}
	c.cfg.Changed()
	if first {
		return c.expectBy(time.Time{})
	}
	return nil
}

func (c *Conn) priority(h header, p []byte) error {
	switch {
	case h.stream == 0:
		return broken(ProtocolError, "PRIORITY on stream 0")
	case h.length != priorityLen:
		return broken(FrameSizeError, "PRIORITY of %d bytes", h.length)
	}
	return checkPriority(h.stream, p)
}

func (c *Conn) ping(h header, p []byte) error {
	switch {
	case h.stream != 0:
		return broken(ProtocolError, "PING on stream %d", h.stream)
	case h.length != 8:
		return broken(FrameSizeError, "PING of %d bytes", h.length)
	}
	opaque := binary.BigEndian.Uint64(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	if !h.has(flagAck) {
		c.answer(appendPing(c.out.pending, flagAck, opaque))
		return c.overrun()
	}
	if c.drain.begun && opaque == drainPing {
		c.sayLast()
	}
	return nil
}

// goAway takes a GOAWAY frame. Streams of this end that the peer has not
// processed are told so; others may end in order still, whatever its code.
func (c *Conn) goAway(h header, p []byte) error {
	switch {
	case h.stream != 0:
		return broken(ProtocolError, "GOAWAY on stream %d", h.stream)
	case h.length < 8:
		return broken(FrameSizeError, "GOAWAY of %d bytes", h.length)
	}
	last, code := beUint31(p), Code(binary.BigEndian.Uint32(p[4:]))
	if c.server { // it speaks of pushes, of which there are none
		return c.chat(h)
	}
	var gone []func()
	c.mu.Lock()
	c.going = true
	if code != NoError {
		c.farewell = &ConnError{Code: code, Remote: true}
	}
	for id, s := range c.streams {
		if id <= last {
			continue
		}
		if f := s.fail(&ResetError{Code: code, Remote: true, Unprocessed: true}, false); f != nil {
			gone = append(gone, f)
		}
		c.remove(s)
	}
	c.startDrain()
	c.mu.Unlock()
	for _, f := range gone {
		f()
	}
	c.cfg.Changed()
	return nil
}

// wasReset takes a RST_STREAM frame.
func (c *Conn) wasReset(h header, p []byte) error {
	if h.length != 4 {
		return broken(FrameSizeError, "RST_STREAM of %d bytes", h.length)
	}
	code := Code(binary.BigEndian.Uint32(p))
	c.mu.Lock()
	s := c.streams[h.stream]
	if s == nil {
		err := c.notIdle(h)
		c.mu.Unlock()
		if err == nil {
			err = c.chat(h)
		}
		return err
	}
	s.giveBack()
	gone := s.fail(&ResetError{Code: code, Remote: true, Unprocessed: code == RefusedStream && !c.server}, false)
	c.remove(s)
	c.owed = c.grantConn() || c.owed
	err := c.spendReset()
	c.mu.Unlock()
	if gone != nil {
		gone()
	}
	return err
}

// spendReset counts a stream that ends out of order by the peer's doing. The
// caller holds mu.
func (c *Conn) spendReset() error {
	if c.server && !c.trouble.spend() {
		return broken(EnhanceYourCalm, "too many streams are reset")
	}
	return nil
}

// notIdle refuses a frame on a stream that was never opened; on one that has
// ended it is in passing. The caller holds mu.
func (c *Conn) notIdle(h header) error {
	if !c.known(h.stream) {
		return broken(ProtocolError, "%s on stream %d, which was never opened", h.kind, h.stream)
	}
	return nil
}

// known says that the stream is not idle: it is open or was. The caller holds mu.
func (c *Conn) known(stream uint32) bool {
	return stream%2 == 1 && stream <= c.last
}

// streamFailed resets a stream for what the peer did on it.
func (c *Conn) streamFailed(fault *streamError) error {
	c.tell(crossingv1.Reason_MALFORMED, fault.detail)
	c.mu.Lock()
	var gone func()
	if s := c.streams[fault.stream]; s != nil {
		gone = c.resetLocked(s, fault.code)
	} else {
		c.out.pending = appendReset(c.out.pending, fault.stream, fault.code)
		c.resets.add(fault.stream)
	}
	c.owed = true
	err := c.spendReset()
	if err == nil {
		err = c.overrun()
	}
	c.mu.Unlock()
	if gone != nil {
		gone()
	}
	return err
}

// resetLocked resets a stream that is open and gives what its owner wants to be
// told by, to be called without mu, which the caller holds.
func (c *Conn) resetLocked(s *Stream, code Code) func() {
	c.out.pending = appendReset(c.out.pending, s.id, code)
	c.resets.add(s.id)
	s.giveBack()
	c.grantConn()
	gone := s.fail(&ResetError{Code: code}, true)
	c.remove(s)
	c.kick()
	return gone
}

// resetMemory remembers streams that this end has reset, on which frames still
// come that were sent before the peer knew (RFC 9113 5.1). In one round trip no
// more of them than streams are allowed.
type resetMemory struct {
	size   int
	ids    []uint32
	next   int
	forgot uint32 // the last one that was forgotten
}

func (m *resetMemory) add(id uint32) {
	if len(m.ids) < m.size {
		m.ids = append(m.ids, id)
		return
	}
	m.forgot = max(m.forgot, m.ids[m.next])
	m.ids[m.next] = id
	m.next = (m.next + 1) % m.size
}

func (m *resetMemory) has(id uint32) bool {
	for _, known := range m.ids {
		if known == id {
			return true
		}
	}
	return id <= m.forgot
}

// late judges a frame of data or of a head on a stream that is not open any more:
// nil if it may still come. The caller holds mu.
func (c *Conn) late(h header) error {
	switch {
	case !c.known(h.stream), c.skipped.after < h.stream && h.stream < c.skipped.before:
		return broken(ProtocolError, "%s on stream %d, which was never opened", h.kind, h.stream)
	case c.drain.said && h.stream > c.drain.last, c.resets.has(h.stream):
		return nil
	}
	return broken(StreamClosed, "%s on stream %d, which has ended", h.kind, h.stream)
}
