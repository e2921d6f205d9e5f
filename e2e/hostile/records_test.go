package hostile

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/localmesh"
	"github.com/sallyport-mesh/sallyport/e2e/meshtest"
	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// calling is a connection to the control plane's API as somebody.
func calling(t *testing.T, m *meshtest.Mesh, as *certs.Source) *grpc.ClientConn {
	t.Helper()
	creds := credentials.NewTLS(certs.ClientTLS(as, certs.AuthorizeID(localmesh.ID("controlplane")), "h2"))
	at := m.Started(t, "onprem-1").GetControlPlane().GetAddress()
	conn, err := grpc.NewClient("passthrough:///"+at, grpc.WithTransportCredentials(creds))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// patiently is a context for what should come soon.
func patiently(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// hand delivers one batch over a stream of its own.
func hand(t *testing.T, conn *grpc.ClientConn, frames ...[]byte) (*controlv1.Ack, error) {
	t.Helper()
	stream, err := controlv1.NewCrossingServiceClient(conn).Deliver(patiently(t))
	if err != nil {
		return nil, err
	}
	if err := stream.Send(&controlv1.Batch{Frames: frames, Through: 1}); err != nil {
		t.Logf("send: %v", err) // receiving says why
	}
	return stream.Recv()
}

// egressFrames are the opening and the end that onprem's gateway might have
// written of a record: where they say anything else than it did, they are
// forged.
func egressFrames(r *crossingv1.Record) (opening, end *crossingv1.Frame) {
	e := r.GetEgress()
	key := &crossingv1.Key{
		Egress: e.GetGateway(), Ingress: r.GetIngress().GetGateway(),
		Run: r.GetEvidence().GetRun(), Sequence: r.GetEvidence().GetSequence(),
	}
	opening = &crossingv1.Frame{Gateway: e.GetGateway(), Run: key.Run, Open: &crossingv1.Half{
		Id: r.GetId(), Key: key, Side: crossingv1.Side_EGRESS, Transition: proto.CloneOf(r.GetTransition()),
		Source: r.GetSource(), Destination: r.GetDestination(), Trace: r.GetTrace(), Span: "00f067aa0ba902b7",
		Operation: proto.CloneOf(r.GetOperation()),
		End: &crossingv1.End{
			Gateway: e.GetGateway(), Decision: crossingv1.Decision_ALLOW, Policy: e.GetPolicy(), Intent: e.GetIntent(), Open: timestamppb.Now(),
		},
	}}
	asked := opening.GetOpen().GetOperation() // without what only the answer told
	asked.ModelServed, asked.FinishReason, asked.Tokens, asked.FirstToken = "", "", nil, nil
	end = &crossingv1.Frame{Gateway: e.GetGateway(), Run: key.Run, Close: &crossingv1.Close{
		Id: r.GetId(), Key: proto.CloneOf(key), Side: crossingv1.Side_EGRESS, Duration: durationpb.New(time.Second), Cause: crossingv1.Cause_DONE,
	}}
	return opening, end
}

// encoded is a frame as bytes, whatever is wrong with it.
func encoded(t *testing.T, f *crossingv1.Frame) []byte {
	t.Helper()
	b, err := proto.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// forgery is a frame that a gateway may not deliver.
type forgery struct {
	name    string
	as      string                  // who delivers it
	opening func(*crossingv1.Frame) // changes an opening
	end     func(*crossingv1.Frame) // or changes an end
	raw     []byte                  // or is it
	why     string                  // stands in the rejection
}

// gatewayID is the SPIFFE ID of a gateway such as aws-1.
func gatewayID(name string) string {
	return localmesh.GatewayID(strings.TrimSuffix(name, "-1")).String()
}

// fresh makes a frame one of a crossing that nobody has told of.
func fresh(f *crossingv1.Frame) {
	f.Open.Id, f.Open.Key.Sequence = crossing.NewID(time.Now()), 1<<40
}

var forgeries = []forgery{
	{name: "another gateway's name", as: "aws-1", opening: func(f *crossingv1.Frame) { fresh(f) }, why: "the frame says it is of"},
	{name: "another gateway's half", as: "onprem-1", opening: func(f *crossingv1.Frame) {
		fresh(f)
		f.Open.End.Gateway = localmesh.GatewayID("aws").String()
	}, why: "the half says it is of gateway"},
	{name: "another pair", as: "aws-1", opening: func(f *crossingv1.Frame) {
		fresh(f)
		f.Gateway, f.Open.End.Gateway = localmesh.GatewayID("aws").String(), localmesh.GatewayID("aws").String()
	}, why: "is not the EGRESS gateway"},
	{name: "another pair's other side", as: "aws-1", opening: func(f *crossingv1.Frame) {
		fresh(f)
		f.Gateway, f.Open.End.Gateway, f.Open.Side = localmesh.GatewayID("aws").String(), localmesh.GatewayID("aws").String(), crossingv1.Side_INGRESS
	}, why: "is not the INGRESS gateway"},
	{name: "both gateways one", as: "onprem-1", opening: func(f *crossingv1.Frame) { fresh(f); f.Open.Key.Ingress = f.Open.Key.Egress }, why: "both gateways are one"},
	{name: "another run", as: "onprem-1", opening: func(f *crossingv1.Frame) { fresh(f); f.Open.Key.Run = crossing.NewRun() }, why: "another run than its gateway"},
	{name: "id that is none", as: "onprem-1", opening: func(f *crossingv1.Frame) { fresh(f); f.Open.Id = "01a207e6" }, why: "not a UUIDv7"},
	{name: "id of another version", as: "onprem-1", opening: func(f *crossingv1.Frame) {
		fresh(f)
		f.Open.Id = "9b2f1c3e-0000-4000-8000-000000000000"
	}, why: "not a UUIDv7"},
	{name: "id of a crossing that said something else", as: "onprem-1", opening: func(f *crossingv1.Frame) {
		f.Open.Operation.Name = "GET /v1/other"
	}, why: "contradicts an earlier frame"},
	{name: "destination of another environment", as: "onprem-1", opening: func(f *crossingv1.Frame) {
		fresh(f)
		f.Open.Destination = localmesh.ID("registry").String()
	}, why: "is not of environment"},
	{name: "another owner", as: "onprem-1", opening: func(f *crossingv1.Frame) { fresh(f); f.Open.Transition.Owner = "search-team" }, why: "the owner is"},
	{name: "a policy that nobody published", as: "onprem-1", opening: func(f *crossingv1.Frame) {
		fresh(f)
		f.Open.End.Policy = &crossingv1.PolicyRef{Serial: 9, Revision: "sha256:" + strings.Repeat("9", 64)}
	}, why: "none that was published"},
	{name: "number of another crossing", as: "onprem-1", opening: func(f *crossingv1.Frame) { f.Open.Id = crossing.NewID(time.Now()) }, why: "already: contradicts an earlier frame"},
	{name: "another end of a crossing", as: "onprem-1", end: func(f *crossingv1.Frame) { f.Close.ResponseBytes = 1 }, why: "contradicts an earlier frame"},
	{name: "end with another key", as: "onprem-1", end: func(f *crossingv1.Frame) { f.Close.Key.Sequence = 1 << 40 }, why: "contradicts an earlier frame"},
	{name: "end without a cause", as: "onprem-1", end: func(f *crossingv1.Frame) { f.Close.Cause = crossingv1.Cause_CAUSE_UNSPECIFIED }, why: "the end has no cause"},
	{name: "end of another gateway", as: "aws-1", end: func(f *crossingv1.Frame) { f.Gateway = localmesh.GatewayID("aws").String() }, why: "is not the EGRESS gateway"},
	{name: "source of another trust domain", as: "onprem-1", opening: func(f *crossingv1.Frame) {
		fresh(f)
		f.Open.Source = localmesh.ID("retriever").String()
	}, why: "is not of the trust domain"},
	{name: "no owner", as: "onprem-1", opening: func(f *crossingv1.Frame) { fresh(f); f.Open.Transition.Owner = "" }, why: "without transition, owner or policy"},
	{name: "deny without a reason", as: "onprem-1", opening: func(f *crossingv1.Frame) { fresh(f); f.Open.End.Decision = crossingv1.Decision_DENY }, why: "decision DENY with reason REASON_UNSPECIFIED"},
	{name: "clock of another century", as: "onprem-1", opening: func(f *crossingv1.Frame) {
		fresh(f)
		f.Open.End.Open = timestamppb.New(time.Date(1970, 1, 1, 2, 0, 0, 0, time.UTC))
	}, why: "no valid time of opening"},
	{name: "opening and end in one", as: "onprem-1", opening: func(f *crossingv1.Frame) {
		fresh(f)
		f.Refusal = &crossingv1.Refusal{Reason: crossingv1.Reason_MALFORMED, Count: 1, Second: timestamppb.Now(), Listener: "attach"}
	}, why: "the frame says 2 things"},
	{name: "endless text", as: "onprem-1", opening: func(f *crossingv1.Frame) { fresh(f); f.Open.Operation.Name = strings.Repeat("a", 5<<10) }, why: "the most is 4096"},
	{name: "oversized frame", as: "onprem-1", raw: make([]byte, 1<<20), why: "the most is 65536"},
	{name: "unknown field", as: "onprem-1", raw: []byte{0xfa, 0x07, 0x01, 'x'}, why: "does not know"},
	{name: "no frame", as: "onprem-1", raw: []byte{0xff, 0xfe}, why: "decode frame"},
}

// TestForgedRecords delivers halves that no gateway may deliver. Each is
// rejected in words, and what was recorded before stays as it was.
func TestForgedRecords(t *testing.T) {
	t.Parallel()
	m := meshtest.Start(t, nil)
	resp := meshtest.Chat(m.Context, t, m.As(t, "orchestrator"), false, nil)
	meshtest.ReadAll(t, resp)
	id := resp.Header.Get("sallyport-crossing")
	before := m.Record(t, id)
	conns := map[string]*grpc.ClientConn{}
	for _, name := range []string{"onprem-1", "aws-1"} {
		source, err := m.Source(m.Context, name)
		if err != nil {
			t.Fatal(err)
		}
		conns[name] = calling(t, m, source)
	}
	for n, c := range forgeries {
		t.Run(c.name, func(t *testing.T) {
			opening, end := egressFrames(before)
			data := c.raw
			switch {
			case c.opening != nil:
				c.opening(opening)
				data = encoded(t, opening)
			case c.end != nil:
				c.end(end)
				data = encoded(t, end)
			}
			// Beside a frame that a gateway may write at any time, of which nothing is lost.
			beside := encoded(t, &crossingv1.Frame{Gateway: gatewayID(c.as), Run: opening.GetRun(), Refusal: &crossingv1.Refusal{
				Reason: crossingv1.Reason_MALFORMED, Prefix: meshtest.Intruder(n + 1).Prefix(), Count: 1, Second: timestamppb.Now(), Listener: "attach",
			}})
			ack, err := hand(t, conns[c.as], beside, data)
			if err != nil {
				t.Fatal(err)
			}
			m.Refusal(t, meshtest.Intruder(n+1))
			if len(ack.GetRejected()) != 1 || ack.GetRejected()[0].GetIndex() != 1 || !strings.Contains(ack.GetRejected()[0].GetWhy(), c.why) ||
				!strings.Contains(ack.GetRejected()[0].GetWhy(), "/"+c.as+":") {
				t.Errorf("acknowledged with %v, want a rejection that names %s and says %q", ack, c.as, c.why)
			}
		})
	}
	if d := cmp.Diff([]*crossingv1.Record{before}, m.Crossings(t, &controlv1.ListCrossingsRequest{}), protocmp.Transform()); d != "" {
		t.Errorf("records (-before +after):\n%s", d)
	}
	meshtest.WantCrossing(t, m)
}

// TestForgedIDs lets gateways use the id of another pair's crossing: it is a
// crossing of theirs then, and the other one stays as it was.
func TestForgedIDs(t *testing.T) {
	t.Parallel()
	m := meshtest.Start(t, nil)
	resp := meshtest.Chat(m.Context, t, m.As(t, "orchestrator"), false, nil)
	meshtest.ReadAll(t, resp)
	before := m.Record(t, resp.Header.Get("sallyport-crossing"))
	source, err := m.Source(m.Context, "aws-1")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		forge func(*crossingv1.Frame)
	}{
		{"as the source's gateway", func(f *crossingv1.Frame) {
			f.Open.Key.Egress, f.Open.Key.Ingress, f.Open.Source = gatewayID("aws-1"), "", localmesh.ID("retriever").String()
			f.Open.Transition = &crossingv1.Transition{From: "aws", To: "azure", Owner: "cloud-team"}
			f.Open.End.Decision, f.Open.End.Reason = crossingv1.Decision_DENY, crossingv1.Reason_NO_TRANSITION
			f.Open.End.Close = crossingv1.Cause_REFUSED
		}},
		{"as the destination's gateway", func(f *crossingv1.Frame) {
			f.Open.Side, f.Open.Key.Ingress = crossingv1.Side_INGRESS, gatewayID("aws-1")
			f.Open.Transition = &crossingv1.Transition{From: "onprem", To: "aws", Owner: "search-team", Sink: "records"}
			f.Open.Destination = localmesh.ID("retriever").String()
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, _ := egressFrames(before)
			f.Gateway, f.Open.End.Gateway = gatewayID("aws-1"), gatewayID("aws-1")
			c.forge(f)
			ack, err := hand(t, calling(t, m, source), encoded(t, f))
			if err != nil || len(ack.GetRejected()) != 0 {
				t.Fatalf("Deliver() = %v, %v", ack, err)
			}
			all := m.Crossings(t, &controlv1.ListCrossingsRequest{Id: before.GetId()})
			found := false
			for _, r := range all {
				found = found || cmp.Equal(before, r, protocmp.Transform())
			}
			if !found || len(all) < 2 {
				t.Errorf("records of the id are %v, want the one before among them: %v", all, before)
			}
		})
	}
}

// TestStrangersDeliverNothing holds who may not speak for a gateway at all.
func TestStrangersDeliverNothing(t *testing.T) {
	t.Parallel()
	m := meshtest.Start(t, nil)
	stolen := m.Stolen(t, "onprem")
	for _, c := range []struct{ name, path string }{
		{"a workload", "/ai/orchestrator"},
		{"a gateway that the policy does not name", "/sallyport/gateway/onprem-9"},
		{"a gateway's child", "/sallyport/gateway/onprem-1/child"},
		{"an operator of another trust domain", "/sallyport/operator/local"},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn := calling(t, m, stolen.Source(c.path))
			_, err := hand(t, conn)
			if status.Code(err) != codes.PermissionDenied || !strings.Contains(err.Error(), c.path) {
				t.Errorf("Deliver() = %v, want PERMISSION_DENIED that names the caller", err)
			}
			stream, err := controlv1.NewCrossingServiceClient(conn).ListCrossings(patiently(t), &controlv1.ListCrossingsRequest{})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := stream.Recv(); status.Code(err) != codes.PermissionDenied {
				t.Errorf("ListCrossings() = %v, want PERMISSION_DENIED", err)
			}
		})
	}
	meshtest.WantCrossing(t, m)
}
