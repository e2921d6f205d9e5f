// Package exchange carries a crossing through a gateway: identify, decide,
// record, forward, record. It holds the order of things, and the invariant that
// everything else relies on: nothing of a crossing is forwarded before its
// opening is in the spool, and whatever opened is closed in the record with
// the cause of its end.
package exchange

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.uber.org/zap"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/internal/admission"
	"github.com/sallyport-mesh/sallyport/gateway/internal/authz"
	"github.com/sallyport-mesh/sallyport/gateway/internal/budget"
	"github.com/sallyport-mesh/sallyport/gateway/internal/budget/spend"
	"github.com/sallyport-mesh/sallyport/gateway/internal/credentials"
	"github.com/sallyport-mesh/sallyport/gateway/internal/guard"
	"github.com/sallyport-mesh/sallyport/gateway/internal/hear"
	"github.com/sallyport-mesh/sallyport/gateway/internal/hold"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/labelled"
	"github.com/sallyport-mesh/sallyport/gateway/internal/opening"
	"github.com/sallyport-mesh/sallyport/gateway/internal/pace"
	"github.com/sallyport-mesh/sallyport/gateway/internal/quota"
	"github.com/sallyport-mesh/sallyport/gateway/internal/seal"
	"github.com/sallyport-mesh/sallyport/gateway/internal/seen"
	"github.com/sallyport-mesh/sallyport/gateway/internal/standing"
	"github.com/sallyport-mesh/sallyport/gateway/internal/transfer/digest"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

const (
	// copyBuffer is how much of a body is in memory in each direction.
	copyBuffer = 32 << 10
	// crossingField tells both ends' workloads the crossing's id.
	crossingField = "sallyport-crossing"
	// grpcCancelled is gRPC's status CANCELLED (grpc/doc/statuscodes.md).
	grpcCancelled = 1
)

// copyBuffers are of copyBuffer bytes.
var copyBuffers = sync.Pool{New: func() any {
	b := make([]byte, copyBuffer)
	return &b
}}

// spool is where halves go. A crossing whose Open returned nil is recorded,
// whatever happens next. It keeps nothing of what it is given; any number of
// goroutines may call it.
type spool interface {
	RunID() string
	Next(ingress string) uint64
	// Open records a crossing that opened, or was refused: on stable storage if
	// durable; in memory while nothing can be written, if it goes on all the same.
	Open(h *crossingv1.Half, durable, goesOn bool) error
	Close(c *crossingv1.Close) error
	// Say writes a frame of another kind, which it may keep.
	Say(f *crossingv1.Frame, durable bool) error
	Refuse(reason crossingv1.Reason, addr netip.AddrPort, listener, detail string)
}

// authorizer decides; what it cannot decide it denies.
type authorizer interface {
	Egress(caller spiffeid.ID, head *l7.RequestHead, now time.Time) authz.Verdict
	EgressUnread(reason crossingv1.Reason, detail string) authz.Verdict
	Ingress(peer spiffeid.ID, h *crossingv1.Header, head *l7.RequestHead, now time.Time) authz.Verdict
	IngressUnread(peer spiffeid.ID, h *crossingv1.Header, detail string) authz.Verdict
	// Answer is nil if the answer came without a label.
	Answer(v *authz.Verdict, head *l7.ResponseHead, opened time.Time) *authz.Answer
}

var _ authorizer = (*authz.Authorizer)(nil)

// Config is what both halves of a gateway need.
type Config struct {
	Self  spiffeid.ID // the gateway's own SPIFFE ID
	Authz authorizer
	Spool spool
	Log   *zap.Logger
	// Ledger knows the numbers of what comes here; nil if nothing is stated of them.
	Ledger ledger
	// Tools remembers what tools looked like when they were listed; nil for none.
	Tools *seen.Tools
	// Manifests remembers what manifests name that callers got here; nil for none.
	Manifests *admission.Memory
	// Secrets are what workloads are shown in place of what callers send; nil for none.
	Secrets *credentials.Holder
	// Sealer keeps what the policy says of contents; nil for nothing, and then what is to be
	// kept is refused.
	Sealer *seal.Sealer
	// Guards are asked whether contents may pass; nil for none, and then nothing passes that
	// one must let pass.
	Guards *guard.Guards
	// Budgets count what callers use of their limits; nil for none, and then nothing is
	// let through that has any.
	Budgets *budget.Ledger
	// Store is the room for contents that are held; nil for any.
	Store *hold.Store
	// Quota is what each caller may have under way; nil for no limit.
	Quota *quota.Quota
	// Limits of each crossing.
	Limits Limits
	// Standing knows those that are open; nil if nobody ends them, nor asks how far
	// they have come.
	Standing *standing.Standing
	// ProgressEvery is how often it is recorded how far an open crossing has come; a
	// minute if zero.
	ProgressEvery time.Duration
	// Delayed is told how long each piece of an event stream was in this gateway; nil
	// if nobody is.
	Delayed func(side crossingv1.Side, delay time.Duration)
}

// account is this gateway's account of one crossing while it goes on. It may last
// for long, and holds little once the opening is recorded.
type account struct {
	cfg        *Config
	id         string
	owner      string        // who answers for it
	half       *opening.Half // nil once it is recorded
	opened     time.Time
	close      crossingv1.Close
	first      time.Duration    // until the answer's head
	begun      bool             // and there was one
	grpc       bool             // it is a gRPC call, whose status is not HTTP's
	stream     tunnel.Stream    // in the tunnel; nil before it is open
	caller     string           // counted in the quota; "" if not
	watch      *pace.Watch      // nil if nothing bounds its time
	up         *digest.Movement // of an object, with the request; nil if there is none
	budget     *spend.Exchange  // nil if it has none
	flow       *pace.Flow       // of its bytes; nil if no budget counts them
	unrecorded bool             // what was to be kept of the answer could not be
	kept       *seal.Content    // nil if nothing is kept
	heard      *hear.Answer     // by the answer; nil if nobody reads it
	down       *digest.Movement // with the answer
	stands     standing.Crossing
	count      tunnel.Count // of content
	told       int64        // intervals after which it was recorded

	admission *admission.Control // nil if content of any digest may move
	answers   *admission.Content // the answer's; nil if it is not held against digests
	labelled  *labelled.Answer   // nil if it came without a label

	key crossingv1.Key // part of half and close
}

// spans are the times of an end. They are made as it is recorded: a crossing that is
// idle for long is without them.
type spans struct{ duration, firstByte, throttled durationpb.Duration }

var spareSpans = sync.Pool{New: func() any { return new(spans) }}

var accounts = sync.Pool{New: func() any { return new(account) }}

func (c *Config) newAccount(id string, side crossingv1.Side, v *authz.Verdict, now time.Time) *account {
	a := accounts.Get().(*account)
	a.cfg, a.id, a.owner, a.half, a.opened = c, id, v.Owner(), opening.New(), now
	a.half.Id, a.half.Key, a.half.Side = id, &a.key, side
	a.close.Id, a.close.Key, a.close.Side = id, &a.key, side
	a.half.Judged(v, c.Self.String(), now)
	a.half.Found(v)
	return a
}

// free gives back an account that was closed, and that nobody else knows.
func (a *account) free() {
	*a = account{}
	accounts.Put(a)
}

// numbered gives the crossing its place among those of its gateways.
func (a *account) numbered(egress, ingress, run string, sequence uint64) {
	a.key.Egress, a.key.Ingress, a.key.Run, a.key.Sequence = egress, ingress, run, sequence
}

// asked records what was asked for: method and path, host and port, never a
// query or a body. Of a request that is not well formed, it is what there was.
func (a *account) asked(operation string, head *l7.RequestHead) {
	const longest = 256
	a.grpc = head.IsGRPC()
	name := crossing.Detail(operation)
	a.half.Operation.Name = name[:min(len(name), longest)]
	a.half.Operation.Authority = crossing.Authority(head.Authority)
}

// open puts the opening into the spool: after it, the crossing is recorded. One that
// cannot be goes nowhere. It does not hear of a caller that gives up, which must not
// leave a crossing half written.
func (a *account) open(v *authz.Verdict) error {
	err := a.cfg.Spool.Open(&a.half.Half, v.Durable(), v.GoesOn())
	a.half.Free()
	a.half = nil
	if err != nil {
		a.abandon()
	}
	return err
}

// abandon lets go of what a crossing holds that goes nowhere.
func (a *account) abandon() {
	a.release()
	a.flow.End()
	a.budget.Drop()
	a.kept.Close()
}

// slim lets go of what the names of a recorded crossing are parts of: it may be
// idle for long.
func (a *account) slim() {
	a.caller = strings.Clone(a.caller)
	a.cfg.Standing.Slim(&a.stands, func() {
		a.id, a.key.Run = strings.Clone(a.id), strings.Clone(a.key.Run)
		a.close.Id = a.id
	})
}

// passed is how much has gone to the destination, and how much to the caller, in
// bytes.
func (a *account) passed() (request, response uint64) {
	request, response = a.count.Sent.Load(), a.count.Received.Load()
	if a.close.Side == crossingv1.Side_INGRESS {
		request, response = response, request
	}
	return request, response
}

// answered notes the answer's head.
func (a *account) answered(head *l7.ResponseHead) {
	a.first, a.begun = time.Since(a.opened), true
	a.close.Status = uint32(head.Status)
	a.close.Streamed = strings.HasPrefix(head.Fields.Get("content-type"), "text/event-stream")
	a.concluded(head.Fields)
}

// came is when a piece of an event stream came, for passedOn; zero of anything else.
func (a *account) came() (at time.Time) {
	if a.close.Streamed {
		at = time.Now()
	}
	return at
}

// passedOn tells how long a piece of an event stream was here.
func (a *account) passedOn(came time.Time) {
	if !came.IsZero() && a.cfg.Delayed != nil {
		a.cfg.Delayed(a.close.Side, time.Since(came))
	}
}

// concluded notes a gRPC call's status and what is said beside it, from its
// trailers or its only head.
func (a *account) concluded(f l7.Fields) {
	text := ""
	if a.grpc {
		text = f.Get("grpc-status")
	}
	if text == "" {
		return
	}
	status := uint32(2) // UNKNOWN, as a gRPC client reads what it cannot parse
	if n, ok := parseStatus(text); ok {
		status = n
	}
	a.close.Status, a.close.Message = status, crossing.Message(f.Get("grpc-message"))
}

func parseStatus(text string) (uint32, bool) {
	var n uint32
	for _, c := range []byte(text) {
		if c < '0' || c > '9' || n > 1000 {
			return 0, false
		}
		n = n*10 + uint32(c-'0')
	}
	return n, true
}

// ended puts the end into the spool. Only the first call counts.
func (a *account) ended(cause crossingv1.Cause, reason crossingv1.Reason) {
	if a.close.Cause != crossingv1.Cause_CAUSE_UNSPECIFIED {
		return
	}
	a.release()
	if cause, reason = a.fell(cause, reason); cause == crossingv1.Cause_REFUSED && reason == crossingv1.Reason_REASON_UNSPECIFIED {
		reason = beyond(nil, cause, reason)
	}
	if a.unrecorded {
		reason = crossingv1.Reason_NOT_RECORDED
	}
	if why, err := a.forbidden(); err != nil {
		cause, reason, a.close.Detail = crossingv1.Cause_REFUSED, why, crossing.Detail(err.Error())
	}
	throttled, over := a.flow.End()
	if over != nil && cause != crossingv1.Cause_DONE {
		cause, reason, a.close.Detail = crossingv1.Cause_REFUSED, crossingv1.Reason_OVER_BUDGET, crossing.Detail(over.String())
	}
	a.moved()
	c := &a.close
	s := spareSpans.Get().(*spans)
	c.Duration = opening.Lasting(&s.duration, time.Since(a.opened))
	if a.begun {
		c.FirstByte = opening.Lasting(&s.firstByte, a.first)
	}
	if throttled > 0 {
		c.Throttled = opening.Lasting(&s.throttled, throttled)
	}
	c.Cause, c.Reason = cause, reason
	c.RequestBytes, c.ResponseBytes = a.passed()
	c.Transfer, c.Said, c.Kept = a.transferred(), a.heard.Record(), a.keeps()
	c.AnswerClass, c.AnswerLabeler = a.labelled.Record()
	a.spend(c.Said, cause)
	if a.grpc && cause == crossingv1.Cause_CALLER_GONE {
		c.Status, c.Message = grpcCancelled, "" // as the caller has it, who is told nothing any more
	}
	if err := a.cfg.Spool.Close(c); err != nil {
		a.cfg.Log.Error("crossing closed but not spooled", zap.String("crossing", a.id), zap.Error(err))
	}
	c.Duration, c.FirstByte, c.Throttled = nil, nil, nil
	*s = spans{}
	spareSpans.Put(s)
}

// lost says why a tunnel stream ended early.
func lost(err error) crossingv1.Cause {
	var reset *tunnel.ResetError
	switch {
	case errors.As(err, &reset):
		switch reset.Code {
		case tunnel.CallerGone:
			return crossingv1.Cause_CALLER_GONE
		case tunnel.DestinationGone:
			return crossingv1.Cause_DESTINATION_FAILED
		case tunnel.ProtocolError:
			return crossingv1.Cause_PROTOCOL_ERROR
		}
		if reset.Code != tunnel.Refused && reset.Code.Reason() == crossingv1.Reason_REASON_UNSPECIFIED {
			return crossingv1.Cause_PEER_LOST
		}
		if reset.Remote {
			return crossingv1.Cause_REFUSED_BY_PEER
		}
		return crossingv1.Cause_REFUSED
	case errors.Is(err, net.ErrClosed), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return crossingv1.Cause_PEER_LOST
	}
	return crossingv1.Cause_PROTOCOL_ERROR
}
