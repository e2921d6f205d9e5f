package http1

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"math"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
)

// Body reads the content of one request or answer, decoded from chunked coding.
// At its end it gives io.EOF and the trailers are complete. A cut-off body is
// io.ErrUnexpectedEOF, one that is not well formed an *Error; either stays.
type Body struct {
	br         *bufio.Reader
	trailers   *l7.Fields
	chunked    bool
	untilClose bool
	left       int64 // of the content, or of the chunk
	started    bool  // a chunk was read: CRLF stands before the next
	extensions int   // bytes of chunk extensions so far
	err        error // what every further Read returns
}

// NewBody reads the content of the length, in bytes or Chunked or UntilClose,
// that follows a head in br. trailers takes the trailers of a chunked body.
func NewBody(br *bufio.Reader, length int64, trailers *l7.Fields) *Body {
	b := new(Body)
	b.Reset(br, length, trailers)
	return b
}

// Reset makes it read another content, as NewBody does.
func (b *Body) Reset(br *bufio.Reader, length int64, trailers *l7.Fields) {
	*b = Body{br: br, trailers: trailers, left: length}
	switch length {
	case Chunked:
		b.chunked, b.left = true, 0
	case UntilClose:
		b.untilClose, b.left = true, math.MaxInt64
	case 0:
		b.err = io.EOF
	}
}

// Done says that the body was read to its end, so that the next request's head
// is what follows.
func (b *Body) Done() bool { return errors.Is(b.err, io.EOF) }

// Read reads content. An error of the reader underneath, such as a deadline's,
// does not stay: reading may be tried again.
func (b *Body) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	if b.left == 0 {
		if err := b.nextChunk(); err != nil {
			return 0, b.keep(err)
		}
	}
	if int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.br.Read(p)
	b.left -= int64(n)
	if b.left == 0 && !b.chunked {
		b.err = io.EOF
		return n, io.EOF
	}
	if n > 0 || err == nil {
		return n, nil
	}
	if !b.untilClose {
		err = cutOff(err)
	}
	return 0, b.keep(err)
}

// Ready says that all the rest has come, its end too: reading it does not block.
func (b *Body) Ready() bool {
	switch {
	case b.err != nil:
		return true
	case !b.chunked:
		return b.left <= int64(b.br.Buffered())
	}
	rest, _ := b.br.Peek(b.br.Buffered())
	if b.left >= int64(len(rest)) {
		return false
	}
	rest = rest[b.left:]
	for started := b.started; ; started = true {
		if started {
			var whole bool
			if rest, whole = bytes.CutPrefix(rest, []byte("\r\n")); !whole {
				return false
			}
		}
		line, after, whole := bytes.Cut(rest, []byte("\r\n"))
		size, _, err := parseChunkLine(line)
		switch {
		case !whole || err != nil:
			return false
		case size == 0:
			return bytes.HasPrefix(after, []byte("\r\n")) || bytes.Contains(after, []byte("\r\n\r\n"))
		case size >= int64(len(after)):
			return false
		}
		rest = after[size:]
	}
}

// keep remembers the errors after which nothing can be read.
func (b *Body) keep(err error) error {
	var refused *Error
	if errors.As(err, &refused) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		b.err = err
	}
	return err
}

func cutOff(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// nextChunk reads up to the next chunk's content. It gives io.EOF after the
// last chunk and its trailers. A line is taken out of br only when it is
// there as a whole, so that an interrupted read can be tried again.
func (b *Body) nextChunk() error {
	if b.started {
		end, err := b.br.Peek(2)
		if err != nil {
			return cutOff(err)
		}
		if string(end) != "\r\n" {
			return malformed("a chunk is not followed by CRLF")
		}
		_, _ = b.br.Discard(2)
		b.started = false
	}
	line, err := peekLine(b.br, maxChunkLine)
	if err != nil {
		return err
	}
	size, extension, err := parseChunkLine(line[:len(line)-2])
	if err != nil {
		return err
	}
	if b.extensions += extension; b.extensions > maxExtensions {
		return tooLarge(413, "chunk extensions of more than %d bytes", maxExtensions)
	}
	if size == 0 {
		return b.lastChunk(len(line))
	}
	_, _ = b.br.Discard(len(line))
	b.left, b.started = size, true
	return nil
}

// lastChunk reads the trailers after the last chunk's line of skip bytes.
func (b *Body) lastChunk(skip int) error {
	var rows []byte
	for n := 0; ; n++ {
		_, _ = b.br.Discard(skip)
		line, err := peekLine(b.br, maxChunkLine)
		if err != nil {
			// What was taken is lost to another try: make the error stay.
			b.err = err
			return err
		}
		skip = len(line)
		if skip == 2 {
			break
		}
		rows = append(rows, line...)
		if len(rows) > maxTrailers || n >= maxTrailerRows {
			return tooLarge(431, "trailers of more than %d bytes or %d fields", maxTrailers, maxTrailerRows)
		}
	}
	_, _ = b.br.Discard(skip)
	return b.takeTrailers(rows)
}

// takeTrailers gives io.EOF if they are well formed.
func (b *Body) takeTrailers(rows []byte) error {
	if err := checkRows(rows); err != nil {
		return err
	}
	fields := (*b.trailers)[:0]
	for text := string(rows); text != ""; {
		var f l7.Field
		f, text = cutRow(text)
		fields = append(fields, f)
	}
	if err := l7.StripTrailers(&fields); err != nil {
		return malformed("%v", err)
	}
	*b.trailers = fields
	return io.EOF
}

// peekLine looks at the next line with its CRLF without taking it.
func peekLine(br *bufio.Reader, limit int) ([]byte, error) {
	for want := 2; want <= limit; {
		buf, err := br.Peek(want)
		for i, c := range buf {
			switch {
			case c == '\n' && i > 0 && buf[i-1] == '\r':
				return buf[:i+1], nil
			case c == '\n' || i > 0 && buf[i-1] == '\r':
				return nil, malformed("a line between chunks does not end in CRLF")
			}
		}
		if err != nil {
			return nil, cutOff(err)
		}
		want = max(len(buf)+1, min(br.Buffered(), limit))
	}
	return nil, tooLarge(413, "a line between chunks of more than %d bytes", limit)
}

// parseChunkLine reads HEX[;EXTENSION]. The extension is dropped; its length
// counts against a bound.
func parseChunkLine(line []byte) (size int64, extension int, err error) {
	digits := 0
	for ; digits < len(line); digits++ {
		v, ok := hexValue(line[digits])
		if !ok {
			break
		}
		if digits == 16 || size >= 1<<59 {
			return 0, 0, malformed("chunk size of more than 16 digits or 63 bits")
		}
		size = size<<4 | v
	}
	if digits == 0 {
		return 0, 0, malformed("a chunk has no size in hex digits")
	}
	rest := line[digits:]
	if len(rest) > 0 && (rest[0] != ';' || !l7.ValidText(rest)) {
		return 0, 0, malformed("%.20q after a chunk's size", rest)
	}
	return size, len(rest), nil
}

func hexValue(c byte) (int64, bool) {
	switch {
	case '0' <= c && c <= '9':
		return int64(c - '0'), true
	case 'a' <= c && c <= 'f':
		return int64(c-'a') + 10, true
	case 'A' <= c && c <= 'F':
		return int64(c-'A') + 10, true
	}
	return 0, false
}
