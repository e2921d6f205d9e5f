package admission

import "github.com/sallyport-mesh/sallyport/gateway/internal/transfer/digest"

// held is how much of a content waits for its digest, in bytes. Of a larger one only the
// last byte does.
const held = 64 << 10

// Content is that of one message, while it passes. A nil one lets everything pass. It is
// for one goroutine at a time.
type Content struct {
	control *Control
	named   bool
	want    Sum       // what it must be, if it is named by that
	coded   bool      // it has a content coding
	free    bool      // it may be anything
	most    int64     // bytes of one that is free
	names   *manifest // nil if it names nothing

	sum     digest.Content
	n       int64  // bytes that came
	room    []byte // what waits, until there is too much of it; then what was given last
	passing bool   // there was
	last    byte   // what waits then
	err     error
}

// Pass takes a piece, and gives what goes on now. That is good until the next call. The
// error is an *Error, and final.
func (c *Content) Pass(p []byte) ([]byte, error) {
	switch {
	case c == nil:
		return p, nil
	case c.err != nil:
		return nil, c.err
	case len(p) == 0:
		return nil, nil
	}
	if c.n += int64(len(p)); c.free && c.n > c.most {
		c.err = refuse("an answer that is no object may have %d bytes of content, and has more", c.most)
		return nil, c.err
	}
	c.sum.Write(p) //nolint:errcheck // it never fails
	c.names.take(p)
	return c.wait(p), nil
}

// wait keeps back what is to wait, and gives the rest.
func (c *Content) wait(p []byte) []byte {
	if c.passing {
		c.room = append(append(c.room[:0], c.last), p[:len(p)-1]...)
		c.last = p[len(p)-1]
		return c.room
	}
	if c.room = append(c.room, p...); len(c.room) <= held {
		return nil
	}
	c.passing, c.last = true, c.room[len(c.room)-1]
	return c.room[:len(c.room)-1]
}

// End takes the content for whole with a last piece, and gives what goes on if its digest
// is allowed. The error is an *Error.
func (c *Content) End(rest []byte) ([]byte, error) {
	out, err := c.Pass(rest)
	if c == nil || err != nil || c.n == 0 {
		return out, err // of an empty content nothing moves
	}
	if c.err = c.judge(); c.err != nil {
		return nil, c.err
	}
	if c.passing {
		return append(out, c.last), nil
	}
	return c.room, nil
}

// judge says why content that came as a whole may not move. Of one that may, what it
// names may from now on.
func (c *Content) judge() error {
	if c.free {
		return nil
	}
	s := Sum(c.sum.Finish().SHA256)
	switch {
	case c.named && s != c.want:
		return refuse("content of %v came under the name of %v", s, c.want)
	case c.control.allows(s):
		c.control.memory.note(c.control.place(), s, c.names.end())
		return nil
	case c.coded:
		return refuse("content of %v, in a content coding, is not allowed", s)
	}
	return refuse("content of %v is not allowed%s", s, c.control.hint())
}

// Refused is why the content goes no further, an *Error; nil if it does.
func (c *Content) Refused() error {
	if c == nil {
		return nil
	}
	return c.err
}
