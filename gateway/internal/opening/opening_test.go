package opening

import (
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/protobuf/proto"

	"github.com/sallyport-mesh/sallyport/gateway/internal/authz"
	"github.com/sallyport-mesh/sallyport/gateway/internal/listener"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	"github.com/sallyport-mesh/sallyport/gateway/policy"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

var (
	near  = spiffeid.RequireFromString("spiffe://near.test/sallyport/gateway/near-1")
	agent = spiffeid.RequireFromString("spiffe://near.test/ai/agent")
)

// TestHalvesAreEmpty: nothing of one crossing is in the half of the next, however
// much the one said and little the other.
func TestHalvesAreEmpty(t *testing.T) {
	want := &crossingv1.Half{
		Transition: &crossingv1.Transition{}, Operation: &crossingv1.Operation{}, End: &crossingv1.End{},
	}
	for range 10 {
		h := New()
		if !proto.Equal(&h.Half, want) {
			t.Fatalf("a new half says %v", &h.Half)
		}
		h.Judged(&authz.Verdict{
			Detail: "detail", Intent: "intent",
			Policy: policy.Ref{Serial: 1, Revision: "r"}, Named: policy.Ref{Serial: 2, Revision: "s"},
		}, near.String(), time.Now())
		h.Found(&authz.Verdict{
			From: "near", To: "far", Transition: &policy.Transition{Owner: "owner", Sink: "sink"},
			Workload: &policy.Workload{ID: agent}, Service: &policy.Service{Name: "chat", Protocol: "openai"},
		})
		h.Traced("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
		h.From(&listener.Caller{ID: agent, SVID: "sha256:00", TLS: "TLS 1.3"}, "192.0.2.1:1")
		h.Carried(tunnel.Info{Carrier: tunnel.QUIC, RoundTrip: time.Second, ClockOffset: time.Second})
		h.Refused(crossingv1.Reason_UNREACHABLE, time.Second)
		h.Free()
	}
}

// TestNamedOnlyIfAnother: an ingress gateway says which policy its peer named if
// that is another than its own.
func TestNamedOnlyIfAnother(t *testing.T) {
	one, two := policy.Ref{Serial: 1, Revision: "r"}, policy.Ref{Serial: 2, Revision: "s"}
	for _, c := range []struct {
		own, named policy.Ref
		want       *crossingv1.PolicyRef
	}{
		{one, one, nil},
		{one, policy.Ref{}, nil},
		{one, two, &crossingv1.PolicyRef{Serial: 2, Revision: "s"}},
		{policy.Ref{}, two, &crossingv1.PolicyRef{Serial: 2, Revision: "s"}},
	} {
		h := New()
		h.Judged(&authz.Verdict{Policy: c.own, Named: c.named}, near.String(), time.Now())
		if !proto.Equal(h.End.GetNamed(), c.want) || (h.End.GetPolicy() == nil) != (c.own == policy.Ref{}) {
			t.Errorf("under %v, named %v: %v", c.own, c.named, h.End)
		}
		h.Free()
	}
}
