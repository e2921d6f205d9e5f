package coding

import (
	"io"

	"github.com/andybalholm/brotli"
)

func openBrotli(s *source) (io.Reader, error) {
	b := &brotliReader{from: s}
	b.r = brotli.NewReader((*brotliSource)(b))
	return b, nil
}

// brotliReader asks its library before each piece whether the content is whole, and
// gives it none behind the end: there it would read on in the wrong state. It asks
// by an end of the input, which the library forgets. What that says is io.EOF only
// if the content is whole.
type brotliReader struct {
	r     *brotli.Reader
	from  *source
	give  bool  // the next piece is for the library
	asked bool  // it wanted one
	fault error // what it ended with, perhaps
}

func (b *brotliReader) Read(p []byte) (int, error) {
	b.asked = false
	n, err := b.r.Read(p)
	switch {
	case err == io.EOF && b.asked: //nolint:errorlint // the library gives it bare
		return n, io.EOF
	case b.fault != nil:
		return 0, b.fault
	case err == io.ErrUnexpectedEOF && b.from.over(): //nolint:errorlint // as above
		return n, err
	case err == io.ErrUnexpectedEOF: //nolint:errorlint // as above
		b.give = true
	default:
		// The library finds too much where a content ends with some of its input in
		// another buffer. If there is none, it asks for more at once.
		b.fault = err
	}
	return n, nil
}

// brotliSource is what a brotliReader gives its library to read.
type brotliSource brotliReader

func (b *brotliSource) Read(p []byte) (int, error) {
	b.asked = true
	if !b.give {
		return 0, io.EOF
	}
	b.give = false
	return b.from.Read(p)
}
