// Package opening makes the half record of a crossing that opens: what was decided, by
// whom, who calls whom for what, and what carries it. One half and all that it may hold
// are one piece of memory, so that a crossing allocates none of it.
package opening

import (
	"math"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/internal/authz"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/inspect"
	"github.com/sallyport-mesh/sallyport/gateway/internal/listener"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	"github.com/sallyport-mesh/sallyport/gateway/policy"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// Half is a half record and all that it may hold. It is used for one crossing after
// another: until its opening is in the spool, which keeps nothing of it.
type Half struct {
	crossingv1.Half
	transition    crossingv1.Transition
	operation     crossingv1.Operation
	end           crossingv1.End
	policy, named crossingv1.PolicyRef
	peer          crossingv1.Peer
	open          timestamppb.Timestamp
	duration      durationpb.Duration
	tunnel        Carriage
}

var halves = sync.Pool{New: func() any { return new(Half) }}

// New gives an empty half, but for the parts that all have.
func New() *Half {
	h := halves.Get().(*Half)
	h.Transition, h.Operation, h.End = &h.transition, &h.operation, &h.end
	return h
}

// Free gives it back. It lets go of all texts first.
func (h *Half) Free() {
	*h = Half{}
	halves.Put(h)
}

// Judged records what was decided, by whom and when.
func (h *Half) Judged(v *authz.Verdict, gateway string, now time.Time) {
	end := h.End
	end.Gateway, end.Intent, end.Reason, end.Detail = gateway, v.Intent, v.Reason, crossing.Detail(v.Detail)
	end.Decision, end.Proof = crossingv1.Decision_DENY, v.Proof
	if v.Allow {
		end.Decision = crossingv1.Decision_ALLOW
	}
	end.Policy = refer(&h.policy, v.Policy)
	if v.Named != v.Policy {
		end.Named = refer(&h.named, v.Named)
	}
	h.open.Seconds, h.open.Nanos = now.Unix(), int32(now.Nanosecond())
	end.Open = &h.open
}

// refer makes a reference in the room for one; nil if there is no policy.
func refer(room *crossingv1.PolicyRef, r policy.Ref) *crossingv1.PolicyRef {
	if r == (policy.Ref{}) {
		return nil
	}
	room.Serial, room.Revision = r.Serial, r.Revision
	return room
}

// Found records who answers for the crossing, and what of whom it asks for.
func (h *Half) Found(v *authz.Verdict) {
	t := h.Transition
	t.From, t.To, t.Owner = v.From, v.To, v.Owner()
	if v.Transition != nil {
		t.Sink = v.Transition.Sink
	}
	if v.Workload != nil {
		h.Destination = v.Workload.ID.String()
	}
	if v.Service != nil {
		h.Operation.Protocol, h.Operation.Service = v.Service.Protocol, v.Service.Name
	}
}

// Traced records the trace and the span of a traceparent that is valid: whatever
// its version, they stand in the same place (Trace Context, section 3.2.2).
func (h *Half) Traced(traceparent string) { h.Trace, h.Span = traceparent[3:35], traceparent[36:52] }

// From records the caller, with the text of its address.
func (h *Half) From(c *listener.Caller, address string) {
	h.Source = c.ID.String()
	h.peer.Attach, h.peer.Svid, h.peer.Tls, h.peer.Address = c.Attach, c.SVID, c.TLS, address
	h.End.Peer = &h.peer
}

// Refused records that the crossing ended where it began.
func (h *Half) Refused(reason crossingv1.Reason, after time.Duration) {
	end := h.End // its decision is the policy's, whatever the reason
	end.Reason, end.Close, end.Duration = reason, crossingv1.Cause_REFUSED, Lasting(&h.duration, after)
}

// Carried records what carries the crossing.
func (h *Half) Carried(info tunnel.Info) { h.Tunnel = h.tunnel.Of(info) }

// Asks records what is asked for, and of what class it is.
func (h *Half) Asks(v *authz.Verdict) {
	o := h.Operation
	o.DataClass, o.DataClassSource = crossing.Word(v.DataClass), v.DataClassSource
	if v.Label != nil {
		o.Labeler = v.Label.Labeler.String()
	}
	what := v.Artifact()
	what.Record(o)
	asks := v.Asks()
	if len(asks) == 0 || what.Operation != "" {
		return
	}
	if o.Request == "" {
		o.Request = o.Name
	}
	first := &asks[0]
	o.Name, o.ModelRequested, o.Tool = crossing.Word(first.Operation), crossing.Word(first.Model), crossing.Word(first.Tool)
	o.Agent, o.Session = crossing.Word(first.Agent), first.Session
	o.ModelVersion, o.Inputs = crossing.Word(first.ModelVersion), inspect.RecordTensors(first.Inputs, crossing.Word)
	for _, tool := range first.Offered {
		o.Offered = append(o.Offered, crossing.Word(tool))
	}
	if first.MaxTokens >= 0 {
		most := uint32(min(first.MaxTokens, math.MaxUint32))
		o.MaxTokens = &most
	}
	h.messages(asks, v.Messages())
}

// messages records each of several.
func (h *Half) messages(asks []inspect.Ask, decided []authz.Message) {
	for i, m := range decided {
		decision := crossingv1.Decision_DENY
		if m.Allow {
			decision = crossingv1.Decision_ALLOW
		}
		h.Operation.Messages = append(h.Operation.Messages, &crossingv1.Operation_Message{
			Name: crossing.Word(asks[i].Operation), Tool: crossing.Word(asks[i].Tool), Model: crossing.Word(asks[i].Model),
			Intent: m.Intent, Decision: decision,
		})
	}
}
