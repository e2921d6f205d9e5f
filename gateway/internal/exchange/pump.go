package exchange

import (
	"errors"
	"io"
	"net/http"
	"sync"

	"github.com/sallyport-mesh/sallyport/gateway/internal/hold"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/http1"
	"github.com/sallyport-mesh/sallyport/gateway/internal/listener"
	"github.com/sallyport-mesh/sallyport/gateway/internal/pace"
	"github.com/sallyport-mesh/sallyport/gateway/internal/seal"
	"github.com/sallyport-mesh/sallyport/gateway/internal/transfer/digest"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// pump sends a request into the tunnel while its answer may already come. An
// answer that ends first stops it, so that both gateways count the same bytes:
// those that were sent into the tunnel.
type pump struct {
	req    *listener.Request
	frames l7.FrameWriter
	stream tunnel.Stream
	limits *Limits
	watch  *pace.Watch
	kept   *seal.Content    // nil if nothing is kept of it
	up     *digest.Movement // nil if the request carries no object
	flow   *pace.Flow       // nil if no budget counts its bytes
	count  *tunnel.Count    // of what was sent

	mu      sync.Mutex // held while a frame is being sent
	stopped bool
	gone    bool              // the caller broke off
	refused crossingv1.Reason // why the caller's content is none, if it is not well formed
	excess  bool              // it is too much
}

// begin is for another request, whose stream was just opened.
func (p *pump) begin(s tunnel.Stream, req *listener.Request, l *Limits, w *pace.Watch, c *tunnel.Count) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.req, p.stream, p.limits, p.watch, p.up, p.count = req, s, l, w, nil, c
	p.flow = nil
	p.frames.Reset(s)
	p.kept = nil
	p.stopped, p.gone, p.refused, p.excess = false, false, 0, false
}

// sentFirst is how much of a request is sent before anybody looks for its answer, in
// bytes: it fits into the window of a stream that was just opened.
const sentFirst = 64 << 10

// ready says that the whole request is at hand, and that nothing holds it up.
func (p *pump) ready() bool {
	if p.req.Body == http.NoBody {
		return true
	}
	b, ok := p.req.Body.(interface {
		Ready() bool
		Buffered() int
	})
	return ok && b.Ready() && b.Buffered() <= sentFirst
}

// run sends head, data and trailers, then ends this direction. One that is ready
// goes out as a whole.
func (p *pump) run(head *l7.RequestHead, ready bool) {
	empty := p.req.Body == http.NoBody
	if ready {
		p.frames.Hold()
	}
	if !p.send(func() error { return p.frames.RequestHead(head, empty) }) {
		return
	}
	if empty {
		p.send(p.end)
		return
	}
	room := copyBuffers.Get().(*[]byte)
	defer copyBuffers.Put(room)
	for buf := *room; ; {
		n, err := p.req.Body.Read(buf)
		if n > 0 && !p.sendData(buf[:n]) {
			return
		}
		if err == io.EOF {
			p.send(p.trailers)
			return
		}
		if err != nil {
			p.broken(err)
			return
		}
	}
}

// send does f unless the pump was stopped, and says whether to go on. What
// cannot be sent breaks the stream off: the peer gateway must not wait for it.
func (p *pump) send(f func() error) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped {
		return false
	}
	if f() != nil {
		p.stopped = true
		code := tunnel.ProtocolError
		if p.excess || p.refused == crossingv1.Reason_NOT_RECORDED {
			p.frames.Flush() //nolint:errcheck // as in broken
			code = tunnel.Refused
		} else if _, lost := p.stream.Write(nil); lost != nil {
			return false // what came of the answer before is still to be read
		}
		p.stream.Reset(code)
		return false
	}
	return true
}

// sendData sends what there is room for in the caller's budget. Nobody who stops the pump
// waits for that room.
func (p *pump) sendData(b []byte) bool {
	n, none := p.flow.Pass(len(b))
	if n > 0 && !p.send(func() error { return p.data(b[:n]) }) {
		return false
	}
	if none != nil {
		p.broken(none)
	}
	return none == nil
}

func (p *pump) data(b []byte) error {
	if p.limits.exceeds(p.count.Sent.Load() + uint64(len(b))) {
		p.excess = true
		return errTooLarge
	}
	if err := p.kept.Request(b); err != nil {
		p.refused = crossingv1.Reason_NOT_RECORDED
		return err
	}
	p.watch.Passed()
	p.count.Sent.Add(uint64(len(b)))
	p.up.Pass(b)
	return p.frames.Data(b)
}

// trailers sends the trailers, if any, which end this direction.
func (p *pump) trailers() error {
	var fields l7.Fields
	if p.req.Trailers != nil {
		fields = *p.req.Trailers
		l7.StripIncoming(&fields)
	}
	p.up.Finish(fields)
	if err := p.frames.Trailers(fields); err != nil {
		return err
	}
	return p.end()
}

// end ends the direction of a request that was sent as a whole, with what is held
// of it.
func (p *pump) end() error {
	p.stopped = true
	_, err := tunnel.Finish(p.stream, p.frames.Take())
	return err
}

// broken ends both directions: the caller broke off in the middle of its
// request, or went on with what is no content, and the destination must not
// take it for whole.
func (p *pump) broken(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped {
		return
	}
	p.stopped = true
	p.frames.Flush() //nolint:errcheck // the peer records what was asked; if it is lost, so is the stream
	if pace.Deny(p.stream, err) {
		p.refused = crossingv1.Reason_OVER_BUDGET
		return
	}
	if refused, ok := errors.AsType[*http1.Error](err); ok {
		p.refused = refused.Reason
		p.stream.Reset(tunnel.ProtocolError)
		return
	}
	if reason := hold.ReasonOf(err); reason != crossingv1.Reason_REASON_UNSPECIFIED {
		p.refused = reason
		p.stream.Reset(tunnel.Refused)
		return
	}
	p.gone = true
	p.stream.Reset(tunnel.CallerGone)
}

// stop ends this direction, wherever it is. Nothing is sent afterwards.
func (p *pump) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.stopped {
		p.stopped = true
		p.stream.CloseWrite() //nolint:errcheck // a stream that is lost has ended already
	}
}

// blame tells a stream that this gateway reset because of the caller from one
// that was lost. The reason is why the caller's content was refused, if it was.
func (p *pump) blame(cause crossingv1.Cause) (crossingv1.Cause, crossingv1.Reason) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.gone:
		return crossingv1.Cause_CALLER_GONE, crossingv1.Reason_REASON_UNSPECIFIED
	case p.excess:
		return crossingv1.Cause_REFUSED, crossingv1.Reason_TOO_LARGE
	case p.refused == crossingv1.Reason_NOT_RECORDED, p.refused == crossingv1.Reason_OVER_BUDGET, hold.Faulty(p.refused):
		return crossingv1.Cause_REFUSED, p.refused
	case p.refused != crossingv1.Reason_REASON_UNSPECIFIED:
		return crossingv1.Cause_PROTOCOL_ERROR, p.refused
	}
	return cause, crossingv1.Reason_REASON_UNSPECIFIED
}
