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

// Response writes the answer to one request. Each call is one Write: nothing
// is held back. Continue may be called beside the others; they themselves are
// called from one goroutine.
type Response struct {
	w       io.Writer
	connect bool
	head    bool // of a HEAD request
	closing bool // the answer says that the connection ends

	mu    sync.Mutex // guards begun, and w until the head is written
	begun bool
	owed  bool // 100 Continue, which the caller waits for

	coding coding
	left   int64 // of a counted answer
	over   bool
	failed error
	buf    []byte
}

// NewResponse writes the answer to r on w. With closing it says that the
// connection ends after it. If w has CloseWrite, the end of a CONNECT calls it.
func NewResponse(w io.Writer, r *Request, closing bool) *Response {
	return &Response{w: w, connect: r.Head.Method == "CONNECT", head: r.Head.Method == "HEAD", closing: closing, owed: r.Continue}
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

// Begun says that the head was written or tried.
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

// WriteHead writes the head. Fields of a connection in h are left out. With
// end set there is neither content nor trailers. A head that is not well
// formed is refused whole: fields are not mended.
func (r *Response) WriteHead(h *l7.ResponseHead, end bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.begun {
		return ErrHeadTwo
	}
	r.begun = true
	r.closing = r.closing || r.owed
	if err := h.Check(); err != nil {
		return r.fail(fmt.Errorf("write answer: %w", err))
	}
	b, err := r.appendHead(nil, h, end)
	if err != nil {
		return r.fail(err)
	}
	if _, err := r.w.Write(b); err != nil {
		return r.fail(err)
	}
	if end {
		return r.finish()
	}
	return nil
}

func (r *Response) appendHead(b []byte, h *l7.ResponseHead, end bool) ([]byte, error) {
	fields := append(l7.Fields(nil), h.Fields...)
	l7.StripConnection(&fields)
	if err := r.choose(h.Status, &fields, end); err != nil {
		return nil, err
	}
	reason := http.StatusText(h.Status)
	if reason == "" {
		reason = "Status"
	}
	b = append(b, "HTTP/1.1 "+strconv.Itoa(h.Status)+" "+reason+"\r\n"...)
	for _, f := range fields {
		b = append(append(append(append(b, f.Name...), ": "...), f.Value...), "\r\n"...)
	}
	if r.coding == chunked {
		b = append(b, "transfer-encoding: chunked\r\n"...)
	}
	if r.closing && r.coding != stream {
		b = append(b, "connection: close\r\n"...)
	}
	return append(b, "\r\n"...), nil
}

// choose sets how the content is written (RFC 9112 6.3) and the fields that
// say so.
func (r *Response) choose(status int, fields *l7.Fields, end bool) error {
	length, known, err := fields.ContentLength()
	switch {
	case err != nil:
		return fmt.Errorf("write answer: %w", err)
	case r.connect && status/100 == 2:
		fields.Del("content-length")
		r.coding, r.closing = stream, true
		return nil
	case r.connect:
		r.closing = true // what the caller sent after its CONNECT is not a request
	}
	switch {
	case status == 204:
		fields.Del("content-length")
	case r.head || status == 304:
	case end && length > 0:
		return ErrTooShort
	case end && !known:
		*fields = append(*fields, l7.Field{Name: "content-length", Value: "0"})
	case end:
	case known:
		r.coding, r.left = counted, length
	default:
		r.coding = chunked
	}
	return nil
}

// Write writes content at once. Of an answer that has none by its kind, such
// as to a HEAD, it takes the content and drops it.
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
		return r.writeChunk(p)
	case counted:
		if int64(len(p)) > r.left {
			return 0, r.fail(ErrTooLong)
		}
		r.left -= int64(len(p))
	case stream:
	}
	n, err := r.w.Write(p)
	return n, r.fail(err)
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

// writeChunk joins size, content and CRLF: two writes more would be two TLS
// records and, without TLS, two packets more.
func (r *Response) writeChunk(p []byte) (int, error) {
	for written := 0; ; {
		part := p[written:min(len(p), written+l7.MaxData)]
		b := strconv.AppendInt(r.buf[:0], int64(len(part)), 16)
		b = append(append(append(b, "\r\n"...), part...), "\r\n"...)
		r.buf = b
		if _, err := r.w.Write(b); err != nil {
			return written, r.fail(err)
		}
		if written += len(part); written == len(p) {
			return written, nil
		}
	}
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
		fields := append(l7.Fields(nil), trailers...)
		l7.StripConnection(&fields)
		if err := fields.Check(0); err != nil {
			return r.fail(fmt.Errorf("write trailers: %w", err))
		}
		b := []byte("0\r\n")
		for _, f := range fields {
			if !l7.FramesMessage(f.Name) {
				b = append(append(append(append(b, f.Name...), ": "...), f.Value...), "\r\n"...)
			}
		}
		if _, err := r.w.Write(append(b, "\r\n"...)); err != nil {
			return r.fail(err)
		}
	}
	return r.finish()
}

func (r *Response) finish() error {
	r.over = true
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
