package coding

import (
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// Why a content cannot be decoded.
var (
	ErrUnknown   = errors.New("content coding not known")
	ErrMalformed = errors.New("content is not of its coding")
	ErrTruncated = errors.New("encoded content ends too early")
	ErrTrailing  = errors.New("something follows the encoded content")
	ErrTooLong   = errors.New("decoded content is too long")
	ErrBomb      = errors.New("decoded content is too many times longer than encoded")
	ErrWindow    = errors.New("content coding needs too large a window")
	// ErrClosed is that of a Decoder that was closed before its content was whole.
	ErrClosed = errors.New("decoder closed")
)

// why says in this package's terms what a library ended with. Where nothing came at
// all, that is io.EOF.
func why(err error) error {
	switch {
	case errors.Is(err, ErrClosed), errors.Is(err, ErrTrailing), errors.Is(err, ErrMalformed):
		return err
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return ErrTruncated
	case errors.Is(err, zstd.ErrWindowSizeExceeded):
		return ErrWindow
	}
	return fmt.Errorf("%w: %w", ErrMalformed, err)
}
