package controlplane

import (
	"crypto"
	"errors"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.uber.org/zap/zaptest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/statement"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// state is all that the API shows, for comparison across restarts.
type state struct {
	Policy      *policyv1.SignedPolicy
	Records     []*crossingv1.Record
	Bindings    *controlv1.ListBindingsResponse
	Transitions *controlv1.ListTransitionsResponse
	Unmatched   []*controlv1.Finding
	Refusals    int
}

func stateOf(t *testing.T, conn grpc.ClientConnInterface) state {
	t.Helper()
	signed, err := controlv1.NewPolicyServiceClient(conn).GetPolicy(t.Context(), &controlv1.GetPolicyRequest{})
	if err != nil {
		t.Fatal(err)
	}
	bindings, err := controlv1.NewWorkloadServiceClient(conn).ListBindings(t.Context(), &controlv1.ListBindingsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	transitions, err := controlv1.NewCrossingServiceClient(conn).ListTransitions(t.Context(), &controlv1.ListTransitionsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	refusals, err := controlv1.NewCrossingServiceClient(conn).ListRefusals(t.Context(), &controlv1.ListRefusalsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	return state{
		Policy: signed, Records: recordsOf(t, conn, &controlv1.ListCrossingsRequest{}), Bindings: bindings, Transitions: transitions,
		Refusals: len(all(t, refusals)), Unmatched: unmatched(t, conn),
	}
}

func unmatched(t *testing.T, conn grpc.ClientConnInterface) []*controlv1.Finding {
	t.Helper()
	stream, err := controlv1.NewCrossingServiceClient(conn).ListUnmatched(t.Context(), &controlv1.ListUnmatchedRequest{})
	if err != nil {
		t.Fatal(err)
	}
	return all(t, stream)
}

// lie has onprem-1 state another opening of the crossing than it delivered.
func (p *plane) lie() {
	p.t.Helper()
	shown := p.domains["onprem.demo"].Certificate(spiffeid.RequireFromString(onprem1))
	key, ok := shown.PrivateKey.(crypto.Signer)
	if !ok {
		p.t.Fatalf("an SVID's key is a %T", shown.PrivateKey)
	}
	signer := statement.NewSigner()
	announcement, err := signer.Announce(onprem1, testRun, shown.Certificate, key, time.Now())
	if err != nil {
		p.t.Fatal(err)
	}
	h := half(p.t, crossing.NewID(time.Now()), onprem1, crossingv1.Side_EGRESS)
	e := statement.NewEgress(statement.ChainOf(h.GetKey()), time.Now())
	e.Next()
	e.Opened(h, []byte("another frame"), 0)
	claim := e.Cut(statement.Facts{Now: time.Now()}, signer)
	var batch controlv1.Batch
	for _, f := range []*crossingv1.Frame{{Announcement: announcement}, {Statement: claim}} {
		f.Gateway, f.Run = onprem1, testRun
		data, err := crossing.MarshalFrame(f)
		if err != nil {
			p.t.Fatal(err)
		}
		batch.Frames = append(batch.Frames, data)
	}
	if ack := p.deliver("onprem.demo", "onprem-1", &batch); len(ack.GetRejected()) > 0 {
		p.t.Fatalf("Deliver() rejected %v", ack.GetRejected())
	}
}

// fill publishes, registers and delivers something of each kind.
func (p *plane) fill() state {
	p.t.Helper()
	p.publish(1, "")
	p.deliverBoth()
	p.lie()
	refusal, err := crossing.MarshalFrame(&crossingv1.Frame{Gateway: onprem1, Run: testRun, Refusal: &crossingv1.Refusal{
		Reason: crossingv1.Reason_NO_IDENTITY, Prefix: "127.1.0.0/24", Listener: "attach", Count: 3, Second: timestamppb.New(time.Now().Truncate(time.Second)),
	}})
	if err != nil {
		p.t.Fatal(err)
	}
	if ack := p.deliver("onprem.demo", "onprem-1", &controlv1.Batch{Frames: [][]byte{refusal}}); len(ack.GetRejected()) > 0 {
		p.t.Fatalf("Deliver() rejected %v", ack.GetRejected())
	}
	req := &controlv1.RegisterRequest{Workload: "llm", Endpoints: map[string]string{"chat": "127.3.0.77:9000"}}
	if _, err := controlv1.NewWorkloadServiceClient(p.as("azure.demo", "/ai/llm")).Register(p.t.Context(), req); err != nil {
		p.t.Fatal(err)
	}
	if _, err := controlv1.NewWorkloadServiceClient(p.operator()).Register(p.t.Context(), req); err != nil {
		p.t.Fatal(err)
	}
	s := stateOf(p.t, p.operator())
	if len(s.Records) != 1 || len(s.Bindings.GetBindings()) != 3 || s.Refusals != 1 || len(s.Transitions.GetTransitions()) != 2 ||
		len(s.Unmatched) != 1 || s.Unmatched[0].GetKind() != controlv1.Finding_ALTERED {
		p.t.Fatalf("the state to keep is %+v", s)
	}
	return s
}

func TestRestartKeepsEverything(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	before := p.fill()
	p.stop()
	p.start()
	if diff := cmp.Diff(before, stateOf(t, p.operator()), protocmp.Transform()); diff != "" {
		t.Errorf("after a restart (-before +after):\n%s", diff)
	}
}

func TestOpenReadOnly(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	before := p.fill()
	if _, _, err := OpenReadOnly(p.config.Dir, zaptest.NewLogger(t)); !errors.Is(err, ErrInUse) {
		t.Errorf("OpenReadOnly() of a running mesh = %v, want %v", err, ErrInUse)
	}
	p.stop()
	conn, closer, err := OpenReadOnly(p.config.Dir, zaptest.NewLogger(t))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, stateOf(t, conn), protocmp.Transform()); diff != "" {
		t.Errorf("read from the directory (-before +read):\n%s", diff)
	}
	gateways, err := controlv1.NewGatewayServiceClient(conn).ListGateways(t.Context(), &controlv1.ListGatewaysRequest{})
	if err != nil || len(gateways.GetGateways()) != 2 {
		t.Errorf("ListGateways() = %v, %v", gateways, err)
	}
	for name, call := range map[string]func() error{
		"Publish": func() error {
			_, err := controlv1.NewPolicyServiceClient(conn).Publish(t.Context(), &controlv1.PublishRequest{})
			return err
		},
		"Register": func() error {
			_, err := controlv1.NewWorkloadServiceClient(conn).Register(t.Context(), &controlv1.RegisterRequest{})
			return err
		},
		"GetBootstrap": func() error {
			_, err := controlv1.NewGatewayServiceClient(conn).GetBootstrap(t.Context(), &controlv1.GetBootstrapRequest{Gateway: "onprem-1"})
			return err
		},
	} {
		if err := call(); status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "stopped") {
			t.Errorf("%s() of a stopped mesh = %v, want %v that says so", name, err, codes.FailedPrecondition)
		}
	}
	if err := closer.Close(); err != nil {
		t.Errorf("Close() = %v", err)
	}
	p.start()
	if diff := cmp.Diff(before, stateOf(t, p.operator()), protocmp.Transform()); diff != "" {
		t.Errorf("started after reading (-before +after):\n%s", diff)
	}
}

func TestOpenReadOnlyOfNoMesh(t *testing.T) {
	t.Parallel()
	if _, _, err := OpenReadOnly(t.TempDir(), nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("OpenReadOnly() of an empty directory = %v, want %v", err, fs.ErrNotExist)
	}
}
