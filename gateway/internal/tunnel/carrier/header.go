package carrier

import (
	"fmt"
	"sync"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/mux"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// AppendHeader appends a crossing's header as a stream begins with it. It fails if
// that is more than mux.MaxHeader bytes, and has then appended nothing.
func AppendHeader(b []byte, h *crossingv1.Header) ([]byte, error) {
	longer, err := crossing.AppendHeader(b, h)
	if err != nil {
		return b, err
	}
	if n := len(longer) - len(b); n > mux.MaxHeader {
		return b, fmt.Errorf("encode the header of crossing %.64q: %d bytes, the limit is %d", h.GetId(), n, mux.MaxHeader)
	}
	return longer, nil
}

// DecodeHeader reads what AppendHeader wrote at the beginning of a stream, and
// keeps nothing of it. The error is a *mux.FaultError.
func DecodeHeader(stream uint32, b []byte) (*crossingv1.Header, error) {
	h, err := crossing.UnmarshalHeader(b)
	if err != nil {
		return nil, &mux.FaultError{Reason: mux.BadHeader, Type: mux.Open, Stream: stream}
	}
	return h, nil
}

// Buffer holds a usual header. It comes from NewBuffer, and is used again after Free.
type Buffer struct{ B []byte }

var buffers = sync.Pool{New: func() any { return &Buffer{B: make([]byte, 0, 1<<10)} }}

// NewBuffer gives an empty buffer.
func NewBuffer() *Buffer { return buffers.Get().(*Buffer) }

// Free gives the buffer back: who had it uses it no more.
func (b *Buffer) Free() {
	b.B = b.B[:0]
	buffers.Put(b)
}
