package admission

import (
	"errors"
	"io"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
)

// piece is how much of a request's content is read at a time, in bytes.
const piece = 32 << 10

// Reader gives the content of a request as it may go on. It is an io.Reader whose error is
// an *Error where the content is refused; nothing is given behind an error.
type Reader struct {
	content Content
	from    io.Reader
	room    []byte
	out     []byte // what may go on now
	err     error  // of from
	ended   bool   // and all of the content was judged
}

// Reader reads the content of a request from r.
func (c *Control) Reader(req *l7.RequestHead, r io.Reader) *Reader {
	return &Reader{content: Content{control: c, coded: req.Fields.Has("content-encoding")}, from: r}
}

// Ready says that Read does not wait, nor will.
func (r *Reader) Ready() bool { return r.err != nil || r.content.err != nil }

// Refused is why the content goes no further, an *Error; nil if it does.
func (r *Reader) Refused() error { return r.content.err }

func (r *Reader) Read(p []byte) (int, error) {
	for len(r.out) == 0 {
		switch {
		case r.content.err != nil:
			return 0, r.content.err
		case r.err == nil:
			r.fill()
		case !errors.Is(r.err, io.EOF) || r.ended:
			return 0, r.err
		default:
			r.ended = true
			r.out, _ = r.content.End(nil) // its error is asked for next
		}
	}
	n := copy(p, r.out)
	r.out = r.out[n:]
	return n, nil
}

// fill reads a piece.
func (r *Reader) fill() {
	if r.room == nil {
		r.room = make([]byte, piece)
	}
	n, err := r.from.Read(r.room)
	r.out, _ = r.content.Pass(r.room[:n]) // as in Read
	r.err = err
}
