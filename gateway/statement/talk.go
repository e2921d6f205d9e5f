package statement

import (
	"io"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// WriteTalk writes one message of an exchange: its length, four bytes big-endian,
// and its encoding, in one Write.
func WriteTalk(w io.Writer, t *crossingv1.Talk) error { panic("to come") }

// ReadTalk reads one. It refuses more than MaxTalk bytes, and what has fields that
// are not known or says not exactly one thing. The end of the stream before the
// first byte is io.EOF.
func ReadTalk(r io.Reader) (*crossingv1.Talk, error) { panic("to come") }
