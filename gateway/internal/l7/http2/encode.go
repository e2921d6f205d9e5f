package http2

import (
	"bytes"
	"slices"
	"strconv"

	"golang.org/x/net/http2/hpack"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
)

// sendRequest adds the head of a request to the output. The caller holds mu.
func (c *Conn) sendRequest(s *Stream, h *l7.RequestHead, end bool) {
	start := c.openHead(s)
	c.field(":method", h.Method)
	if h.Method != "CONNECT" {
		c.field(":scheme", c.scheme())
		c.field(":path", h.Path)
	}
	c.field(":authority", h.Authority)
	for _, f := range withoutConnection(h.Fields) {
		if !l7.HopByHop(f.Name) || f.Name == "te" && f.Value == "trailers" {
			c.field(f.Name, f.Value)
		}
	}
	c.closeHead(start, s.id, end)
}

// sendResponse adds the head of an answer, which has no content-length if it must
// not (RFC 9110 8.6). The caller holds mu.
func (c *Conn) sendResponse(s *Stream, h *l7.ResponseHead, lengthless, end bool) {
	start := c.openHead(s)
	c.field(":status", statusText(h.Status))
	for _, f := range withoutConnection(h.Fields) {
		if !l7.HopByHop(f.Name) && (f.Name != "content-length" || !lengthless) {
			c.field(f.Name, f.Value)
		}
	}
	c.closeHead(start, s.id, end)
}

// sendInterim adds 100 Continue. The caller holds mu.
func (c *Conn) sendInterim(s *Stream) {
	start := c.openHead(s)
	c.field(":status", "100")
	c.closeHead(start, s.id, false)
}

// sendTrailers adds trailers. The caller holds mu.
func (c *Conn) sendTrailers(s *Stream, f l7.Fields) {
	start := c.openHead(s)
	for i := range f {
		if !l7.HopByHop(f[i].Name) {
			c.field(f[i].Name, f[i].Value)
		}
	}
	c.closeHead(start, s.id, true)
}

// withoutConnection leaves out what Connection names; most heads have none.
func withoutConnection(f l7.Fields) l7.Fields {
	if !f.Has("connection") {
		return f
	}
	f = slices.Clone(f)
	l7.StripConnection(&f)
	return f
}

// statusText spares most answers a string.
func statusText(status int) string {
	switch status {
	case 200:
		return "200"
	case 204:
		return "204"
	case 304:
		return "304"
	case 404:
		return "404"
	}
	return strconv.Itoa(status)
}

// field encodes a field into the output.
func (c *Conn) field(name, value string) {
	_ = c.out.encoder.WriteField(hpack.HeaderField{Name: name, Value: value, Sensitive: passing(name)}) // the writer cannot fail
}

// passing says that a field is not put into the peer's table: because it is a
// secret, which a table that many callers share could be made to tell (RFC 7541
// 7.1), or because its value comes once only and would push out one that comes
// again.
func passing(name string) bool {
	switch name {
	case "authorization", "cookie", "set-cookie", "x-api-key", "api-key",
		":path", "content-length", "content-range", "range", "date", "last-modified", "etag", "expires", "age",
		"if-modified-since", "if-none-match", "location", "traceparent", "tracestate", "x-request-id",
		"grpc-timeout", "grpc-message", "sallyport-crossing":
		return true
	}
	return false
}

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
