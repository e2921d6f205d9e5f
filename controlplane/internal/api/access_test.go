package api

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
)

// callers are one of each kind, by name.
func callers(m *mesh) map[string]spiffeid.ID {
	return map[string]spiffeid.ID{
		"operator":           m.domains["mesh.demo"].ID(operatorPath),
		"gateway":            m.domains["onprem.demo"].ID(gatewayPath1),
		"gateway not in it":  m.domains["onprem.demo"].ID("/sallyport/gateway/onprem-9"),
		"foreign gateway":    m.domains["stranger.demo"].ID(gatewayPath1),
		"workload":           m.domains["onprem.demo"].ID(workloadPath),
		"foreign workload":   m.domains["stranger.demo"].ID(workloadPath),
		"control plane":      m.domains["mesh.demo"].ID("/sallyport/controlplane/cp-1"),
		"operator elsewhere": m.domains["onprem.demo"].ID(operatorPath),
		"reserved path":      m.domains["onprem.demo"].ID("/sallyport/console"),
		"authority":          m.domains["onprem.demo"].ID("/sallyport/authority/main"),
		"foreign authority":  m.domains["stranger.demo"].ID("/sallyport/authority/main"),
		"below an authority": m.domains["onprem.demo"].ID("/sallyport/authority/main/x"),
	}
}

// allowed is the whole table again, written by hand: who may call what.
func allowed() map[string][]string {
	readers := []string{"operator"}
	candidates := []string{"gateway", "gateway not in it", "foreign gateway"}
	return map[string][]string{
		"/sallyport.control.v1.PolicyService/Publish":           readers,
		"/sallyport.control.v1.PolicyService/GetPolicy":         readers,
		"/sallyport.control.v1.ActService/Make":                 readers,
		"/sallyport.control.v1.ActService/ListActs":             readers,
		"/sallyport.control.v1.HoldService/ListHolds":           readers,
		"/sallyport.control.v1.HoldService/SetHold":             readers,
		"/sallyport.control.v1.HoldService/ReleaseHold":         readers,
		"/sallyport.control.v1.SealedService/ListSealed":        readers,
		"/sallyport.control.v1.SealedService/OpenSealed":        readers,
		"/sallyport.control.v1.SealedService/UploadSealed":      {"gateway"},
		"/sallyport.control.v1.CrossingService/Deliver":         {"gateway"},
		"/sallyport.control.v1.CrossingService/ListCrossings":   readers,
		"/sallyport.control.v1.CrossingService/ListRefusals":    readers,
		"/sallyport.control.v1.CrossingService/ListTransitions": readers,
		"/sallyport.control.v1.CrossingService/ListUnmatched":   readers,
		"/sallyport.control.v1.CrossingService/GetMatrix":       readers,
		"/sallyport.control.v1.LogService/ListLogs":             readers,
		"/sallyport.control.v1.LogService/Prove":                readers,
		"/sallyport.control.v1.LogService/ListKeys":             readers,
		"/sallyport.control.v1.LogService/Export":               readers,
		"/sallyport.control.v1.GatewayService/ListGateways":     readers,
		"/sallyport.control.v1.GatewayService/Report":           {"gateway"},
		"/sallyport.control.v1.GatewayService/ShareBudgets":     {"gateway"},
		"/sallyport.control.v1.GatewayService/GetBootstrap":     readers,
		// An operator's ID in an environment's trust domain is a workload's like any other.
		"/sallyport.control.v1.WorkloadService/Register":     {"operator", "gateway", "workload", "operator elsewhere"},
		"/sallyport.control.v1.WorkloadService/Withdraw":     {"operator", "gateway", "workload", "operator elsewhere"},
		"/sallyport.control.v1.WorkloadService/ListBindings": readers,
		// Of any trust domain that is known: its own bundle is all that it may publish.
		"/sallyport.control.v1.BundleService/Publish":                                      {"authority", "foreign authority"},
		"/sallyport.control.v1.BundleService/Watch":                                        {"authority", "foreign authority"},
		"/sallyport.control.v1.BundleService/ListHolders":                                  {"authority", "foreign authority"},
		"/sallyport.control.v1.BundleService/ListBundles":                                  readers,
		"/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources":  candidates,
		"/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources": candidates,
		"/sallyport.control.v1.PolicyService/Unheard":                                      nil,
		"": nil,
	}
}

func TestEveryMethodIsInTheTable(t *testing.T) {
	m := newMesh(t, nil)
	decided := 0
	for service, info := range m.grpc.GetServiceInfo() {
		for _, method := range info.Methods {
			name := "/" + service + "/" + method.Name
			if _, ok := access(name); !ok {
				t.Errorf("access(%q) is not decided: add it to the table", name)
			}
			if _, ok := allowed()[name]; !ok {
				t.Errorf("%q is not tested: add it to allowed", name)
			}
			decided++
		}
	}
	if decided < 16 {
		t.Errorf("the server has %d methods: not all services are registered", decided)
	}
}

func TestAccessOfEveryRoleToEveryMethod(t *testing.T) {
	m := published(t, nil)
	for name, id := range callers(m) {
		s := *m.server
		s.identify = func(context.Context) (spiffeid.ID, error) { return id, nil }
		for method, who := range allowed() {
			_, err := s.admit(t.Context(), method)
			want := slices.Contains(who, name)
			if got := err == nil; got != want {
				t.Errorf("%s (%s) calling %q: allowed %v, want %v (%v)", name, id, method, got, want, err)
			}
		}
	}
}

func TestBeforeThereIsAPolicy(t *testing.T) {
	m := newMesh(t, nil)
	_, err := controlv1.NewGatewayServiceClient(m.gateway()).Report(t.Context(), &controlv1.ReportRequest{})
	wantCode(t, "Report() of a gateway of no policy", err, codes.PermissionDenied)
	_, err = controlv1.NewWorkloadServiceClient(m.as("onprem.demo", workloadPath)).Register(t.Context(), &controlv1.RegisterRequest{})
	wantCode(t, "Register() of a workload of no policy", err, codes.PermissionDenied)
	_, err = controlv1.NewPolicyServiceClient(m.operator()).GetPolicy(t.Context(), &controlv1.GetPolicyRequest{})
	wantCode(t, "GetPolicy() of an operator", err, codes.NotFound)
	stream, err := m.gateway().NewStream(t.Context(), &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, deltaADS)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if err := stream.RecvMsg(&emptypb.Empty{}); status.Code(err) == codes.PermissionDenied {
		t.Errorf("a gateway that waits for its first policy is sent away: %v", err)
	}
}

func TestRefusedOverTheWire(t *testing.T) {
	m := published(t, nil)
	gw := m.gateway()
	_, err := controlv1.NewPolicyServiceClient(gw).GetPolicy(t.Context(), &controlv1.GetPolicyRequest{})
	wantCode(t, "GetPolicy() of a gateway", err, codes.PermissionDenied)
	err = gw.Invoke(t.Context(), "/sallyport.control.v1.PolicyService/Unheard", &controlv1.GetPolicyRequest{}, &controlv1.ReportResponse{})
	wantCode(t, "an unknown method", err, codes.Unimplemented)
	stream, err := controlv1.NewCrossingServiceClient(m.operator()).Deliver(t.Context())
	if err == nil {
		_, err = stream.Recv()
	}
	wantCode(t, "Deliver() of an operator", err, codes.PermissionDenied)
	if text := status.Convert(err).Message(); !strings.Contains(text, operatorPath) || !strings.Contains(text, "Deliver") {
		t.Errorf("the refusal %q does not name caller and method", text)
	}
}

func TestCallerWithoutIdentity(t *testing.T) {
	m := newMesh(t, func(c *Config) {
		c.Identify = func(context.Context) (spiffeid.ID, error) { return spiffeid.ID{}, errors.New("secret reason") }
	})
	_, err := controlv1.NewPolicyServiceClient(m.operator()).GetPolicy(t.Context(), &controlv1.GetPolicyRequest{})
	wantCode(t, "GetPolicy()", err, codes.Unauthenticated)
	if strings.Contains(err.Error(), "secret") {
		t.Errorf("the caller is told %q", err)
	}
	if _, err := IdentifyTLS(t.Context()); err == nil {
		t.Error("IdentifyTLS() without a connection found somebody")
	}
	if _, err := Peer(t.Context()); err == nil {
		t.Error("Peer() outside of a call found somebody")
	}
}

func TestReadOnly(t *testing.T) {
	m := published(t, nil)
	m.stop()
	m.serve(func(c *Config) { c.ReadOnly, c.Keys = true, nil })
	conn := m.operator()
	if _, err := controlv1.NewPolicyServiceClient(conn).GetPolicy(t.Context(), &controlv1.GetPolicyRequest{}); err != nil {
		t.Errorf("GetPolicy() = %v", err)
	}
	_, err := m.publish(m.sign(testPolicy(), 2, ""))
	wantCode(t, "Publish()", err, codes.FailedPrecondition)
	_, err = controlv1.NewWorkloadServiceClient(conn).Register(t.Context(), &controlv1.RegisterRequest{Workload: "llm"})
	wantCode(t, "Register()", err, codes.FailedPrecondition)
	_, err = controlv1.NewGatewayServiceClient(m.gateway()).Report(t.Context(), &controlv1.ReportRequest{})
	wantCode(t, "Report()", err, codes.FailedPrecondition)
	stream, err := controlv1.NewCrossingServiceClient(m.gateway()).Deliver(t.Context())
	if err == nil {
		_, err = stream.Recv()
	}
	wantCode(t, "Deliver()", err, codes.FailedPrecondition)
}

func TestCloseEndsStreams(t *testing.T) {
	m := published(t, nil)
	deliver, err := controlv1.NewCrossingServiceClient(m.gateway()).Deliver(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := deliver.Send(&controlv1.Batch{Through: 1}); err != nil {
		t.Fatal(err)
	}
	if _, err := deliver.Recv(); err != nil {
		t.Fatal(err)
	}
	follow, err := controlv1.NewCrossingServiceClient(m.operator()).ListCrossings(t.Context(), &controlv1.ListCrossingsRequest{Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	m.server.Close()
	_, err = deliver.Recv()
	wantCode(t, "Deliver() of a stopping control plane", err, codes.Unavailable)
	_, err = follow.Recv()
	if errors.Is(err, io.EOF) {
		t.Error("a follower takes the control plane's stop for the end of all records")
	}
	wantCode(t, "ListCrossings() of a stopping control plane", err, codes.Unavailable)
}
