package exchange

import (
	"context"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/internal/admission"
	"github.com/sallyport-mesh/sallyport/gateway/internal/authz"
	"github.com/sallyport-mesh/sallyport/gateway/internal/baseurl"
	"github.com/sallyport-mesh/sallyport/gateway/internal/hold"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/inspect"
	"github.com/sallyport-mesh/sallyport/gateway/internal/listener"
	"github.com/sallyport-mesh/sallyport/gateway/internal/naming"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	"github.com/sallyport-mesh/sallyport/gateway/internal/waiting"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// tunnels finds a live tunnel to a gateway of an environment.
type tunnels interface {
	Pick(ctx context.Context, environment string, class tunnel.Class) (tunnel.Tunnel, error)
}

// Egress takes workloads' requests out of their environment.
type Egress struct {
	cfg     Config
	tunnels tunnels
}

var _ listener.Handler = (*Egress)(nil)

// NewEgress makes the egress half of a gateway.
func NewEgress(cfg Config, t tunnels) *Egress { return &Egress{cfg: cfg, tunnels: t} }

// departure is one crossing on its way out, in one piece of memory that is used for
// one after another.
type departure struct {
	*account
	calling     waiting.Calling
	req         *listener.Request
	resp        listener.Response
	verdict     authz.Verdict
	traceparent string
	pump        pump
	frames      l7.FrameReader // of the answer
	round       uint64         // of standing crossings' reviews, when it was decided on
	left        int64          // bytes of the answer's content; -1 if only its end tells

	held  *hold.Content     // nil if nobody looks at it
	sends *admission.Reader // nil if it is not held against digests
	fault *hold.Fault       // why the caller is refused, if it is that

	retry  int    // seconds until the caller may ask again; 0 if that is not known
	status int    // of a problem, if another than its reason's
	detail string // and what it says

	leave   func() // calling's, made once
	watched bool   // it is called if the caller leaves
	sure    bool   // it was not, and never will be
}

var departures = sync.Pool{New: func() any {
	d := new(departure)
	d.leave = d.calling.Leave
	return d
}}

// newDeparture begins to watch for the caller's leaving.
func newDeparture(ctx context.Context, req *listener.Request, resp listener.Response) *departure {
	d := departures.Get().(*departure)
	d.calling.Begin(ctx)
	d.req, d.resp = req, resp
	d.watched = true
	req.OnGone(d.leave)
	return d
}

// unwatch lets the stream go on, also if the caller leaves.
func (d *departure) unwatch() {
	if d.watched {
		d.watched, d.sure = false, d.req.OnGone(nil)
	}
}

// free gives back a departure whose exchange is over, and its stream, if it is certain
// that nobody uses them any more: neither who tells of the caller's leaving nor who
// has waited for it.
func (d *departure) free() {
	d.unwatch()
	d.held.Free()
	d.held, d.sends = nil, nil
	var stream tunnel.Stream
	if d.account != nil {
		stream = d.stream
		d.account.free()
	}
	if d.calling.Over() || !d.sure {
		return
	}
	if d.req.Head.Method != http.MethodConnect { // a byte stream may go on by itself
		tunnel.Release(stream)
	}
	d.account, d.req, d.resp, d.traceparent, d.left, d.sure = nil, nil, nil, "", 0, false
	d.status, d.retry, d.detail, d.fault = 0, 0, "", nil
	d.verdict = authz.Verdict{}
	d.pump.begin(nil, nil, nil, nil, nil)
	d.frames.Reset(nil)
	departures.Put(d)
}

// ServeExchange decides on a request, records it, and carries it to the peer
// gateway and its answer back.
func (e *Egress) ServeExchange(ctx context.Context, req *listener.Request, resp listener.Response) {
	d := newDeparture(ctx, req, resp)
	d.serve(e)
	d.free() // not after a panic: somebody may still use it
}

func (d *departure) serve(e *Egress) {
	d.round = e.cfg.Standing.Round()
	now, req := time.Now(), d.req
	baseurl.Resolve(&req.Head)
	v := &d.verdict
	*v = e.cfg.Authz.Egress(req.Caller.ID, &req.Head, now)
	if v.Reason == crossingv1.Reason_NO_PROOF && req.Mapped {
		v.Detail = unsayable
	}
	if (v.Allow || v.Pending) && req.Upgrade != "" {
		v.Unable("upgrade to " + req.Upgrade)
	}
	n := naming.New(now, naming.Trace(&req.Head.Fields), req.Caller.Address, &req.Head)
	d.account, d.traceparent = e.cfg.newAccount(n.ID, crossingv1.Side_EGRESS, v, now), n.Traceparent
	d.half.Traced(n.Traceparent)
	d.half.From(&req.Caller, n.Address)
	d.asked(n.Operation, &req.Head)
	d.half.End.ContentSeen = req.Head.Method != http.MethodConnect
	if !v.Allow && !v.Pending {
		d.half.Asks(v)
		d.refuse(v, v.Reason)
		return
	}
	if detail, is := e.cfg.Limits.tooLong(&req.Head); is {
		d.half.End.Detail = detail
		d.tooLarge()
		d.refuse(v, crossingv1.Reason_TOO_LARGE)
		return
	}
	if !d.enter(d.half.Source) {
		d.refuse(v, crossingv1.Reason_OVER_LIMIT)
		return
	}
	if !d.inspect(v) || !d.admit(v) || !d.guarded(v) || !d.afford(v, now) || !d.keep(v) {
		return
	}
	t, err := e.tunnels.Pick(&d.calling, v.To, classOf(v.Service, &req.Head))
	if err != nil {
		d.half.End.Detail = crossing.Detail(err.Error())
		if d.calling.Err() != nil {
			d.half.End.Detail = "the caller left before a tunnel was found"
		}
		d.refuse(v, crossingv1.Reason_UNREACHABLE)
		return
	}
	d.carry(v, t)
}

// RefuseKnown records a request of a known caller that is not well formed: it
// never became an exchange, but somebody did it. It gives the crossing's id, ""
// if it could not be recorded, and who answers for it.
func (e *Egress) RefuseKnown(caller listener.Caller, head *l7.RequestHead, reason crossingv1.Reason, detail string) (id, owner string) {
	now := time.Now()
	v := e.cfg.Authz.EgressUnread(reason, detail)
	if head == nil {
		head = &l7.RequestHead{}
	}
	n := naming.New(now, l7.NewTraceparent(), caller.Address, head)
	a := e.cfg.newAccount(n.ID, crossingv1.Side_EGRESS, &v, now)
	defer a.free()
	a.half.Traced(n.Traceparent)
	a.half.From(&caller, n.Address)
	a.asked(n.Operation, head)
	if a.recordRefusal(&v, v.Reason) != nil {
		return "", a.owner // an id that nobody could look up helps nobody
	}
	return a.id, a.owner
}

// refuse records a crossing that goes nowhere, in this gateway's own chain,
// and tells the caller.
func (d *departure) refuse(v *authz.Verdict, reason crossingv1.Reason) {
	if err := d.recordRefusal(v, reason); err != nil {
		reason = crossingv1.Reason_NOT_RECORDED
	}
	d.problem(reason, v.Owner())
}

func (a *account) recordRefusal(v *authz.Verdict, reason crossingv1.Reason) error {
	a.abandon()
	a.numbered(a.cfg.Self.String(), "", a.cfg.Spool.RunID(), a.cfg.Spool.Next(""))
	a.half.Refused(reason, time.Since(a.opened))
	return a.open(v)
}

// problem answers the caller in the gateway's own name.
func (d *departure) problem(reason crossingv1.Reason, owner string) {
	head, body := d.refusal(reason, owner)
	if d.retry > 0 {
		head.Fields.Set("retry-after", strconv.Itoa(d.retry))
	}
	if err := d.resp.WriteHead(head, len(body) == 0); err != nil || len(body) == 0 {
		return
	}
	if _, err := d.resp.Write(body); err == nil {
		d.resp.End(nil) //nolint:errcheck // the caller is gone, and the crossing was refused anyway
	}
}

// refusal is what the caller is told, in the words of what it speaks.
func (d *departure) refusal(reason crossingv1.Reason, owner string) (*l7.ResponseHead, []byte) {
	head, status, detail := &d.req.Head, d.status, d.detail
	if how := howToProve(reason, &d.verdict); how != "" {
		status, detail = http.StatusForbidden, how
	}
	switch p := d.verdict.Protocol(); {
	case d.fault != nil && d.fault.Check != nil && reason == crossingv1.Reason_DISAGREES:
		return d.fault.Check.Answer(d.id, owner, head)
	case d.req.Upgrade != "" && reason == crossingv1.Reason_NOT_ENFORCEABLE:
		return l7.ProblemStatus(http.StatusNotImplemented, "this gateway does not change protocols", d.id, reason, owner, head)
	case p != nil:
		return p.Refuse(&inspect.Refusal{Crossing: d.id, Reason: reason, Owner: owner, Detail: detail, Status: status, RetryAfter: int64(d.retry)}, d.verdict.Asks(), head)
	}
	return l7.ProblemStatus(status, detail, d.id, reason, owner, head)
}

// carry opens the crossing and relays it.
func (d *departure) carry(v *authz.Verdict, t tunnel.Tunnel) {
	info := t.Info()
	ingress := info.Peer.String()
	d.numbered(d.cfg.Self.String(), ingress, d.cfg.Spool.RunID(), d.cfg.Spool.Next(ingress))
	d.half.Carried(info)
	if err := d.open(v); err != nil {
		d.problem(crossingv1.Reason_NOT_RECORDED, v.Owner())
		return
	}
	stream, err := d.say(&d.calling, v, t)
	if err != nil {
		d.unopened(v)
		return
	}
	d.stream = stream
	d.calling.Follow(stream)
	d.stand(d.round, v, d.req.Caller.ID, info.Peer, d.req.Caller.Credential, d.req)
	d.relay(v)
}

// headers are used for one crossing after another: a tunnel keeps nothing of them.
var headers = sync.Pool{New: func() any { return new(crossing.Header) }}

// say opens a stream with the crossing's header.
func (d *departure) say(ctx context.Context, v *authz.Verdict, t tunnel.Tunnel) (tunnel.Stream, error) {
	h := headers.Get().(*crossing.Header)
	d.header(h, v)
	stream, err := t.Open(ctx, &h.Header)
	h.Reset()
	headers.Put(h)
	return stream, err
}

// header fills an empty header.
func (d *departure) header(h *crossing.Header, v *authz.Verdict) {
	h.Id, h.Run, h.Sequence = d.id, d.key.Run, d.key.Sequence
	h.Traceparent, h.Tracestate = d.traceparent, naming.State(d.req.Head.Fields)
	h.Source, h.SourceSvid, h.Attach = d.req.Caller.ID.String(), d.req.Caller.SVID, d.req.Caller.Attach
	h.Destination, h.Workload, h.Service = v.Workload.ID.String(), v.Workload.Name, v.Service.Name
	h.SetPolicy(v.Policy.Serial, v.Policy.Revision)
	h.Intent = v.Intent
	if v.Proof != "" { // else it may be for others
		h.Proof = d.req.Head.Proof
	}
	if v.Label != nil {
		h.Label = d.req.Head.Label
	}
	h.Kind = crossingv1.Header_HTTP
	if d.req.Head.Method == http.MethodConnect {
		h.Kind = crossingv1.Header_BYTES
	}
	h.SetOpened(d.opened)
}

// unopened ends a crossing that the tunnel did not take.
func (d *departure) unopened(v *authz.Verdict) {
	if d.calling.Err() != nil {
		d.ended(crossingv1.Cause_CALLER_GONE, crossingv1.Reason_REASON_UNSPECIFIED)
		d.resp.Abort()
		return
	}
	d.ended(crossingv1.Cause_PEER_LOST, crossingv1.Reason_UNREACHABLE)
	d.problem(crossingv1.Reason_UNREACHABLE, v.Owner())
}

// relay sends the request and brings the answer.
func (d *departure) relay(v *authz.Verdict) {
	l7.StripIncoming(&d.req.Head.Fields) // what ends at this gateway
	if d.req.Head.Method == http.MethodConnect {
		d.relayBytes(v)
		return
	}
	d.watch = d.watch.Follow(d.stream, d.cfg.Limits.times())
	p := &d.pump
	d.uploads(d.parties(), &d.req.Head, d.req.Body == http.NoBody)
	p.begin(d.stream, d.req, &d.cfg.Limits, d.watch, &d.count)
	p.up, p.kept, p.flow = d.up, d.kept, d.flow
	d.flow.Follow(&d.calling, d.stream, d.watch)
	if p.ready() {
		p.run(&d.req.Head, true)
		cause, reason := d.answer(v, p)
		d.conclude(p, cause, reason)
		return
	}
	finished := make(chan struct{})
	go func() { defer close(finished); p.run(&d.req.Head, false) }()
	cause, reason := d.answer(v, p)
	d.conclude(p, cause, reason)
	d.req.Body.Close()
	<-finished
}

// conclude ends the stream and closes the record. Only the first call counts.
func (d *departure) conclude(p *pump, cause crossingv1.Cause, reason crossingv1.Reason) {
	switch cause {
	case crossingv1.Cause_DONE, crossingv1.Cause_REFUSED_BY_PEER:
		// The peer gateway reads to the request's end, to count it.
	case crossingv1.Cause_PROTOCOL_ERROR:
		d.stream.Reset(tunnel.ProtocolError)
	default:
		d.stream.Reset(tunnel.CallerGone)
	}
	p.stop()
	if cause == crossingv1.Cause_REFUSED && hold.Faulty(reason) { // its reading has ended
		d.broke()
	}
	d.ended(cause, reason)
}

// answer relays the peer gateway's frames to the caller until the answer ends.
func (d *departure) answer(v *authz.Verdict, p *pump) (crossingv1.Cause, crossingv1.Reason) {
	d.frames.Reset(d.stream)
	frame, err := d.frames.Next()
	if err == nil && frame.Kind == l7.KindResponseHead {
		return d.respond(&d.frames, frame, p)
	}
	cause, reason := crossingv1.Cause_PROTOCOL_ERROR, crossingv1.Reason_UNREACHABLE
	switch {
	case err != nil:
		var refused crossingv1.Reason
		cause, refused = p.blame(lost(err))
		if reason = beyond(err, cause, reason); refused != crossingv1.Reason_REASON_UNSPECIFIED {
			reason = refused
		}
		if reason == crossingv1.Reason_OVER_LIMIT {
			d.tooLate()
		}
	case frame.Kind == l7.KindRefusal:
		cause, reason = crossingv1.Cause_REFUSED_BY_PEER, frame.Refusal.Reason
	}
	if cause == crossingv1.Cause_CALLER_GONE {
		d.resp.Abort()
		return cause, crossingv1.Reason_REASON_UNSPECIFIED
	}
	if reason == crossingv1.Reason_TOO_LARGE && cause != crossingv1.Cause_PROTOCOL_ERROR {
		d.tooLarge() // it is well formed
	}
	if after, is := d.flow.Over(); is {
		d.retry = after
	}
	d.conclude(p, cause, reason) // who holds the problem finds it recorded
	d.problem(reason, v.Owner())
	return cause, reason
}

// respond relays an answer that has begun. The record is closed before the
// caller has the answer's end: who holds a whole answer finds it recorded.
func (d *departure) respond(frames *l7.FrameReader, first l7.Frame, p *pump) (crossingv1.Cause, crossingv1.Reason) {
	d.answered(first.Response)
	d.downloads(d.parties(), &d.req.Head, first.Response, first.End)
	if !d.begins(&d.verdict, &d.req.Head, first.Response, first.End) {
		why, _ := d.forbidden()
		d.conclude(p, crossingv1.Cause_REFUSED, crossingv1.Reason_REASON_UNSPECIFIED)
		d.problem(why, d.verdict.Owner())
		return crossingv1.Cause_REFUSED, crossingv1.Reason_REASON_UNSPECIFIED
	}
	d.left = d.contentOf(first.Response)
	d.watch.Passed()
	first.Response.Fields.DelFunc(l7.GatewaysOwn)
	first.Response.Fields.Set(crossingField, d.id)
	if first.End {
		d.done(p)
		return d.sent(d.resp.WriteHead(first.Response, true))
	}
	if err := d.resp.WriteHead(first.Response, false); err != nil {
		return d.sent(err)
	}
	if !frames.Ready() { // what follows may take its time
		if err := d.resp.Flush(); err != nil {
			return d.sent(err)
		}
	}
	room := copyBuffers.Get().(*[]byte)
	defer copyBuffers.Put(room)
	for {
		frame, err := frames.Next()
		switch {
		case err != nil:
			d.resp.Abort()
			return p.blame(lost(err))
		case frame.Kind == l7.KindTrailers:
			if rest, err := d.mayLast(); err != nil || d.pass(rest) != nil {
				d.resp.Abort()
				return p.blame(crossingv1.Cause_CALLER_GONE)
			}
			d.concluded(frame.Trailers)
			d.down.Finish(frame.Trailers)
			frame.Trailers.DelFunc(l7.GatewaysOwn)
			d.done(p)
			return d.sent(d.resp.End(frame.Trailers))
		case frame.Kind != l7.KindData:
			d.resp.Abort()
			return crossingv1.Cause_PROTOCOL_ERROR, crossingv1.Reason_MALFORMED
		}
		if cause := d.data(frames, *room); cause != crossingv1.Cause_CAUSE_UNSPECIFIED {
			return p.blame(cause)
		}
	}
}

// contentOf is the length of an answer's content, -1 if its head does not tell.
func (d *departure) contentOf(head *l7.ResponseHead) int64 {
	n, known, err := head.Fields.ContentLength()
	if err != nil || !known {
		return -1
	}
	return n
}

// done closes the record of an exchange whose answer has all been received. A caller
// who has it may leave: the peer gateway is not to take that for a broken exchange.
func (d *departure) done(p *pump) {
	d.unwatch()
	d.conclude(p, crossingv1.Cause_DONE, crossingv1.Reason_REASON_UNSPECIFIED)
}

func (d *departure) sent(err error) (crossingv1.Cause, crossingv1.Reason) {
	if err != nil {
		return crossingv1.Cause_CALLER_GONE, crossingv1.Reason_REASON_UNSPECIFIED
	}
	return crossingv1.Cause_DONE, crossingv1.Reason_REASON_UNSPECIFIED
}
