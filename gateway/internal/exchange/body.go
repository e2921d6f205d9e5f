package exchange

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/pace"
	"github.com/sallyport-mesh/sallyport/gateway/internal/transfer/digest"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	"github.com/sallyport-mesh/sallyport/gateway/internal/upstream"
	"github.com/sallyport-mesh/sallyport/gateway/internal/waiting"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// requestBody is a request's data as it comes out of the tunnel. Upstream reads
// it until its Wait returns; then it may be drained.
type requestBody struct {
	in     *l7.FrameReader
	fields l7.Fields
	up     *digest.Movement // nil if it carries no object
	count  *tunnel.Count
	empty  bool  // it ended with its head
	err    error // io.EOF at the request's right end; nil if it goes on
	limits *Limits
	watch  *pace.Watch
	flow   *pace.Flow           // nil while what is read goes nowhere
	why    atomic.Pointer[halt] // upstream was not given the rest; nil if it was
}

// halt is why a gateway does not go on with a request.
type halt struct {
	reason crossingv1.Reason
	detail string
}

// begin is for the request whose head was just read.
func (b *requestBody) begin(in *l7.FrameReader, empty bool, l *Limits, w *pace.Watch, up *digest.Movement, c *tunnel.Count) {
	*b = requestBody{in: in, limits: l, watch: w, up: up, count: c, empty: empty}
	if empty {
		b.err = io.EOF
	}
}

var _ upstream.Content = (*requestBody)(nil)

// content is what upstream gets: nil if the request ended with its head.
func (b *requestBody) content() upstream.Content {
	if b.empty {
		return nil
	}
	return b
}

// reader reads it; of one that ended with its head there is nothing to read.
func (b *requestBody) reader() io.Reader {
	if b.empty {
		return http.NoBody
	}
	return b
}

// Read gives data until the request's end, unless there is too much, or more than there is
// room for in its caller's budget.
func (b *requestBody) Read(p []byte) (int, error) {
	n, err := b.take(p)
	if b.limits.exceeds(b.count.Received.Load()) {
		b.halt(crossingv1.Reason_TOO_LARGE, "")
		return 0, errTooLarge
	}
	b.watch.Passed()
	allowed, none := b.flow.Pass(n)
	if none == nil {
		return n, err
	}
	if errors.Is(none, pace.ErrOverBudget) {
		b.halt(crossingv1.Reason_OVER_BUDGET, "")
	}
	return allowed, none
}

// take is Read without a limit.
func (b *requestBody) take(p []byte) (int, error) {
	n, err := b.in.ReadData(p, &b.fields)
	b.count.Received.Add(uint64(n))
	b.up.Pass(p[:n])
	if err != nil {
		b.err = err
	}
	if b.up != nil && errors.Is(err, io.EOF) {
		b.up.Finish(b.fields)
	}
	return n, err
}

// halt says why the destination is not given the rest. Only the first call counts.
func (b *requestBody) halt(reason crossingv1.Reason, detail string) {
	b.why.CompareAndSwap(nil, &halt{reason, detail})
}

// halted is why the destination was not given the rest; nil if it was, or if that
// is not this gateway's doing. It may be asked while upstream reads.
func (b *requestBody) halted() *halt { return b.why.Load() }

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

// discard reads what the peer still sends, so that it is not left waiting. Afterwards
// nothing of it touches the stream any more.
func discard(s tunnel.Stream) {
	late := make(chan struct{})
	timer := time.AfterFunc(waiting.PeerPatience, func() {
		defer close(late)
		s.Reset(tunnel.Refused)
	})
	io.Copy(io.Discard, s) //nolint:errcheck // the stream has been answered; its end is all we wait for
	if !timer.Stop() {
		<-late
	}
}
