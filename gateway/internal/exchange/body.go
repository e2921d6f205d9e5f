package exchange

import (
	"io"
	"slices"
	"sync/atomic"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/upstream"
)

// requestBody is a request's data as it comes out of the tunnel. Upstream reads
// it until its Wait returns; then it may be drained.
type requestBody struct {
	in     *l7.FrameReader
	fields l7.Fields
	bytes  uint64
	err    error // io.EOF at the request's right end; nil if it goes on
	limits *Limits
	watch  *watch
	excess atomic.Bool // upstream was told that there is too much
}

// begin is for the request whose head was just read.
func (b *requestBody) begin(in *l7.FrameReader, empty bool, l *Limits, w *watch) {
	*b = requestBody{in: in, limits: l, watch: w}
	if empty {
		b.err = io.EOF
	}
}

var _ upstream.Content = (*requestBody)(nil)

// content is what upstream gets: nil if the request ended with its head.
func (b *requestBody) content() upstream.Content {
	if b.err != nil {
		return nil
	}
	return b
}

// Read gives data until the request's end, unless there is too much.
func (b *requestBody) Read(p []byte) (int, error) {
	n, err := b.take(p)
	if b.limits.exceeds(b.bytes) {
		b.excess.Store(true)
		return 0, errTooLarge
	}
	b.watch.passed()
	return n, err
}

// take is Read without a limit.
func (b *requestBody) take(p []byte) (int, error) {
	n, err := b.in.ReadData(p, &b.fields)
	b.bytes += uint64(n)
	if err != nil {
		b.err = err
	}
	return n, err
}

// tooLarge says that the destination was not given the rest because it was too
// much. It may be asked while upstream reads.
func (b *requestBody) tooLarge() bool { return b.excess.Load() }

// Ready says that the request has come to its end, as far as the stream can tell.
func (b *requestBody) Ready() bool { return b.err != nil || b.in.Ready() }

// Trailers are complete once Read gave io.EOF. What a workload may not say in
// its head it may not say in its trailers either.
func (b *requestBody) Trailers() l7.Fields {
	fields := slices.Clone(b.fields)
	l7.StripIncoming(&fields)
	return fields
}

// drain reads what nobody wanted, so that both gateways count the same bytes.
func (b *requestBody) drain() {
	if b.err != nil {
		return
	}
	buf := make([]byte, copyBuffer)
	for b.err == nil {
		b.take(buf) //nolint:errcheck // it is in b.err
	}
}

// received is the payload bytes so far.
func (b *requestBody) received() uint64 { return b.bytes }
