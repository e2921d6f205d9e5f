package kserve

import (
	"encoding/binary"
	"errors"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/inspect"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/protoscan"
)

// prefixLength is what is before each message of a gRPC stream: a flag, and the message's
// length (PROTOCOL-HTTP2, Length-Prefixed-Message).
const prefixLength = 5

// frame is the one message of a call that has one.
type frame struct {
	prefix [prefixLength]byte
	got    int    // bytes of it
	left   uint32 // of the message
}

// text is what a piece has of the message.
func (f *frame) text(p []byte) ([]byte, error) {
	if f.got < prefixLength {
		n := copy(f.prefix[f.got:], p)
		f.got, p = f.got+n, p[n:]
		if f.got < prefixLength {
			return nil, nil
		}
		if f.prefix[0] != 0 {
			return nil, inspect.Unreadable("its message is compressed", nil)
		}
		f.left = binary.BigEndian.Uint32(f.prefix[1:])
	}
	if uint64(len(p)) > uint64(f.left) {
		return nil, inspect.Ambiguous("there is more than one message", nil)
	}
	f.left -= uint32(len(p)) //nolint:gosec // at most left
	return p, nil
}

// end says that there is no more.
func (f *frame) end() error {
	if f.got < prefixLength || f.left > 0 {
		return inspect.Unreadable("its message is not whole", nil)
	}
	return nil
}

// faultOf is why a message cannot be understood, as an *inspect.Error.
func faultOf(err error) error {
	if told, ok := errors.AsType[*inspect.Error](err); ok {
		return told
	}
	if errors.Is(err, protoscan.ErrMalformed) {
		return inspect.Ambiguous(err.Error(), err)
	}
	return inspect.Unreadable(err.Error(), err)
}
