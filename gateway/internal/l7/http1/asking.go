package http1

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
)

// maxHeld is how many bytes of a request are held at most before they go out.
const maxHeld = 128 << 10

// ErrForm says that a request has no form in which HTTP/1.1 asks a server.
var ErrForm = errors.New("no request of a server")

// RequestWriter writes one request. What it is given is held until Flush, or
// until it is more than 128 KiB, so that a request that is at hand goes out in
// one Write. It is called from one goroutine.
type RequestWriter struct {
	w      io.Writer
	begun  bool
	coding coding
	left   int64 // of counted content
	over   bool
	failed error
	held   []byte // not written yet
}

// Reset makes it write another request on w, and keeps its memory.
func (r *RequestWriter) Reset(w io.Writer) {
	held := r.held[:0]
	if cap(held) > maxHeld/2 {
		held = nil
	}
	*r = RequestWriter{w: w, held: held}
}

// Held is how many bytes are held.
func (r *RequestWriter) Held() int { return len(r.held) }

// Redirect makes it write on w what is held, where nothing was written yet.
func (r *RequestWriter) Redirect(w io.Writer) { r.w, r.failed = w, nil }

// Whole says that all of the request was written: its end too, or as much
// content as its content-length says.
func (r *RequestWriter) Whole() bool {
	return r.begun && r.failed == nil && len(r.held) == 0 && (r.over || r.coding == counted && r.left == 0)
}

// WriteHead takes the head. With end set there is neither content nor trailers,
// and the request is over, as after End. Else the content is as long as the
// head's content-length says, or chunked. What the caller did not send is not
// added, but for what frames the content. Left out are the fields of a
// connection, those that only a chunked request needs, and Expect: nobody
// here waits for 100 Continue.
func (r *RequestWriter) WriteHead(h *l7.RequestHead, end bool) error {
	if r.begun {
		return ErrHeadTwo
	}
	r.begun = true
	if err := h.Check(); err != nil {
		return r.fail(fmt.Errorf("write request: %w", err))
	}
	if h.Method == "CONNECT" || h.Path == "" {
		return r.fail(fmt.Errorf("write request: %w: %s", ErrForm, h.Method))
	}
	length, known, _ := h.Fields.ContentLength() // checked
	switch {
	case end && length > 0:
		return r.fail(ErrTooShort)
	case end:
	case known:
		r.coding, r.left = counted, length
	default:
		r.coding = chunked
	}
	r.holdHead(h, end && !known)
	r.over = end
	return nil
}

func (r *RequestWriter) holdHead(h *l7.RequestHead, lengthless bool) {
	b := append(r.held, h.Method...)
	b = append(append(append(b, ' '), h.Path...), " HTTP/1.1\r\nhost: "...)
	b = append(append(b, h.Authority...), "\r\n"...)
	ends := h.Fields.Connection()
	for _, f := range h.Fields {
		switch {
		case f.Name == "trailer" && r.coding == chunked:
			b = appendAnnounced(b, f.Value)
		case f.Name == "te" && l7.HasToken(f.Value, "trailers"):
			b = append(b, "te: trailers\r\n"...)
		case f.Name == "trailer" || f.Name == "expect" || ends.Owns(f.Name):
		default:
			b = appendField(b, f)
		}
	}
	switch {
	case r.coding == chunked:
		b = append(b, "transfer-encoding: chunked\r\n"...)
	case lengthless && (h.Method == "POST" || h.Method == "PUT" || h.Method == "PATCH"):
		b = append(b, "content-length: 0\r\n"...) // RFC 9110 8.6: servers may ask for it
	}
	r.held = append(b, "\r\n"...)
}

// appendAnnounced announces trailers, but for those that nobody would take.
func appendAnnounced(b []byte, names string) []byte {
	start := len(b)
	for name := range strings.SplitSeq(names, ",") {
		name = strings.ToLower(strings.Trim(name, " \t"))
		if !l7.IsToken(name) || l7.FramesMessage(name) || l7.NotInTrailers(name) {
			continue
		}
		if len(b) == start {
			b = append(b, "trailer: "...)
		} else {
			b = append(b, ", "...)
		}
		b = append(b, name...)
	}
	if len(b) > start {
		b = append(b, "\r\n"...)
	}
	return b
}

// Write takes content.
func (r *RequestWriter) Write(p []byte) (int, error) {
	if err := r.writable(); err != nil {
		return 0, err
	}
	switch {
	case r.coding == none && len(p) > 0, r.coding == counted && int64(len(p)) > r.left:
		return 0, r.fail(ErrTooLong)
	case r.coding == counted:
		r.left -= int64(len(p))
	}
	for written := 0; written < len(p); {
		part := p[written:min(len(p), written+l7.MaxData)]
		if r.coding == chunked {
			r.held = appendChunk(r.held, part)
		} else {
			r.held = append(r.held, part...)
		}
		if len(r.held) > maxHeld {
			if err := r.Flush(); err != nil {
				return written, err
			}
		}
		written += len(part)
	}
	return len(p), nil
}

func (r *RequestWriter) writable() error {
	switch {
	case r.failed != nil:
		return r.failed
	case !r.begun:
		return ErrNoHead
	case r.over:
		return ErrOver
	}
	return nil
}

// Flush writes what is held. It keeps that if nothing could be written.
func (r *RequestWriter) Flush() error {
	if r.failed != nil {
		return r.failed
	}
	if len(r.held) == 0 {
		return nil
	}
	n, err := r.w.Write(r.held)
	if err != nil && n == 0 {
		return r.fail(err)
	}
	r.held = r.held[:0]
	return r.fail(err)
}

// End ends the request, with trailers if it is chunked: HTTP/1.1 has no place
// for them elsewhere.
func (r *RequestWriter) End(trailers l7.Fields) error {
	if err := r.writable(); err != nil {
		return err
	}
	if r.coding == counted && r.left > 0 {
		return r.fail(ErrTooShort)
	}
	if r.coding == chunked {
		if err := trailers.Check(0); err != nil {
			return r.fail(fmt.Errorf("write trailers: %w", err))
		}
		r.held = appendLastChunk(r.held, trailers)
	}
	r.over = true
	return nil
}

// fail keeps the first error: after it the connection cannot go on.
func (r *RequestWriter) fail(err error) error {
	if r.failed == nil {
		r.failed = err
	}
	return err
}
