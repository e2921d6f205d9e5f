package http2

import (
	"bytes"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
)

// interim is what is said to a peer that waits to be asked for its content.
var interim = &l7.ResponseHead{Status: 100}

// openHead leaves room for a frame's header and gives its place.
func (c *Conn) openHead(s *Stream) int {
	s.mark(c)
	c.chatter.earn(earned)
	c.out.pending = append(c.out.pending, make([]byte, headerLen)...)
	return s.at
}

// closeHead makes frames of what was encoded since openHead: HEADERS and, where it
// is longer than the peer takes, CONTINUATION.
func (c *Conn) closeHead(start int, stream uint32, end bool) {
	block := c.out.pending[start+headerLen:]
	h := header{kind: kindHeaders, length: len(block), stream: stream, flags: flagEndHeaders}
	if end {
		h.flags |= flagEndStream
	}
	if len(block) <= c.peer.frame {
		putHeader(c.out.pending[start:], h)
		return
	}
	block = bytes.Clone(block)
	c.out.pending = c.out.pending[:start]
	h.flags &^= flagEndHeaders
	for len(block) > 0 {
		h.length = min(len(block), c.peer.frame)
		if h.length == len(block) {
			h.flags |= flagEndHeaders
		}
		c.out.pending = append(appendHeader(c.out.pending, h), block[:h.length]...)
		block = block[h.length:]
		h.kind, h.flags = kindContinuation, 0
	}
}
