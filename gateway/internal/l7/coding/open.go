package coding

import (
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"
)

// open begins to read a content of one coding. It may wait for its start.
type open func(*source) (io.Reader, error)

// opener is the one for a coding by its name in lower case; nil if there is nothing
// to undo.
func opener(name string) (open, error) {
	switch name {
	case "", "identity":
		return nil, nil
	case "gzip", "x-gzip":
		return openGzip, nil
	case "deflate":
		return openZlib, nil
	case "br":
		return openBrotli, nil
	case "zstd":
		return openZstd, nil
	}
	return nil, fmt.Errorf("%w: %.32q", ErrUnknown, name)
}

func openGzip(s *source) (io.Reader, error) {
	r, err := gzip.NewReader(s)
	if err != nil {
		return nil, err
	}
	r.Multistream(false)
	return r, nil
}

// openZlib reads what RFC 9110 calls deflate. Some senders leave zlib's frame off,
// and not all readers mind: here that is no deflate.
func openZlib(s *source) (io.Reader, error) { return zlib.NewReader(s) }

func openZstd(s *source) (io.Reader, error) {
	f := &frame{from: s, want: frameStart}
	r, err := zstd.NewReader(f,
		zstd.WithDecoderConcurrency(1), // in the caller's goroutine
		zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(MaxWindow))
	if err != nil {
		return nil, err
	}
	return &zstdReader{r, f}, nil
}

// zstdReader holds that there was a frame, and all of it: to its library, nothing
// is a content too.
type zstdReader struct {
	r *zstd.Decoder
	f *frame
}

func (z *zstdReader) Read(p []byte) (int, error) {
	n, err := z.r.Read(p)
	if err == io.EOF && !z.f.ended() { //nolint:errorlint // the library gives it bare
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

func (z *zstdReader) Close() error {
	z.r.Close()
	return nil
}
