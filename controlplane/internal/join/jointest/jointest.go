// Package jointest makes crossings, and what gateways say of them, for tests.
package jointest

import (
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// The gateways, and the runs of the one in onprem and of the others.
const (
	Onprem1    = "spiffe://onprem.example/sallyport/gateway/onprem-1"
	Azure1     = "spiffe://azure.example/sallyport/gateway/azure-1"
	AWS1       = "spiffe://aws.example/sallyport/gateway/aws-1"
	Run        = "b41f0c9a7d5e43218f6a2b3c4d5e6f70"
	IngressRun = "5c0ffee0c0ffee0c0ffee0c0ffee0c0f"
)

// Start is when the first crossing of every test opens.
var Start = time.Date(2026, 11, 23, 10, 15, 0, 0, time.UTC)

// Trip is a crossing and what its gateways say of it.
type Trip struct {
	// N says that it opened N seconds after Start, with N+1 for its sequence.
	N int
	// ID of the crossing.
	ID string
	// Ingress is the gateway; empty if it was refused at egress.
	Ingress string
	// Denied at ingress.
	Denied bool
}

// NewTrip is the n-th crossing from onprem to azure.
func NewTrip(n int) Trip {
	return Trip{N: n, ID: fmt.Sprintf("%s-7000-8000-%012x", idTime(n), n), Ingress: Azure1}
}

// idTime is the part of a UUIDv7 that is its time.
func idTime(n int) string {
	ms := fmt.Sprintf("%012x", Start.Add(time.Duration(n)*time.Second).UnixMilli())
	return ms[:8] + "-" + ms[8:]
}

// Opened is when.
func (c Trip) Opened() time.Time { return Start.Add(time.Duration(c.N) * time.Second) }

// Key is its place in the numbering.
func (c Trip) Key() *crossingv1.Key {
	return &crossingv1.Key{Egress: Onprem1, Ingress: c.Ingress, Run: Run, Sequence: uint64(c.N) + 1}
}

func (c Trip) half(side crossingv1.Side, gateway string) *crossingv1.Half {
	to := "azure"
	if c.Ingress == AWS1 {
		to = "aws"
	}
	return &crossingv1.Half{
		Id: c.ID, Key: c.Key(), Side: side,
		Transition:  &crossingv1.Transition{From: "onprem", To: to, Owner: "owner-of-" + to},
		Source:      "spiffe://onprem.example/orchestrator",
		Destination: "spiffe://" + to + ".example/llm",
		Trace:       fmt.Sprintf("%032x", c.N/2+1), // two crossings to a trace
		Span:        fmt.Sprintf("%016x", c.N+1),
		Operation:   &crossingv1.Operation{Service: "chat"},
		End: &crossingv1.End{
			Gateway: gateway, Decision: crossingv1.Decision_ALLOW,
			Policy: &crossingv1.PolicyRef{Serial: 1, Revision: "sha256:" + strings.Repeat("9", 64)},
			Open:   timestamppb.New(c.Opened()),
		},
	}
}

func frame(gateway string, h *crossingv1.Half, c *crossingv1.Close) *crossingv1.Frame {
	run := IngressRun
	if gateway == Onprem1 {
		run = Run
	}
	return &crossingv1.Frame{Gateway: gateway, Run: run, Open: h, Close: c}
}

// EgressOpen is its opening at the egress gateway.
func (c Trip) EgressOpen() *crossingv1.Frame {
	h := c.half(crossingv1.Side_EGRESS, Onprem1)
	if c.Ingress == "" {
		h.End.Decision, h.End.Reason = crossingv1.Decision_DENY, crossingv1.Reason_NO_INTENT
		h.End.Close = crossingv1.Cause_REFUSED
	}
	return frame(Onprem1, h, nil)
}

// IngressOpen is that at the ingress gateway.
func (c Trip) IngressOpen() *crossingv1.Frame {
	h := c.half(crossingv1.Side_INGRESS, c.Ingress)
	if c.Denied {
		h.End.Decision, h.End.Reason = crossingv1.Decision_DENY, crossingv1.Reason_POLICY_MISMATCH
	}
	return frame(c.Ingress, h, nil)
}

func (c Trip) end(side crossingv1.Side) *crossingv1.Close {
	return &crossingv1.Close{
		Id: c.ID, Key: c.Key(), Side: side, Duration: durationpb.New(time.Second),
		RequestBytes: 10, ResponseBytes: 20, Status: 200, Cause: crossingv1.Cause_DONE,
	}
}

// EgressClose is its end at the egress gateway.
func (c Trip) EgressClose() *crossingv1.Frame {
	end := c.end(crossingv1.Side_EGRESS)
	if c.Denied {
		end.Cause, end.Reason = crossingv1.Cause_REFUSED_BY_PEER, crossingv1.Reason_POLICY_MISMATCH
	}
	return frame(Onprem1, nil, end)
}

// IngressClose is that at the ingress gateway.
func (c Trip) IngressClose() *crossingv1.Frame {
	end := c.end(crossingv1.Side_INGRESS)
	if c.Denied {
		end.Cause, end.Reason = crossingv1.Cause_REFUSED, crossingv1.Reason_POLICY_MISMATCH
	}
	return frame(c.Ingress, nil, end)
}

// Frames are all that its gateways say of it.
func (c Trip) Frames() []*crossingv1.Frame {
	if c.Ingress == "" {
		return []*crossingv1.Frame{c.EgressOpen()}
	}
	return []*crossingv1.Frame{c.EgressOpen(), c.IngressOpen(), c.IngressClose(), c.EgressClose()}
}
