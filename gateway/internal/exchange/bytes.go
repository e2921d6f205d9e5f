package exchange

import (
	"context"
	"net"
	"net/http"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/internal/authz"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/listener"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel/relay"
	"github.com/sallyport-mesh/sallyport/gateway/internal/upstream"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// relayBytes carries a byte stream: a head each way, and then bytes as they are.
func (d *departure) relayBytes(v *authz.Verdict) {
	head, cause, reason := d.connect()
	if head == nil {
		leaving{d.account}.end(cause, reason)
		d.problem(reason, v.Owner())
		return
	}
	d.moved()
	d.stream = tunnel.Settled(d.stream)
	d.answered(head, false)
	head.Fields.DelFunc(gatewaysOwn)
	head.Fields.Set(crossingField, d.half.Id)
	if d.resp.WriteHead(head, false) != nil {
		leaving{d.account}.end(crossingv1.Cause_CALLER_GONE, crossingv1.Reason_REASON_UNSPECIFIED)
		return
	}
	if r, ok := d.resp.(listener.Detacher); ok && r.Detach(leaving{d.account}) {
		return
	}
	cause = leaving{d.account}.join(nil, caller{d.req, d.resp})
	if cause != crossingv1.Cause_DONE {
		d.resp.Abort()
	}
	leaving{d.account}.end(cause, crossingv1.Reason_REASON_UNSPECIFIED)
}

// leaving is a byte stream on its way out once its head is answered. It goes on
// with the caller's bare connection where there is one, and then holds nothing
// that the end does not need, for it may be idle for long.
type leaving struct{ *account }

var _ listener.Detached = leaving{}

// Serve implements listener.Detached.
func (l leaving) Serve(tcp *net.TCPConn, early []byte) {
	l.slim()
	cause := l.serve(tcp, early)
	if cause != crossingv1.Cause_DONE {
		tcp.SetLinger(0) //nolint:errcheck // so that the caller does not take it for a good end
	}
	l.end(cause, crossingv1.Reason_REASON_UNSPECIFIED)
}

func (l leaving) serve(tcp *net.TCPConn, early []byte) crossingv1.Cause {
	if len(early) > 0 {
		if _, err := l.stream.Write(early); err != nil {
			return lost(err)
		}
		l.close.RequestBytes = uint64(len(early))
	}
	return l.join(tcp, destination{tcp})
}

// Stop implements listener.Detached.
func (l leaving) Stop() { l.stream.Reset(tunnel.CallerGone) }

// connect asks the peer gateway. Without a head the cause says why there is none.
func (d *departure) connect() (*l7.ResponseHead, crossingv1.Cause, crossingv1.Reason) {
	if err := l7.NewFrameWriter(d.stream).RequestHead(&d.req.Head, false); err != nil {
		return nil, lost(err), crossingv1.Reason_UNREACHABLE
	}
	frame, err := l7.NewFrameReader(d.stream).Next()
	switch {
	case err != nil:
		return nil, lost(err), crossingv1.Reason_UNREACHABLE
	case frame.Kind == l7.KindRefusal:
		return nil, crossingv1.Cause_REFUSED_BY_PEER, frame.Refusal.Reason
	case frame.Kind != l7.KindResponseHead || frame.Response.Status != http.StatusOK || frame.End:
		return nil, crossingv1.Cause_PROTOCOL_ERROR, crossingv1.Reason_UNREACHABLE
	}
	return frame.Response, 0, 0
}

// join relays until both directions have ended, and says why they have.
func (l leaving) join(tcp *net.TCPConn, local relay.Local) crossingv1.Cause {
	end := relay.Join(l.stream, tcp, local, tunnel.CallerGone)
	l.close.RequestBytes += end.Sent
	l.close.ResponseBytes = end.Received
	switch {
	case end.Local != nil:
		return crossingv1.Cause_CALLER_GONE
	case end.Stream != nil:
		return lost(end.Stream)
	}
	return crossingv1.Cause_DONE
}

// end ends the stream and closes the record.
func (l leaving) end(cause crossingv1.Cause, reason crossingv1.Reason) {
	switch cause {
	case crossingv1.Cause_DONE:
	case crossingv1.Cause_REFUSED_BY_PEER:
		l.stream.CloseWrite() //nolint:errcheck // the peer reads to the end; a stream that is lost has ended already
	case crossingv1.Cause_PROTOCOL_ERROR:
		l.stream.Reset(tunnel.ProtocolError)
	default:
		l.stream.Reset(tunnel.CallerGone)
	}
	l.ended(cause, reason)
}

// caller is the caller of a byte stream as a relay sees it.
type caller struct {
	req  *listener.Request
	resp listener.Response
}

func (c caller) Read(p []byte) (int, error)  { return c.req.Body.Read(p) }
func (c caller) Write(p []byte) (int, error) { return c.resp.Write(p) }
func (c caller) CloseWrite() error           { return c.resp.End(nil) }

// Interrupt ends reading: a Read fails once its body is closed.
func (c caller) Interrupt() { c.req.Body.Close() }

// Break does nothing: the listener bounds each Write by its idle time.
func (c caller) Break() {}

// forwardBytes connects to the destination, and gives what relays to it. The
// gateway stops when running ends, and then the stream is reset.
func (a *arrival) forwardBytes(running context.Context, d destinations, v *authz.Verdict) (rest func()) {
	nc, err := a.dial(running, d, v)
	if err != nil {
		cause, reason := a.broken(running), crossingv1.Reason_REASON_UNSPECIFIED
		if cause == crossingv1.Cause_DESTINATION_FAILED {
			reason = crossingv1.Reason_UNREACHABLE
			a.ended(cause, reason)
			a.refuse(reason)
			return nil
		}
		a.stream.Reset(resetCode(cause))
		a.ended(cause, reason)
		return nil
	}
	left := arriving{a.account} // what the end does not need goes
	if cause := a.accept(running); cause != crossingv1.Cause_DONE {
		left.end(nc, cause)
		return nil
	}
	a.slim()
	return func() { left.end(nc, left.join(running, nc)) }
}

// arriving is a byte stream on its way in once its head is answered.
type arriving struct{ *account }

// end closes the connection and the record.
func (a arriving) end(nc net.Conn, cause crossingv1.Cause) {
	if tcp, ok := nc.(*net.TCPConn); ok && cause != crossingv1.Cause_DONE {
		tcp.SetLinger(0) //nolint:errcheck // so that the destination does not take it for a good end
	}
	nc.Close() // it has ended either way
	a.ended(cause, crossingv1.Reason_REASON_UNSPECIFIED)
}

// dial connects to the destination unless the caller goes away meanwhile.
func (a *arrival) dial(running context.Context, d destinations, v *authz.Verdict) (net.Conn, error) {
	ctx, cancel := context.WithCancel(running)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-a.stream.Done():
			cancel()
		case <-ctx.Done():
		}
	}()
	defer func() { cancel(); <-watched }()
	nc, peer, err := d.Connect(ctx, upstream.Destination{Workload: v.Workload, Service: v.Service})
	a.close.Peer = peer
	return nc, err
}

// accept tells the egress gateway that the destination is there.
func (a *arrival) accept(running context.Context) crossingv1.Cause {
	head := &l7.ResponseHead{Status: http.StatusOK}
	a.answered(head, false)
	if a.out.ResponseHead(head, false) != nil {
		cause := a.broken(running)
		a.stream.Reset(resetCode(cause))
		return cause
	}
	return crossingv1.Cause_DONE
}

// join relays until both directions have ended, and says why they have.
func (a arriving) join(running context.Context, nc net.Conn) crossingv1.Cause {
	tcp, _ := nc.(*net.TCPConn)
	end := relay.Join(a.stream, tcp, destination{nc}, tunnel.DestinationGone)
	a.close.RequestBytes, a.close.ResponseBytes = end.Received, end.Sent
	switch {
	case end.Local == nil && end.Stream == nil:
		return crossingv1.Cause_DONE
	case running.Err() != nil:
		return crossingv1.Cause_GATEWAY_STOPPED
	case end.Local != nil:
		return crossingv1.Cause_DESTINATION_FAILED
	}
	return lost(end.Stream)
}

// destination is the destination of a byte stream as a relay sees it.
type destination struct{ net.Conn }

func (d destination) CloseWrite() error {
	if half, ok := d.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return d.Close()
}

func (d destination) Interrupt() {
	d.SetReadDeadline(time.Unix(1, 0)) //nolint:errcheck // a connection that is closed has nobody who waits
}

func (d destination) Break() {
	d.SetDeadline(time.Unix(1, 0)) //nolint:errcheck // as above
}
