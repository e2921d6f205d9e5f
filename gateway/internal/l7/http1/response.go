package http1

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
)

// Errors of a Response that is used against its rules.
var (
	ErrNoHead   = errors.New("answer has no head yet")
	ErrHeadTwo  = errors.New("answer has its head already")
	ErrOver     = errors.New("answer is over")
	ErrTooLong  = errors.New("answer is longer than its content-length")
	ErrTooShort = errors.New("answer is shorter than its content-length")
)

// coding is how the content of an answer is written.
type coding int

const (
	none    coding = iota // there is none: HEAD, 204, 304, or the head was all
	counted               // content-length
	chunked
	stream // raw bytes after a CONNECT was accepted
)

// Response writes the answer to one request. The head is held until there is
// more, or until Flush; all else goes out with the call that gives it, in one
// Write. Continue may be called beside the others; they themselves are called
// from one goroutine.
type Response struct {
	w       io.Writer
	connect bool
	head    bool // of a HEAD request
	closing bool // the answer says that the connection ends

	mu    sync.Mutex // guards begun, and w until the head is given
	begun bool
	owed  bool // 100 Continue, which the caller waits for

	coding coding
	left   int64 // of a counted answer
	over   bool
	failed error
	held   []byte // not written yet
}

// NewResponse writes the answer to r on w. With closing it says that the
// connection ends after it. If w has CloseWrite, the end of a CONNECT calls it.
func NewResponse(w io.Writer, r *Request, closing bool) *Response {
	resp := new(Response)
	resp.Reset(w, r, closing)
	return resp
}

// Reset makes it write another answer, as NewResponse does. Nobody may be using
// it for the one before.
func (r *Response) Reset(w io.Writer, req *Request, closing bool) {
	*r = Response{
		w: w, connect: req.Head.Method == "CONNECT", head: req.Head.Method == "HEAD",
		closing: closing, owed: req.Continue, held: r.held[:0],
	}
}

// Continue sends 100 Continue if the caller waits for it and the answer has
// not begun. An answer without it ends the connection: nobody knows whether the
// content comes.
func (r *Response) Continue() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.begun || !r.owed {
		return nil
	}
	r.owed = false
	_, err := io.WriteString(r.w, "HTTP/1.1 100 Continue\r\n\r\n")
	return err
}

// Begun says that the head was given.
func (r *Response) Begun() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.begun
}

// Whole says that the answer was written to its end without an error.
func (r *Response) Whole() bool { return r.over && r.failed == nil }

// Closing says that the connection ends after the answer.
func (r *Response) Closing() bool { return r.closing }

// Raw says that the answer has accepted a CONNECT: what follows are raw bytes.
func (r *Response) Raw() bool { return r.coding == stream }

// WriteHead takes the head, and holds it: it goes out with the first content,
// with the end, or by Flush. That of an accepted CONNECT goes out at once: both
// ends may wait for the other to speak. Fields of a connection in h are left
// out. With end set there is neither content nor trailers, and the answer is
// over. A head that is not well formed is refused whole: fields are not mended.
func (r *Response) WriteHead(h *l7.ResponseHead, end bool) error {
	if r.begin() {
		return ErrHeadTwo
	}
	if err := h.Check(); err != nil {
		return r.fail(fmt.Errorf("write answer: %w", err))
	}
	if err := r.holdHead(h, end); err != nil {
		return r.fail(err)
	}
	switch {
	case end:
		return r.finish()
	case r.coding == stream:
		return r.Flush()
	}
	return nil
}

// begin keeps 100 Continue from going out, and says whether it was called before.
func (r *Response) begin() (again bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if again = r.begun; !again {
		r.begun, r.closing = true, r.closing || r.owed
	}
	return again
}

func (r *Response) holdHead(h *l7.ResponseHead, end bool) error {
	length, err := r.choose(h, end)
	if err != nil {
		return err
	}
	b := append(r.held[:0], "HTTP/1.1 "...)
	b = append(strconv.AppendInt(b, int64(h.Status), 10), ' ')
	b = append(append(b, reason(h.Status)...), "\r\n"...)
	ends := h.Fields.Connection()
	for _, f := range h.Fields {
		if !ends.Owns(f.Name) && (f.Name != "content-length" || length == stated) {
			b = appendField(b, f)
		}
	}
	if length == zero {
		b = append(b, "content-length: 0\r\n"...)
	}
	if r.coding == chunked {
		b = append(b, "transfer-encoding: chunked\r\n"...)
	}
	if r.closing && r.coding != stream {
		b = append(b, "connection: close\r\n"...)
	}
	r.held = append(b, "\r\n"...)
	return nil
}

func reason(status int) string {
	if text := http.StatusText(status); text != "" {
		return text
	}
	return "Status"
}

func appendField(b []byte, f l7.Field) []byte {
	return append(append(append(append(b, f.Name...), ": "...), f.Value...), "\r\n"...)
}

// stating is which content-length goes out.
type stating int

const (
	stated stating = iota // the head's own, if it has one
	dropped
	zero
)

// choose sets how the content is written (RFC 9112 6.3), and says what the head
// has to tell of it.
func (r *Response) choose(h *l7.ResponseHead, end bool) (stating, error) {
	length, known, err := h.Fields.ContentLength()
	switch {
	case err != nil:
		return 0, fmt.Errorf("write answer: %w", err)
	case r.connect && h.Status/100 == 2:
		r.coding, r.closing = stream, true
		return dropped, nil
	case r.connect:
		r.closing = true // what the caller sent after its CONNECT is not a request
	}
	switch {
	case h.Status == 204:
		return dropped, nil
	case r.head || h.Status == 304:
	case end && length > 0:
		return 0, ErrTooShort
	case end && !known:
		return zero, nil
	case end:
	case known:
		r.coding, r.left = counted, length
	default:
		r.coding = chunked
	}
	return stated, nil
}

// Write writes content at once, and what was held before it. Of an answer that
// has none by its kind, such as to a HEAD, it takes the content and drops it.
func (r *Response) Write(p []byte) (int, error) {
	if err := r.writable(); err != nil {
		return 0, err
	}
	if len(p) == 0 {
		return 0, nil
	}
	switch r.coding {
	case none:
		return len(p), nil
	case chunked:
		return r.writeChunks(p)
	case counted:
		if int64(len(p)) > r.left {
			return 0, r.fail(ErrTooLong)
		}
		r.left -= int64(len(p))
	case stream:
	}
	if len(r.held) == 0 {
		n, err := r.w.Write(p)
		return n, r.fail(err)
	}
	first := min(len(p), l7.MaxData)
	r.held = append(r.held, p[:first]...)
	if err := r.Flush(); err != nil || first == len(p) {
		return first, err
	}
	n, err := r.w.Write(p[first:])
	return first + n, r.fail(err)
}

// Flush writes what is held.
func (r *Response) Flush() error {
	if r.failed != nil {
		return r.failed
	}
	if len(r.held) == 0 {
		return nil
	}
	_, err := r.w.Write(r.held)
	r.held = r.held[:0]
	return r.fail(err)
}

func (r *Response) writable() error {
	switch {
	case r.failed != nil:
		return r.failed
	case r.over:
		return ErrOver
	case !r.Begun():
		return ErrNoHead
	}
	return nil
}

// writeChunks joins size, content and CRLF: two writes more would be two TLS
// records and, without TLS, two packets more.
func (r *Response) writeChunks(p []byte) (int, error) {
	for written := 0; ; {
		part := p[written:min(len(p), written+l7.MaxData)]
		r.held = appendChunk(r.held, part)
		if err := r.Flush(); err != nil {
			return written, err
		}
		if written += len(part); written == len(p) {
			return written, nil
		}
	}
}

func appendChunk(b, content []byte) []byte {
	b = append(strconv.AppendInt(b, int64(len(content)), 16), "\r\n"...)
	return append(append(b, content...), "\r\n"...)
}

// End ends the answer. Trailers are written where it is chunked; HTTP/1.1 has
// no place for them elsewhere.
func (r *Response) End(trailers l7.Fields) error {
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
	return r.finish()
}

// appendLastChunk ends chunked content. What frames a message is no trailer.
func appendLastChunk(b []byte, trailers l7.Fields) []byte {
	b = append(b, "0\r\n"...)
	ends := trailers.Connection()
	for _, f := range trailers {
		if !ends.Owns(f.Name) && !l7.FramesMessage(f.Name) {
			b = appendField(b, f)
		}
	}
	return append(b, "\r\n"...)
}

func (r *Response) finish() error {
	r.over = true
	if err := r.Flush(); err != nil {
		return err
	}
	if half, ok := r.w.(interface{ CloseWrite() error }); ok && r.coding == stream {
		return r.fail(half.CloseWrite())
	}
	return nil
}

// fail keeps the first error: after it the connection cannot go on.
func (r *Response) fail(err error) error {
	if r.failed == nil {
		r.failed = err
	}
	return err
}

// Abort makes the answer fail, whatever was written of it. The caller closes
// the connection, which a reader sees as an answer cut off.
func (r *Response) Abort() {
	if !r.over {
		_ = r.fail(ErrOver)
	}
}
