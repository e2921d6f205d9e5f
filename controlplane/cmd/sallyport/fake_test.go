package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sallyport-mesh/sallyport/controlplane/internal/sought"
	"github.com/sallyport-mesh/sallyport/gateway/act"
	"github.com/sallyport-mesh/sallyport/gateway/policy/signed"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
	logv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/log/v1"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// today is the fake's and the tool's clock in tests.
func today() time.Time { return time.Date(2026, 11, 23, 10, 20, 0, 0, time.UTC) }

// fakeMesh is a control plane in memory. Its filters are as simple as a test can
// check by eye; what the tool asked for is kept beside.
type fakeMesh struct {
	controlv1.UnimplementedPolicyServiceServer
	controlv1.UnimplementedCrossingServiceServer
	controlv1.UnimplementedGatewayServiceServer
	controlv1.UnimplementedWorkloadServiceServer
	controlv1.UnimplementedActServiceServer
	controlv1.UnimplementedHoldServiceServer

	records     []*crossingv1.Record
	calls       []*crossingv1.Record // of AI services, and another
	refusals    []*controlv1.GatewayRefusal
	transitions []*controlv1.TransitionStatus
	findings    []*controlv1.Finding
	gateways    []*controlv1.GatewayStatus
	bindings    []*controlv1.Binding
	signed      *policyv1.SignedPolicy
	acts        []*controlv1.ActStatus
	holds       []*logv1.Hold

	// behind are the gateways that never enforce anything.
	behind []string
	// stopped makes the connection one to a stopped mesh.
	stopped bool
	// fail is what every question is answered with, if set.
	fail error
	// failPublish is what a publish is answered with, if set.
	failPublish error
	// onFollow, if set, is called when all records are sent to a follower; the
	// stream goes on until its context ends.
	onFollow func()
	// asked is the last request for crossings.
	asked *controlv1.ListCrossingsRequest
}

func newFakeMesh(t *testing.T) *fakeMesh {
	t.Helper()
	return &fakeMesh{
		records:     fixtures[crossingv1.Record](t, "records.json"),
		calls:       fixtures[crossingv1.Record](t, "calls.json"),
		refusals:    fixtures[controlv1.GatewayRefusal](t, "refusals.json"),
		transitions: fixtures[controlv1.TransitionStatus](t, "transitions.json"),
		findings:    fixtures[controlv1.Finding](t, "unmatched.json"),
		gateways:    fixtures[controlv1.GatewayStatus](t, "gateways.json"),
		bindings:    fixtures[controlv1.Binding](t, "bindings.json"),
	}
}

// fixtures reads an array of messages of testdata/mesh.
func fixtures[T any, M interface {
	*T
	proto.Message
}](t *testing.T, name string) []M {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "mesh", name))
	if err != nil {
		t.Fatal(err)
	}
	var raw []json.RawMessage
	if err := json.Unmarshal(text, &raw); err != nil {
		t.Fatal(err)
	}
	items := make([]M, len(raw))
	for i, r := range raw {
		items[i] = new(T)
		if err := protojson.Unmarshal(r, items[i]); err != nil {
			t.Fatal(err)
		}
	}
	return items
}

// serve runs the fake until the test ends and gives a connect for an app.
func (f *fakeMesh) serve(t *testing.T) func(context.Context, meshFlags) (*connection, error) {
	t.Helper()
	listener := bufconn.Listen(1 << 20)
	server := grpc.NewServer(
		grpc.UnaryInterceptor(func(ctx context.Context, q any, _ *grpc.UnaryServerInfo, h grpc.UnaryHandler) (any, error) {
			if f.fail != nil {
				return nil, f.fail
			}
			return h(ctx, q)
		}),
		grpc.StreamInterceptor(func(srv any, s grpc.ServerStream, _ *grpc.StreamServerInfo, h grpc.StreamHandler) error {
			if f.fail != nil {
				return f.fail
			}
			return h(srv, s)
		}))
	controlv1.RegisterPolicyServiceServer(server, f)
	controlv1.RegisterCrossingServiceServer(server, f)
	controlv1.RegisterGatewayServiceServer(server, f)
	controlv1.RegisterWorkloadServiceServer(server, f)
	controlv1.RegisterActServiceServer(server, f)
	controlv1.RegisterHoldServiceServer(server, f)
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-done; err != nil && !errors.Is(err, grpc.ErrServerStopped) { // stopped before it began
			t.Errorf("fake control plane: %v", err)
		}
	})
	return func(context.Context, meshFlags) (*connection, error) {
		cc, err := grpc.NewClient("passthrough:///fake", grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
		if err != nil {
			return nil, err
		}
		return &connection{ClientConnInterface: cc, Name: "the control plane", As: "spiffe://mesh.demo/sallyport/operator/local", Stopped: f.stopped, Closers: []io.Closer{cc}}, nil
	}
}

func (f *fakeMesh) GetMatrix(_ context.Context, q *controlv1.GetMatrixRequest) (*controlv1.GetMatrixResponse, error) {
	if f.fail != nil {
		return nil, f.fail
	}
	m := &controlv1.GetMatrixResponse{}
	for _, t := range f.transitions {
		if q.GetSince() != nil && today().Sub(q.GetSince().AsTime()) < day || t.GetAllowed() == 0 {
			continue // it is all of earlier hours
		}
		m.Cells = append(m.Cells,
			&controlv1.MatrixCell{From: t.GetFrom(), To: t.GetTo(), Owner: t.GetOwner(), State: crossingv1.Record_JOINED, Crossings: t.GetAllowed(), RequestBytes: 1 << 20, ResponseBytes: 1 << 30},
			&controlv1.MatrixCell{From: t.GetFrom(), To: t.GetTo(), Owner: t.GetOwner(), State: crossingv1.Record_DENIED, Denied: true, Crossings: t.GetDenied()},
			&controlv1.MatrixCell{From: t.GetFrom(), To: t.GetTo(), Owner: t.GetOwner(), State: crossingv1.Record_ONE_SIDED, Crossings: 1})
		m.Talkers = append(m.Talkers, &controlv1.Talker{
			From: t.GetFrom(), To: t.GetTo(), Source: "spiffe://onprem.demo/ai/orchestrator", Destination: "spiffe://azure.demo/ai/llm",
			Crossings: t.GetAllowed(), RequestBytes: 1 << 20, ResponseBytes: 1 << 30,
		})
	}
	return m, nil
}

func (f *fakeMesh) GetPolicy(context.Context, *controlv1.GetPolicyRequest) (*policyv1.SignedPolicy, error) {
	if f.signed == nil {
		return nil, status.Error(codes.NotFound, "no policy yet")
	}
	return f.signed, nil
}

func (f *fakeMesh) Publish(_ context.Context, q *controlv1.PublishRequest) (*controlv1.PublishResponse, error) {
	if f.failPublish != nil {
		return nil, f.failPublish
	}
	manifest := new(policyv1.Manifest)
	if err := protojson.Unmarshal(q.GetSigned().GetManifest(), manifest); err != nil {
		return nil, status.Error(codes.InvalidArgument, "manifest")
	}
	p, err := signed.Decode(q.GetSigned().GetPolicy())
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, "policy")
	}
	f.signed = q.GetSigned()
	r := &controlv1.PublishResponse{Serial: manifest.GetSerial(), Revision: manifest.GetRevision(), Took: durationpb.New(41 * time.Millisecond), Behind: f.behind}
	for _, e := range p.GetEnvironments() {
		for name := range e.GetGateways() {
			if !slices.Contains(f.behind, name) {
				r.InForce = append(r.InForce, name)
			}
		}
	}
	slices.Sort(r.InForce)
	return r, nil
}

func (f *fakeMesh) ListCrossings(q *controlv1.ListCrossingsRequest, s grpc.ServerStreamingServer[crossingv1.Record]) error {
	f.asked = q
	for _, r := range f.records {
		if q.GetId() != "" && r.GetId() != q.GetId() || q.GetTrace() != "" && r.GetTrace() != q.GetTrace() ||
			q.GetFrom() != "" && r.GetTransition().GetFrom() != q.GetFrom() || q.GetTo() != "" && r.GetTransition().GetTo() != q.GetTo() ||
			!sought.Of(q).In(r.GetOperation()) {
			continue
		}
		if err := s.Send(r); err != nil {
			return err
		}
	}
	if !q.GetFollow() {
		return nil
	}
	f.onFollow()
	<-s.Context().Done()
	return s.Context().Err()
}

func (f *fakeMesh) ListRefusals(q *controlv1.ListRefusalsRequest, s grpc.ServerStreamingServer[controlv1.GatewayRefusal]) error {
	for _, r := range f.refusals {
		if q.GetSince() != nil && r.GetRefusal().GetSecond().AsTime().Before(q.GetSince().AsTime()) {
			continue
		}
		if err := s.Send(r); err != nil {
			return err
		}
	}
	return nil
}

func (f *fakeMesh) ListUnmatched(q *controlv1.ListUnmatchedRequest, s grpc.ServerStreamingServer[controlv1.Finding]) error {
	for _, one := range f.findings {
		if q.GetId() != "" && one.GetCrossing() != q.GetId() || q.GetTo() != "" && one.GetTransition().GetTo() != q.GetTo() ||
			q.GetFrom() != "" && one.GetTransition().GetFrom() != q.GetFrom() || q.GetOwner() != "" && one.GetTransition().GetOwner() != q.GetOwner() {
			continue
		}
		if err := s.Send(one); err != nil {
			return err
		}
	}
	return nil
}

func (f *fakeMesh) ListTransitions(context.Context, *controlv1.ListTransitionsRequest) (*controlv1.ListTransitionsResponse, error) {
	return &controlv1.ListTransitionsResponse{Transitions: f.transitions}, nil
}

func (f *fakeMesh) ListGateways(context.Context, *controlv1.ListGatewaysRequest) (*controlv1.ListGatewaysResponse, error) {
	return &controlv1.ListGatewaysResponse{Gateways: f.gateways}, nil
}

func (f *fakeMesh) GetBootstrap(_ context.Context, q *controlv1.GetBootstrapRequest) (*controlv1.GetBootstrapResponse, error) {
	if q.GetGateway() != "aws-1" {
		return nil, status.Errorf(codes.NotFound, "the policy has no gateway %q", q.GetGateway())
	}
	return &controlv1.GetBootstrapResponse{
		Environment: "aws", TrustDomain: "aws.demo", Tunnel: "gw1.aws.demo:8443", Address: "cp.demo:8440",
		Id: "spiffe://mesh.demo/sallyport/controlplane/cp-1", Bundle: `{"keys":[]}`,
	}, nil
}

func (f *fakeMesh) Register(_ context.Context, q *controlv1.RegisterRequest) (*controlv1.Binding, error) {
	b := &controlv1.Binding{
		Workload: q.GetWorkload(), Environment: "azure", Id: "spiffe://azure.demo/ai/" + q.GetWorkload(), Endpoints: q.GetEndpoints(),
		Addresses: q.GetAddresses(), Labels: q.GetLabels(), Cgroup: q.GetCgroup(), Source: "spiffe://mesh.demo/sallyport/operator/local",
	}
	if q.GetLease() != nil {
		b.Expires = timestamppb.New(today().Add(q.GetLease().AsDuration()))
	}
	return b, nil
}

func (f *fakeMesh) Withdraw(_ context.Context, q *controlv1.WithdrawRequest) (*controlv1.Binding, error) {
	for i, b := range f.bindings {
		if b.GetWorkload() == q.GetWorkload() && b.GetSource() == q.GetSource() {
			f.bindings = slices.Delete(f.bindings, i, i+1)
			return b, nil
		}
	}
	return nil, status.Error(codes.NotFound, "nothing is registered by the operator")
}

func (f *fakeMesh) ListBindings(_ context.Context, q *controlv1.ListBindingsRequest) (*controlv1.ListBindingsResponse, error) {
	r := new(controlv1.ListBindingsResponse)
	for _, b := range f.bindings {
		if q.GetWorkload() == "" || b.GetWorkload() == q.GetWorkload() {
			r.Bindings = append(r.Bindings, b)
		}
	}
	return r, nil
}

// Make applies an act at all gateways that are not behind.
func (f *fakeMesh) Make(_ context.Context, q *controlv1.MakeRequest) (*controlv1.MakeResponse, error) {
	one, err := act.Read(q.GetSigned())
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	if f.failPublish != nil {
		return nil, f.failPublish
	}
	s := &controlv1.ActStatus{Id: one.ID, Act: one.Said(), Overdue: one.Overdue(today())}
	r := &controlv1.MakeResponse{Id: one.ID, Took: durationpb.New(12 * time.Millisecond), Behind: f.behind}
	for _, sig := range q.GetSigned().GetSignatures() {
		s.Keys = append(s.Keys, sig.GetKey())
	}
	for n, name := range []string{"azure-1", "onprem-1"} {
		if slices.Contains(f.behind, name) {
			s.Behind = append(s.Behind, name)
			continue
		}
		r.InForce = append(r.InForce, name)
		s.Applied = append(s.Applied, &controlv1.ActApplied{Gateway: name, At: timestamppb.New(today().Add(time.Duration(n+7) * time.Millisecond))})
	}
	for _, before := range f.acts {
		if before.GetId() == one.Lifts {
			before.LiftedBy, before.Overdue = one.ID, false
		}
	}
	f.acts = append(f.acts, s)
	return r, nil
}

func (f *fakeMesh) ListActs(context.Context, *controlv1.ListActsRequest) (*controlv1.ListActsResponse, error) {
	return &controlv1.ListActsResponse{Acts: f.acts}, nil
}

func (f *fakeMesh) ListHolds(context.Context, *controlv1.ListHoldsRequest) (*controlv1.ListHoldsResponse, error) {
	return &controlv1.ListHoldsResponse{Holds: f.holds}, nil
}

// SetHold knows one label, which two workloads have.
func (f *fakeMesh) SetHold(_ context.Context, q *controlv1.SetHoldRequest) (*logv1.Hold, error) {
	h := &logv1.Hold{Name: q.GetName(), Owner: q.GetOwner(), Identities: q.GetIdentities()}
	for _, label := range q.GetLabels() {
		if label != "tier=gold" {
			return nil, status.Errorf(codes.InvalidArgument, "no workload has the label %s", label)
		}
		h.Identities = append(h.Identities, "spiffe://aws.demo/ai/retriever", "spiffe://azure.demo/ai/llm")
	}
	f.holds = append(f.holds, h)
	return h, nil
}

func (f *fakeMesh) ReleaseHold(_ context.Context, q *controlv1.ReleaseHoldRequest) (*logv1.Hold, error) {
	for i, h := range f.holds {
		if h.GetName() == q.GetName() {
			f.holds = slices.Delete(f.holds, i, i+1)
			return h, nil
		}
	}
	return nil, status.Errorf(codes.NotFound, "no hold is called %q", q.GetName())
}
