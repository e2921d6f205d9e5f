package exchange

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"sync"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
)

// errBodyClosed is what a transport gets that reads on after it closed.
var errBodyClosed = errors.New("read request body: it was closed")

// requestBody is a request's data as it comes out of the tunnel. The transport
// reads it until it closes it; then whoever waited for closed may drain it. A
// transport may close while it is in Read (HTTP/2 does): closed waits for that
// Read, because two readers would tear the frames apart.
type requestBody struct {
	data   io.Reader
	empty  bool // the request ended with its head
	fields l7.Fields
	closed chan struct{} // closed when the transport is done with it

	mu      sync.Mutex // guards what follows
	reading bool       // the transport is in Read
	over    bool       // it may not begin another one
	bytes   uint64
	err     error // io.EOF at the request's right end
}

func newRequestBody(in *l7.FrameReader, empty bool) *requestBody {
	b := &requestBody{empty: empty, closed: make(chan struct{})}
	b.data = in.Body(&b.fields)
	if empty {
		b.over, b.err = true, io.EOF
		close(b.closed)
	}
	return b
}

// reader is what the transport gets.
func (b *requestBody) reader() io.ReadCloser {
	if b.empty {
		return http.NoBody
	}
	return b
}

// trailers are complete once Read gave io.EOF. What a workload may not say in
// its head it may not say in its trailers either.
func (b *requestBody) trailers() l7.Fields {
	fields := slices.Clone(b.fields)
	l7.StripIncoming(&fields)
	return fields
}

// Read gives data until the request's end.
func (b *requestBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	if b.over {
		b.mu.Unlock()
		return 0, errBodyClosed
	}
	b.reading = true
	b.mu.Unlock()
	n, err := b.data.Read(p)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.took(n, err)
	if b.reading = false; b.over {
		close(b.closed)
	}
	return n, err
}

// took counts what was read. The caller holds mu.
func (b *requestBody) took(n int, err error) {
	b.bytes += uint64(n)
	if err != nil {
		b.err = err
	}
}

// Close ends the transport's use.
func (b *requestBody) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.over {
		return nil
	}
	if b.over = true; !b.reading {
		close(b.closed)
	}
	return nil
}

// drain reads what nobody wanted, so that both gateways count the same bytes.
// Only after closed.
func (b *requestBody) drain() {
	buf := make([]byte, copyBuffer)
	for b.ended() == nil {
		n, err := b.data.Read(buf)
		b.mu.Lock()
		b.took(n, err)
		b.mu.Unlock()
	}
}

// ended is how the request ended: io.EOF if well; nil if it goes on.
func (b *requestBody) ended() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}

// received is the payload bytes so far.
func (b *requestBody) received() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.bytes
}
