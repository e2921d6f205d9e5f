package exchange

import (
	"context"
	"net"
	"net/http"

	"github.com/sallyport-mesh/sallyport/gateway/internal/authz"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/listener"
	"github.com/sallyport-mesh/sallyport/gateway/internal/pace"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel/relay"
	"github.com/sallyport-mesh/sallyport/gateway/internal/upstream"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// relayBytes carries a byte stream: a head each way, and then bytes as they are.
func (d *departure) relayBytes(v *authz.Verdict) {
	d.watch = pace.NewWatch(d.stream, d.cfg.Limits.quiet())
	head, cause, reason := d.connect()
	if head == nil {
		if cause == crossingv1.Cause_REFUSED && reason == crossingv1.Reason_OVER_LIMIT {
			d.tooLate()
		}
		leaving{d.account}.end(cause, reason)
		d.problem(reason, v.Owner())
		return
	}
	d.moved()
	d.stream = tunnel.Settled(d.stream)
	d.flow.Follow(context.Background(), d.stream, d.watch)
	d.cfg.Standing.Move(&d.stands, d.stream, d.req)
	d.answered(head)
	head.Fields.DelFunc(l7.GatewaysOwn)
	head.Fields.Set(crossingField, d.id)
	if d.resp.WriteHead(head, false) != nil || d.resp.Flush() != nil { // who waits for it says nothing before
		leaving{d.account}.end(crossingv1.Cause_CALLER_GONE, crossingv1.Reason_REASON_UNSPECIFIED)
		return
	}
	if passesTLS(v) {
		d.relayTLS(v)
		return
	}
	if r, ok := d.resp.(listener.Detacher); ok && r.Detach(leaving{d.account}) {
		d.goOn()
		return
	}
	d.relayRest(leaving{d.account})
}

// goOn leaves the crossing to who has the caller's connection now.
func (d *departure) goOn() {
	d.cfg.Standing.Move(&d.stands, d.stream, nil)
	d.account = nil
}

// relayRest relays a caller who has no bare connection.
func (d *departure) relayRest(l leaving) {
	local := l.flow.Local(caller{d.req, d.resp})
	cause := l.relayed(relay.Copy(d.stream, local, tunnel.CallerGone, &l.count))
	if cause != crossingv1.Cause_DONE {
		d.resp.Abort()
	}
	l.end(cause, crossingv1.Reason_REASON_UNSPECIFIED)
}

// leaving is a byte stream on its way out once its head is answered. It goes on
// with the caller's bare connection where there is one, and then holds nothing
// that the end does not need, for it may be idle for long.
type leaving struct{ *account }

var _ listener.Detached = leaving{}

// Serve implements listener.Detached.
func (l leaving) Serve(tcp *net.TCPConn, early []byte, over func()) {
	l.slim()
	if len(early) > 0 {
		if _, err := l.stream.Write(early); err != nil {
			l.leave(tcp, lost(err), crossingv1.Reason_REASON_UNSPECIFIED)
			over()
			return
		}
		l.count.Sent.Add(uint64(len(early)))
		l.flow.Passed(uint64(len(early)))
	}
	l.join(tcp, tunnel.CallerGone, func(end tunnel.Relayed) {
		l.leave(tcp, l.relayed(end), crossingv1.Reason_REASON_UNSPECIFIED)
		over()
	})
}

// join relays a byte stream between the tunnel and a connection.
func (a *account) join(nc net.Conn, code tunnel.ResetCode, done func(tunnel.Relayed)) {
	if a.flow == nil {
		relay.Join(a.stream, nc, code, &a.count, done)
		return
	}
	go func() { done(relay.Copy(a.stream, a.flow.Local(relay.Conn(nc)), code, &a.count)) }()
}

// leave ends what has gone on with the caller's connection.
func (l leaving) leave(tcp *net.TCPConn, cause crossingv1.Cause, reason crossingv1.Reason) {
	if cause != crossingv1.Cause_DONE {
		tcp.SetLinger(0) //nolint:errcheck // so that the caller does not take it for a good end
	}
	l.end(cause, reason)
}

// Stop implements listener.Detached.
func (l leaving) Stop() { l.stream.Reset(tunnel.CallerGone) }

// connect asks the peer gateway. Without a head the cause says why there is none.
func (d *departure) connect() (*l7.ResponseHead, crossingv1.Cause, crossingv1.Reason) {
	d.pump.begin(d.stream, d.req, &d.cfg.Limits, nil, nil)
	if err := d.pump.frames.RequestHead(&d.req.Head, false); err != nil {
		return nil, lost(err), crossingv1.Reason_UNREACHABLE
	}
	d.frames.Reset(d.stream)
	frame, err := d.frames.Next()
	switch {
	case err != nil:
		cause := lost(err)
		return nil, cause, beyond(err, cause, crossingv1.Reason_UNREACHABLE)
	case frame.Kind == l7.KindRefusal:
		return nil, crossingv1.Cause_REFUSED_BY_PEER, frame.Refusal.Reason
	case frame.Kind != l7.KindResponseHead || frame.Response.Status != http.StatusOK || frame.End:
		return nil, crossingv1.Cause_PROTOCOL_ERROR, crossingv1.Reason_UNREACHABLE
	}
	return frame.Response, 0, 0
}

// relayed says why a relay has ended.
func (l leaving) relayed(end tunnel.Relayed) crossingv1.Cause {
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

// forwardBytes connects to the destination and relays to it. The gateway stops
// when running ends, and then the stream is reset.
func (a *arrival) forwardBytes(running context.Context, d destinations, v *authz.Verdict, over func()) {
	nc, err := a.dial(running, d, v)
	if err != nil {
		cause, reason := a.broken(running), crossingv1.Reason_REASON_UNSPECIFIED
		if cause == crossingv1.Cause_DESTINATION_FAILED {
			reason = crossingv1.Reason_UNREACHABLE
			a.unreached(err)
			a.ended(cause, reason)
			a.refuse(reason)
		} else {
			a.stream.Reset(resetCode(cause))
			a.ended(cause, reason)
		}
		over()
		return
	}
	a.watch = pace.NewWatch(a.stream, a.cfg.Limits.quiet())
	a.flow.Follow(running, a.stream, a.watch)
	left := &arriving{a.account, running, nc, over} // what the end does not need goes
	cause, reason := a.accept(running), crossingv1.Reason_REASON_UNSPECIFIED
	a.account = nil // it goes on
	if cause == crossingv1.Cause_DONE && passesTLS(v) {
		cause, reason = left.greeted(v)
	}
	if cause != crossingv1.Cause_DONE {
		left.end(cause, reason)
		return
	}
	left.slim()
	left.join(nc, tunnel.DestinationGone, left.relayed)
}

// arriving is a byte stream on its way in once its head is answered.
type arriving struct {
	*account
	running context.Context // the gateway's, not the crossing's
	nc      net.Conn        // to the destination
	over    func()
}

// relayed is called when both directions have ended.
func (a *arriving) relayed(end tunnel.Relayed) {
	a.end(a.cause(end), crossingv1.Reason_REASON_UNSPECIFIED)
}

func (a *arriving) cause(end tunnel.Relayed) crossingv1.Cause {
	switch {
	case end.Local == nil && end.Stream == nil:
		return crossingv1.Cause_DONE
	case a.running.Err() != nil:
		return crossingv1.Cause_GATEWAY_STOPPED
	case end.Local != nil:
		return crossingv1.Cause_DESTINATION_FAILED
	}
	return lost(end.Stream)
}

// end closes the connection and the record.
func (a *arriving) end(cause crossingv1.Cause, reason crossingv1.Reason) {
	if tcp, ok := a.nc.(*net.TCPConn); ok && cause != crossingv1.Cause_DONE {
		tcp.SetLinger(0) //nolint:errcheck // so that the destination does not take it for a good end
	}
	a.nc.Close() // it has ended either way
	a.ended(cause, reason)
	a.over()
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
	a.answered(head)
	if a.out.ResponseHead(head, false) != nil {
		cause := a.broken(running)
		a.stream.Reset(resetCode(cause))
		return cause
	}
	return crossingv1.Cause_DONE
}
