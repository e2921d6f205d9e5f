// Package coding undoes content codings (RFC 9110, section 8.4.1) for who reads
// along while a content streams by. The content itself goes on as it came.
//
// One invariant: what a Decoder hands on and calls whole, every reader of that
// coding finds in the same bytes. Where readers differ it fails: they differ on
// what follows the first member of a gzip content, which Go, Java and Node.js take
// for more of it and Python's zlib and browsers drop, and likewise on what follows
// the first frame of a zstd content. HTTP servers send one.
package coding

import (
	"fmt"
	"io"
	"iter"
	"strings"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
)

// Bounds of what is undone, beside that on the content decoded.
const (
	// MaxRatio is how many times longer than what came a content may get, beyond its
	// first Slack bytes. JSON of long repetitive texts is below 100, deflate ends at
	// 1032, and others have no end.
	MaxRatio = 200
	Slack    = 1 << 20
	// MaxWindow is how far back a zstd content may reach (RFC 9659). That of br ends at
	// 16 MiB, and the others' at 32 KiB.
	MaxWindow = 8 << 20

	pieceSize = 4 << 10 // the longest piece that is handed on
)

// Of is the coding that a head says its content has, of all its fields.
func Of(fields l7.Fields) string {
	var all []string
	for i := range fields {
		if fields[i].Name == "content-encoding" {
			all = append(all, fields[i].Value)
		}
	}
	return strings.Join(all, ", ")
}

// Decoder undoes one content's coding. It is an io.Writer that takes what came;
// its errors are final. It is not safe for concurrent use.
//
// A Decoder holds what its library does: of gzip and deflate 50 KiB; of br 70 KiB
// and a window that grows with the content, to at most 16 MiB; of zstd 30 KiB and
// one and a half times such a window, which is at most 8 MiB.
type Decoder struct {
	to    io.Writer
	most  int64
	out   int64 // bytes handed on
	from  source
	whole bool // the content has ended, where its coding says so itself
	err   error

	// The libraries pull. They do so in a coroutine that runs only while one of these
	// is called, and ends with the content, with an error or with Close.
	resume func() (struct{}, bool)
	stop   func()
}

// New makes a decoder that hands a content of that coding, decoded, to a writer:
// of each Write all that can be decoded so far, in that call. What is longer than
// most is an error. It is nil for a content that has no coding: then there is
// nothing to undo. Several codings, and unknown ones, are ErrUnknown.
//
// Whoever makes one must Close it.
func New(encoding string, to io.Writer, most int64) (*Decoder, error) {
	open, err := opener(strings.ToLower(strings.Trim(encoding, " \t")))
	if err != nil || open == nil {
		return nil, err
	}
	d := &Decoder{to: to, most: most}
	d.resume, d.stop = iter.Pull(func(wait func(struct{}) bool) {
		d.from.wait = func() bool { return wait(struct{}{}) }
		d.err = d.decode(open)
		d.whole = d.err == nil
	})
	return d, nil
}

var _ io.WriteCloser = (*Decoder)(nil)

// Write takes a piece of the content as it came. Its error is one of this package,
// or the writer's as it is.
func (d *Decoder) Write(p []byte) (int, error) {
	if d.err != nil || len(p) == 0 {
		return 0, d.err
	}
	d.from.in = p
	if !d.whole {
		d.resume()
	}
	left := len(d.from.in)
	d.from.in = nil
	if d.whole && left > 0 {
		d.err = ErrTrailing
	}
	return len(p) - left, d.err
}

// End says that the content has ended as it came. What is not whole is an error.
func (d *Decoder) End() error {
	if d.err == nil && !d.whole {
		d.from.ended = true
		d.resume()
	}
	return d.err
}

// Close ends the decoder, wherever it is. It may be called more than once.
func (d *Decoder) Close() error {
	d.stop()
	if d.err == nil {
		d.err = ErrClosed
	}
	return nil
}

// decode is the coroutine: it pulls until there is no more.
func (d *Decoder) decode(open open) error {
	r, err := begin(open, &d.from)
	if err != nil {
		return why(err)
	}
	if c, ok := r.(io.Closer); ok {
		defer c.Close()
	}
	piece := make([]byte, pieceSize)
	for {
		n, err := pull(r, piece)
		if err := d.hand(piece[:n]); err != nil {
			return err
		}
		if err == io.EOF { //nolint:errorlint // the libraries give it bare
			return nil
		}
		if err != nil {
			return why(err)
		}
	}
}

func begin(open open, from *source) (r io.Reader, err error) {
	defer caught(&err)
	return open(from)
}

func pull(r io.Reader, p []byte) (n int, err error) {
	defer caught(&err)
	return r.Read(p)
}

// caught makes an error of a panic of a library. It has been made to panic before
// by a content, and one content must not end a gateway.
func caught(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("%w: %v", ErrMalformed, p)
	}
}

// hand gives a decoded piece on, within the bounds.
func (d *Decoder) hand(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	d.out += int64(len(p))
	if d.out > d.most {
		return ErrTooLong
	}
	if (d.out-Slack)/MaxRatio > d.from.taken {
		return ErrBomb
	}
	_, err := d.to.Write(p)
	return err
}
