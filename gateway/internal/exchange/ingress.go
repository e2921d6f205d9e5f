package exchange

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/internal/authz"
	"github.com/sallyport-mesh/sallyport/gateway/internal/hold"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/inspect"
	"github.com/sallyport-mesh/sallyport/gateway/internal/naming"
	"github.com/sallyport-mesh/sallyport/gateway/internal/numbers"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	"github.com/sallyport-mesh/sallyport/gateway/internal/upstream"
	"github.com/sallyport-mesh/sallyport/gateway/internal/waiting"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// longestDigest is the length of "sha512:" and its hex digest, in bytes.
const longestDigest = 7 + 128

// destinations reaches workloads of this gateway's environment.
type destinations interface {
	RoundTrip(ctx context.Context, d upstream.Destination, r *upstream.Request) (*upstream.Response, error)
	// Connect opens a byte stream.
	Connect(ctx context.Context, d upstream.Destination) (net.Conn, *crossingv1.Peer, error)
}

// Ingress brings crossings from peer gateways to the workloads.
type Ingress struct {
	cfg          Config
	destinations destinations
	numbers      *numbers.Numbers
	arrivals     sync.Pool // of *arrival
}

// NewIngress makes the ingress half of a gateway.
func NewIngress(cfg Config, d destinations) *Ingress {
	return &Ingress{
		cfg: cfg, destinations: d, numbers: numbers.New(),
		arrivals: sync.Pool{New: func() any { return new(arrival) }},
	}
}

// arrival is one crossing on its way in, in one piece of memory that is used for one
// after another.
type arrival struct {
	*account
	header   *crossingv1.Header
	trace    l7.Traceparent
	verdict  authz.Verdict
	in       l7.FrameReader
	out      l7.FrameWriter
	body     requestBody
	patience waiting.Patience
	names    naming.In
	request  asking
	waiter   tunnel.Watch  // lets the request go on, also if its stream ends
	held     *hold.Content // nil if nobody looks at it
	watched  bool          // it may
	sure     bool          // it did not, and never will
}

// newArrival is one whose header was taken.
func (i *Ingress) newArrival(s tunnel.Stream, trace l7.Traceparent) *arrival {
	a := i.arrivals.Get().(*arrival)
	a.header, a.trace = s.Header(), trace
	a.in.Reset(s)
	a.out.Reset(s)
	return a
}

// unwatch lets the request go on, also if its stream ends.
func (a *arrival) unwatch() {
	if a.watched {
		a.watched, a.sure = false, a.waiter.Stop()
	}
}

// free gives back an arrival whose exchange is over, if it is certain that nobody
// uses it any more: neither who tells of the stream's end nor upstream. It says
// whether it is.
func (a *arrival) free(to *sync.Pool) bool {
	a.held.Free()
	a.held = nil
	if a.account != nil {
		a.account.free()
	}
	if asked := a.request.Head != nil; asked && (!a.sure || !a.request.Reset()) {
		return false
	}
	a.account, a.header, a.verdict, a.body, a.sure = nil, nil, authz.Verdict{}, requestBody{}, false
	a.names = a.names.Kept()
	a.in.Reset(nil)
	a.out.Reset(nil)
	to.Put(a)
	return true
}

// ServeStream decides again on a crossing, records it, and carries it to the
// workload and its answer back. It calls over when the stream has ended. A byte
// stream goes on without the goroutine of its decision and its record, whose
// stack must not be held for as long as it is idle.
func (i *Ingress) ServeStream(ctx context.Context, t tunnel.Tunnel, s tunnel.Stream, over func()) {
	info := t.Info()
	trace, ok := i.admit(info.Peer, s)
	if !ok {
		over()
		return
	}
	a := i.newArrival(s, trace)
	goesOn := a.serve(ctx, i, info, s, over)
	unused := a.free(&i.arrivals)
	if goesOn {
		return
	}
	if over(); unused {
		tunnel.Release(s)
	}
}

// serve says whether the crossing goes on, and calls over by itself.
func (a *arrival) serve(ctx context.Context, i *Ingress, info tunnel.Info, s tunnel.Stream, over func()) (goesOn bool) {
	head, ended, err := a.readHead(s)
	round, now := i.cfg.Standing.Round(), time.Now()
	v := &a.verdict
	if err == nil {
		*v = i.cfg.Authz.Ingress(info.Peer, a.header, head, now)
	} else {
		// A head that is not one is recorded under what the header said.
		head = &l7.RequestHead{}
		*v = i.cfg.Authz.IngressUnread(info.Peer, a.header, err.Error())
	}
	a.account = i.cfg.newAccount(a.header.GetId(), crossingv1.Side_INGRESS, v, now)
	a.stream = s
	a.identify(info)
	a.names.Make(a.cfg.Self, a.header, a.trace, head)
	if err == nil {
		a.asked(a.names.Operation, head)
		a.half.End.ContentSeen = head.Method != http.MethodConnect
	}
	if !a.begin(ctx, v, head, ended) || !a.within(head) {
		return false
	}
	a.flow.Follow(ctx, s, a.watch)
	a.stand(round, v, v.Source, info.Peer, nil, nil)
	if head.Method == http.MethodConnect {
		a.forwardBytes(ctx, i.destinations, v, over)
		return true
	}
	a.forward(ctx, i.destinations, v, head, ended)
	return false
}

// admit takes a stream whose header a record can be made of, and which comes for
// the first time. Any other one it resets.
func (i *Ingress) admit(peer spiffeid.ID, s tunnel.Stream) (l7.Traceparent, bool) {
	h := s.Header()
	trace, err := checkHeader(h, peer)
	if err == nil {
		err = i.take(peer, h)
	}
	switch {
	case copied(s, err):
		s.Reset(tunnel.Repeated)
	case err != nil:
		i.cfg.Spool.Refuse(crossingv1.Reason_MALFORMED, netip.AddrPort{}, "tunnel", peer.String()+": "+err.Error())
		s.Reset(tunnel.ProtocolError)
	}
	return trace, err == nil
}

// copied says that a crossing is not taken because it goes on in another stream:
// its number came once before, or its stream is one that the peer has let go of
// and that came too late to tell.
func copied(s tunnel.Stream, err error) bool {
	switch {
	case errors.Is(err, crossing.ErrRepeated):
		return true
	case errors.Is(err, crossing.ErrStale):
		_, lost := s.Write(nil)
		reset, ok := errors.AsType[*tunnel.ResetError](lost)
		return ok && reset.Remote
	}
	return false
}

// checkHeader refuses a header that no half record could be made of.
func checkHeader(h *crossingv1.Header, peer spiffeid.ID) (l7.Traceparent, error) {
	trace, ok := l7.ParseTraceparent(h.GetTraceparent())
	switch {
	case !ok:
		return trace, errors.New("header without a valid traceparent")
	case h.GetSequence() == 0:
		return trace, errors.New("header without a sequence")
	case h.GetKind() != crossingv1.Header_HTTP && h.GetKind() != crossingv1.Header_BYTES:
		return trace, errors.New("header of an unknown kind")
	case len(h.GetPolicy().GetRevision()) > longestDigest || len(h.GetSourceSvid()) > longestDigest:
		return trace, errors.New("header with a digest that is none")
	case len(h.GetProof()) > crossing.MaxProof:
		return trace, errors.New("header with an endless proof")
	case len(h.GetLabel()) > crossing.MaxLabel:
		return trace, errors.New("header with an endless label")
	}
	if _, err := spiffeid.FromString(h.GetDestination()); err != nil {
		return trace, err
	}
	if err := crossing.CheckRun(h.GetRun()); err != nil {
		return trace, err
	}
	if _, err := spiffeid.FromString(h.GetSource()); err != nil {
		return trace, err
	}
	return trace, crossing.CheckID(h.GetId())
}

func (a *arrival) readHead(s tunnel.Stream) (*l7.RequestHead, bool, error) {
	a.patience.Limit(s)
	defer a.patience.Over()
	frame, err := a.in.Next()
	if err != nil {
		return nil, false, err
	}
	if frame.Kind != l7.KindRequestHead {
		return nil, false, errors.New("stream begins with another frame than a request head")
	}
	if (frame.Request.Method == http.MethodConnect) != (s.Header().GetKind() == crossingv1.Header_BYTES) {
		return nil, false, errors.New("kind of the header is not that of the head")
	}
	if frame.End && frame.Request.Method == http.MethodConnect {
		return nil, false, errors.New("head of a byte stream says that nothing follows")
	}
	return frame.Request, frame.End, nil
}

// identify fills in who is who.
func (a *arrival) identify(info tunnel.Info) {
	a.numbered(info.Peer.String(), a.cfg.Self.String(), a.header.GetRun(), a.header.GetSequence())
	a.half.Source = a.header.GetSource()
	if a.half.Destination == "" {
		a.half.Destination = a.header.GetDestination()
	}
	a.half.Carried(info)
	a.half.Traced(a.header.GetTraceparent())
}

// begin records the crossing, and says whether it may go on.
func (a *arrival) begin(running context.Context, v *authz.Verdict, head *l7.RequestHead, ended bool) bool {
	if !a.taken() {
		a.half.Free()
		a.half = nil
		a.refuse(crossingv1.Reason_NOT_RECORDED) // what becomes of it is stated
		return false
	}
	if (v.Allow || v.Pending) && head.Method != http.MethodConnect {
		a.inspect(v, head, ended)
	}
	a.admit(v, head)
	a.guarded(running, v, head)
	a.afford(v, head)
	a.half.Asks(v)
	if err := a.open(v); err != nil {
		a.refuse(crossingv1.Reason_NOT_RECORDED)
		return false
	}
	if !v.Allow {
		a.ended(crossingv1.Cause_REFUSED, v.Reason)
		a.refuse(v.Reason)
	}
	return v.Allow
}

// afford reserves what the request may come to of the caller's budgets.
func (a *arrival) afford(v *authz.Verdict, head *l7.RequestHead) {
	if !v.Allow || !v.Limited {
		return
	}
	if a.reserve(v, a.header.GetSource(), inputOf(head, a.held), a.opened); !v.Allow {
		a.half.Judged(v, a.cfg.Self.String(), a.opened)
	}
	a.body.flow = a.flow
	a.flow.Passed(a.count.Received.Load()) // while it was held
}

// within says whether the crossing is within this gateway's limits; if not, it
// has ended.
func (a *arrival) within(head *l7.RequestHead) bool {
	reason := crossingv1.Reason_OVER_LIMIT
	if detail, is := a.cfg.Limits.tooLong(head); is {
		reason, a.close.Detail = crossingv1.Reason_TOO_LARGE, detail
	} else if a.enter(a.header.GetSource()) {
		return true
	}
	a.ended(crossingv1.Cause_REFUSED, reason)
	a.refuse(reason)
	return false
}

// forward asks the destination and relays its answer. The gateway stops when
// running ends.
func (a *arrival) forward(running context.Context, d destinations, v *authz.Verdict, head *l7.RequestHead, ended bool) {
	body := &a.body
	content, ok := a.content()
	content = a.admitted(content, head)
	r := &a.request
	if !ok {
		a.failed(running, r, body, nil)
		return
	}
	r.Head, r.Body, r.Retry = a.inbound(head), content, v.Idempotent
	if err := a.cfg.Secrets.Inject(v.Service, r.Head); err != nil {
		body.halt(crossingv1.Reason_NOT_ENFORCEABLE, crossing.Detail(err.Error()))
		a.failed(running, r, body, nil)
		return
	}
	// Without the caller there is no reason to ask. A gateway that stops resets its
	// streams, too.
	a.waiter, a.watched = tunnel.OnDone(a.stream, r), true
	defer a.unwatch()
	if _, gone := a.stream.Write(nil); gone != nil { // what was said before is still there, and counted
		body.drain()
		a.failed(running, r, body, gone)
		return
	}
	resp, err := d.RoundTrip(running, upstream.Destination{Workload: v.Workload, Service: v.Service}, &r.Request)
	if err != nil {
		a.tried(r.Tries())
		a.failed(running, r, body, err)
		return
	}
	a.close.Peer = resp.Peer
	a.tried(resp.Tries)
	a.downloads(a.parties(), head, &resp.Head, resp.Ended)
	cause, reason := a.respond(running, resp), crossingv1.Reason_REASON_UNSPECIFIED
	if why := body.halted(); cause == crossingv1.Cause_DESTINATION_FAILED && why != nil {
		cause, reason, a.close.Detail = crossingv1.Cause_REFUSED, why.reason, why.detail
	}
	if cause == crossingv1.Cause_DONE {
		a.drain(r, resp.Body, body)
	} else {
		a.breakOff(cause, r, resp.Body)
	}
	a.ended(cause, reason)
}

// tried notes how many connections were tried, if the first one did not do.
func (a *arrival) tried(connections int) {
	if connections > 1 {
		a.close.Tries = uint32(connections)
	}
}

// asking is what is asked of a destination.
type asking struct{ upstream.Request }

// StreamDone implements tunnel.Waiter.
func (r *asking) StreamDone() { r.Cancel() }

// inbound is the head as the workload sees it: the caller named in the form
// that Envoy uses, by us alone.
func (a *arrival) inbound(head *l7.RequestHead) *l7.RequestHead {
	l7.StripIncoming(&head.Fields)
	head.Fields.Set(l7.XFCCName, a.names.XFCC)
	head.Fields.Set(crossingField, a.id)
	head.Fields.Set("traceparent", a.names.Traceparent)
	if _, edits := a.verdict.Protocol().(inspect.Editor); edits || a.admission != nil {
		head.Fields.Set("accept-encoding", "identity")
	}
	return head
}

// refuse tells the egress gateway, which tells the caller.
func (a *arrival) refuse(reason crossingv1.Reason) {
	if a.tell(reason) {
		discard(a.stream)
	}
}

func (a *arrival) tell(reason crossingv1.Reason) bool {
	err := a.out.Refusal(l7.Refusal{Reason: reason, Owner: a.owner})
	if err != nil || a.stream.CloseWrite() != nil {
		a.stream.Reset(tunnel.Refused)
		return false
	}
	return true
}

// failed ends a crossing whose destination gave no answer, or whose caller
// went away before it could. The egress gateway is told first: somebody may still
// wait for more of the request, which the caller ends when it is told. What went
// wrong with the destination is for the record alone.
func (a *arrival) failed(running context.Context, r *asking, body *requestBody, err error) {
	cause, reason := a.broken(running), crossingv1.Reason_REASON_UNSPECIFIED
	why := body.halted()
	switch {
	case cause != crossingv1.Cause_DESTINATION_FAILED:
		a.stream.Reset(resetCode(cause))
	case why != nil:
		cause, reason, a.close.Detail = crossingv1.Cause_REFUSED, why.reason, why.detail
		a.tell(reason)
	default:
		reason = crossingv1.Reason_UNREACHABLE
		a.unreached(err)
		a.tell(reason)
	}
	a.drain(r, nil, body)
	a.ended(cause, reason)
}

// unreached notes why a destination gave no answer.
func (a *arrival) unreached(err error) {
	if err != nil {
		a.close.Detail = crossing.Detail(err.Error())
	}
}

// respond relays the answer into the tunnel.
func (a *arrival) respond(running context.Context, resp *upstream.Response) crossingv1.Cause {
	a.answered(&resp.Head)
	if !resp.Ended && resp.Credential != nil {
		a.cfg.Standing.Show(&a.stands, resp.Credential)
	}
	a.watch.Passed()
	if !a.begins(&a.verdict, a.request.Head, &resp.Head, resp.Ended) {
		return crossingv1.Cause_REFUSED
	}
	if resp.Ended || resp.Body.Ready() {
		a.out.Hold() // head, data, trailers and the stream's end go out together
	}
	if err := a.out.ResponseHead(&resp.Head, resp.Ended); err != nil {
		return a.broken(running)
	}
	if resp.Ended {
		if a.finish() != nil {
			return a.broken(running)
		}
		return crossingv1.Cause_DONE
	}
	room := copyBuffers.Get().(*[]byte)
	defer copyBuffers.Put(room)
	for buf := *room; ; {
		n, err := resp.Body.Read(buf)
		if n > 0 {
			came := a.came()
			if cause := a.pass(running, buf[:n]); cause != crossingv1.Cause_CAUSE_UNSPECIFIED {
				return cause
			}
			a.passedOn(came)
			a.watch.Passed()
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			a.out.Flush() //nolint:errcheck // a lost stream shows in what broken says
			return a.broken(running)
		}
	}
	if cause := a.passLast(running); cause != crossingv1.Cause_CAUSE_UNSPECIFIED {
		return cause
	}
	trailers := resp.Body.Trailers()
	a.concluded(trailers)
	a.down.Finish(trailers)
	if a.out.Trailers(trailers) != nil || a.finish() != nil {
		return a.broken(running)
	}
	return crossingv1.Cause_DONE
}

// finish ends the answer with what is held of it. From then on nobody is to be
// told that the stream is done.
func (a *arrival) finish() error {
	a.unwatch()
	_, err := tunnel.Finish(a.stream, a.out.Take())
	return err
}

// broken says why the destination's answer broke off: because it failed or
// could not be relayed, because the caller had gone and it was not asked any
// more, or because this gateway stops.
func (a *arrival) broken(running context.Context) crossingv1.Cause {
	if running.Err() != nil {
		return crossingv1.Cause_GATEWAY_STOPPED
	}
	if _, err := a.stream.Write(nil); err != nil {
		return lost(err)
	}
	return crossingv1.Cause_DESTINATION_FAILED
}

func resetCode(cause crossingv1.Cause) tunnel.ResetCode {
	switch cause { //nolint:exhaustive // whatever else it is, there is no more of the destination
	case crossingv1.Cause_GATEWAY_STOPPED:
		return tunnel.Stopped
	case crossingv1.Cause_REFUSED:
		return tunnel.Refused
	}
	return tunnel.DestinationGone
}

// breakOff ends both directions of an exchange whose answer broke off.
func (a *arrival) breakOff(cause crossingv1.Cause, r *asking, answer io.Closer) {
	code := resetCode(cause)
	if why, err := a.forbidden(); err != nil {
		code = tunnel.Denied(why)
	} else if _, over := a.flow.Over(); over {
		code = tunnel.Denied(crossingv1.Reason_OVER_BUDGET)
	}
	a.stream.Reset(code)
	r.Cancel()
	answer.Close()
	r.Wait()
}

// drain ends an answer, if there is one, and reads the rest of the request, which
// the egress gateway ends when it has the answer: so both count the same bytes.
// The end may come behind a head that said that nothing follows: a stream that is
// let go of before is reset, and the egress gateway may lose what it has not read
// of the answer.
func (a *arrival) drain(r *asking, answer io.Closer, body *requestBody) {
	a.stream.CloseWrite() //nolint:errcheck // a lost stream shows in the rest of the request
	a.patience.Limit(a.stream)
	defer a.patience.Over()
	if answer != nil {
		answer.Close()
	}
	r.Wait()
	body.drain()
	io.Copy(io.Discard, a.stream) //nolint:errcheck // a stream that is lost has ended too
}
