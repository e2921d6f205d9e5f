package http2

import (
	"errors"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/http2/fieldblock"
)

// maxInterim is how many interim answers (1xx) may come before the final one.
const maxInterim = 8

// partialHead is a head whose frames have not all come.
type partialHead struct {
	open   bool
	stream uint32
	end    bool // and nothing follows it
	frames int  // CONTINUATION frames so far
}

// headers takes a HEADERS frame.
func (c *Conn) headers(h header, p []byte) error {
	if h.stream%2 == 0 {
		return broken(ProtocolError, "HEADERS on stream %d", h.stream)
	}
	p, err := unpad(h, p)
	if err != nil {
		return err
	}
	if p, err = unprioritise(h, p); err != nil {
		return err
	}
	c.head = partialHead{open: true, stream: h.stream, end: h.has(flagEndStream)}
	if !h.has(flagEndHeaders) {
		if err := c.expectBy(time.Now().Add(c.cfg.HeadTimeout)); err != nil {
			return err
		}
	}
	return c.fragment(h, p)
}

func (c *Conn) continuation(h header, p []byte) error {
	if c.head.frames++; c.head.frames > c.cfg.MaxContinuations {
		return broken(EnhanceYourCalm, "more than %d CONTINUATION frames", c.cfg.MaxContinuations)
	}
	return c.fragment(h, p)
}

// fragment decodes a piece of a head. Whatever becomes of the head, all of it must
// be decoded, for later ones refer to it.
func (c *Conn) fragment(h header, p []byte) error {
	if err := c.block.Write(p); err != nil {
		return undecoded(err)
	}
	if !h.has(flagEndHeaders) {
		return nil
	}
	if err := c.block.Close(); err != nil {
		return undecoded(err)
	}
	if !c.headBy.IsZero() {
		if err := c.expectBy(time.Time{}); err != nil {
			return err
		}
	}
	c.head.open = false
	defer c.block.Reset()
	return c.headDone(header{kind: kindHeaders, stream: c.head.stream})
}

func undecoded(err error) error {
	if errors.Is(err, fieldblock.ErrBomb) {
		return broken(EnhanceYourCalm, "%v", err)
	}
	return broken(CompressionError, "%v", err)
}

// headDone takes a head that is whole.
func (c *Conn) headDone(h header) error {
	c.mu.Lock()
	s := c.streams[h.stream]
	var err error
	fresh := s == nil && c.server && h.stream > c.last
	if s == nil && !fresh {
		if err = c.late(h); err == nil && !c.chatter.spend() {
			err = broken(EnhanceYourCalm, "heads of streams that have ended")
		}
	}
	ended := s != nil && s.recvEnd
	if s != nil && !ended {
		c.chatter.earn(earned)
	}
	c.mu.Unlock()
	switch {
	case fresh:
		return c.accept(h.stream)
	case s == nil:
		return err
	case ended:
		return &streamError{h.stream, StreamClosed, "HEADERS after the end of its stream"}
	case !s.headed: // only the read loop changes it
		return c.answered(s)
	}
	return c.trailed(s)
}

// accept takes a new stream of the peer.
func (c *Conn) accept(id uint32) error {
	c.mu.Lock()
	ok, err := c.admit(id)
	c.mu.Unlock()
	if !ok {
		return err
	}
	s := newStream(c)
	s.request.Head.Fields = s.fields[:0]
	s.refused = c.block.Request(&s.request, c.scheme(), c.head.end)
	if s.refused != nil && c.cfg.Refuse == nil {
		return &streamError{id, ProtocolError, "a request that is refused, and nobody answers"}
	}
	s.begin(c.head.end)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause != nil {
		return c.cause
	}
	c.add(s, id)
	c.serving++
	c.chatter.earn(earned)
	if c.head.end {
		s.recvEnd = true
	}
	c.begun = append(c.begun, s)
	if s.refused != nil && s.refused.Malformed {
		return c.spendReset()
	}
	return nil
}

// admit says whether a new stream may be opened; one that may not is reset, as
// not processed. The caller holds mu.
func (c *Conn) admit(id uint32) (bool, error) {
	if id > c.last+2 {
		c.skipped.after, c.skipped.before = c.last, id
	}
	c.last = id
	if c.drain.said {
		return false, nil // it is told, and asks elsewhere
	}
	if len(c.streams) < int(c.cfg.MaxStreams) && c.serving < 2*int(c.cfg.MaxStreams) {
		return true, nil
	}
	c.answer(appendReset(c.out.pending, id, RefusedStream))
	c.resets.add(id)
	if !c.acked {
		return false, c.overrun() // it has not heard of the limit yet
	}
	if err := c.spendReset(); err != nil {
		return false, err
	}
	return false, c.overrun()
}

func (c *Conn) scheme() string {
	if c.cfg.Secure {
		return "https"
	}
	return "http"
}

// answered takes a head of an answer to a stream of this end.
func (c *Conn) answered(s *Stream) error {
	head, bad := c.block.Response(s.fields[:0:answerFields])
	switch {
	case bad != "":
		return &streamError{s.id, ProtocolError, bad}
	case head.Status < 200:
		return c.interim(s, head.Status)
	}
	if err := head.Check(); err != nil {
		return &streamError{s.id, ProtocolError, "the head of an answer is not well formed"}
	}
	length, known, _ := head.Fields.ContentLength() // Check has seen it
	expect := int64(-1)
	switch {
	case s.connect && head.Status/100 == 2:
	case s.asksHead || head.Status == 204 || head.Status == 304:
		expect = 0
	case known:
		expect = length
	}
	c.mu.Lock()
	s.headed, s.expect = true, expect
	if c.head.end {
		if err := s.count(0, true); err != nil {
			c.mu.Unlock()
			return err
		}
		s.recvEnded()
	}
	c.mu.Unlock()
	s.takeHead(head, c.head.end)
	return nil
}

// interim passes over an interim answer: nobody here waits for one. 101 is not
// in HTTP/2 (RFC 9113 8.6).
func (c *Conn) interim(s *Stream, status int) error {
	if s.interims++; s.interims > maxInterim || status == 101 || c.head.end {
		return &streamError{s.id, ProtocolError, "interim answers without a final one"}
	}
	return nil
}

// trailed takes trailers.
func (c *Conn) trailed(s *Stream) error {
	fields, bad := c.block.Trailers(s.roomForTrailers())
	if !c.head.end {
		bad = "trailers that do not end their stream"
	}
	if bad != "" {
		return &streamError{s.id, ProtocolError, bad}
	}
	c.mu.Lock()
	if err := s.count(0, true); err != nil {
		c.mu.Unlock()
		return err
	}
	s.recvEnded()
	c.mu.Unlock()
	s.takeTrailers(fields)
	return nil
}

// refuseNow answers a stream whose request was refused.
func (s *Stream) refuseNow() {
	head, body := s.c.cfg.Refuse(&s.request.Head, *s.refused)
	if head == nil {
		head = &l7.ResponseHead{Status: s.refused.Status}
	}
	s.StopReading()
	if err := s.WriteHead(head, len(body) == 0); err == nil && len(body) > 0 {
		if _, err = s.Hold(body); err == nil {
			err = s.End(nil)
		}
		if err != nil {
			return
		}
	}
	if s.refused.Malformed {
		s.resetAfter(ProtocolError)
	}
}
