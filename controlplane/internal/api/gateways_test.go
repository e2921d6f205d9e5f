package api

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.uber.org/zap/zaptest"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sallyport-mesh/sallyport/controlplane/internal/xds"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

func gatewaysByName(m *mesh) map[string]*controlv1.GatewayStatus {
	m.t.Helper()
	resp, err := controlv1.NewGatewayServiceClient(m.operator()).ListGateways(m.t.Context(), &controlv1.ListGatewaysRequest{})
	if err != nil {
		m.t.Fatal(err)
	}
	all := map[string]*controlv1.GatewayStatus{}
	for _, g := range resp.GetGateways() {
		all[g.GetName()] = g
	}
	return all
}

func TestListGateways(t *testing.T) {
	m := newMesh(t, nil)
	if got := gatewaysByName(m); len(got) != 0 {
		t.Errorf("ListGateways() without a policy = %v", got)
	}
	if _, err := m.publish(m.sign(testPolicy(), 1, "")); err != nil {
		t.Fatal(err)
	}
	want := map[string]*controlv1.GatewayStatus{
		"azure-1":  {Name: "azure-1", Environment: "azure", Id: azure1},
		"onprem-1": {Name: "onprem-1", Environment: "onprem", Id: onprem1},
	}
	if diff := cmp.Diff(want, gatewaysByName(m), protocmp.Transform()); diff != "" {
		t.Errorf("ListGateways() (-want +got):\n%s", diff)
	}
}

func TestReportIsShown(t *testing.T) {
	m := published(t, nil)
	said := &controlv1.ReportRequest{
		Run: testRun, Serial: 1, Revision: "sha256:ab", Spooled: 42,
		Tunnels: []*controlv1.TunnelStatus{{Peer: azure1, Carrier: "TCP", Dialed: true, Streams: 3}},
	}
	if _, err := controlv1.NewGatewayServiceClient(m.gateway()).Report(t.Context(), said); err != nil {
		t.Fatal(err)
	}
	got := gatewaysByName(m)
	if diff := cmp.Diff(said, got["onprem-1"].GetReport(), protocmp.Transform()); diff != "" {
		t.Errorf("the report (-said +shown):\n%s", diff)
	}
	if got["onprem-1"].GetReported() == nil || got["azure-1"].GetReport() != nil {
		t.Errorf("ListGateways() = %v, want a dated report of onprem-1 alone", got)
	}
}

func TestReportIsBounded(t *testing.T) {
	m := published(t, nil)
	client := controlv1.NewGatewayServiceClient(m.gateway())
	for name, said := range map[string]*controlv1.ReportRequest{
		"too many tunnels": {Tunnels: make([]*controlv1.TunnelStatus, maxTunnels+1)},
		"long run":         {Run: strings.Repeat("a", maxReportText+1)},
		"too many bundles": {Bundles: make([]*controlv1.BundleStatus, maxBundles+1)},
		"long domain":      {Bundles: []*controlv1.BundleStatus{{TrustDomain: strings.Repeat("a", maxReportText+1)}}},
		"long refusal":     {Bundles: []*controlv1.BundleStatus{{Refused: strings.Repeat("a", maxRefused+1)}}},
		"long peer":        {Tunnels: []*controlv1.TunnelStatus{{Peer: strings.Repeat("a", maxReportText+1)}}},
	} {
		for i := range said.GetTunnels() {
			if said.Tunnels[i] == nil {
				said.Tunnels[i] = &controlv1.TunnelStatus{}
			}
		}
		_, err := client.Report(t.Context(), said)
		wantCode(t, "Report() with "+name, err, codes.InvalidArgument)
	}
}

// statuses stands for an xDS server that knows of a gateway.
type statuses struct {
	inner Gateways
	known []xds.Status
}

func (s statuses) Publish(ctx context.Context, sp *policyv1.SignedPolicy, m *policyv1.Manifest) (xds.Result, error) {
	return s.inner.Publish(ctx, sp, m)
}

func (s statuses) Apply(ctx context.Context, set *policyv1.ActSet) (xds.Result, error) {
	return s.inner.Apply(ctx, set)
}

func (s statuses) Gateways() []xds.Status { return s.known }

func TestWhatXDSKnowsIsShown(t *testing.T) {
	at := time.Unix(1_795_000_000, 0)
	m := published(t, func(c *Config) {
		c.Gateways = statuses{c.Gateways, []xds.Status{
			{ID: spiffeid.RequireFromString("spiffe://azure.demo/sallyport/gateway/azure-9"), Connected: true},
			{
				ID: spiffeid.RequireFromString(onprem1), Connected: true, Serial: 7, Revision: "sha256:ab",
				Acks: []xds.Ack{{TypeURL: xds.TypePolicy, Version: "v", Nack: "no signature that I trust", At: at}},
			},
		}}
	})
	want := map[string]*controlv1.GatewayStatus{
		"azure-1": {Name: "azure-1", Environment: "azure", Id: azure1},
		"onprem-1": {
			Name: "onprem-1", Environment: "onprem", Id: onprem1, Connected: true, Serial: 7, Revision: "sha256:ab",
			Acks: []*controlv1.ResourceAck{{TypeUrl: xds.TypePolicy, Version: "v", Nack: "no signature that I trust", At: timestamppb.New(at)}},
		},
	}
	if diff := cmp.Diff(want, gatewaysByName(m), protocmp.Transform()); diff != "" {
		t.Errorf("ListGateways() (-want +got):\n%s", diff)
	}
}

// What gateways said outlasts the process that heard it.
func TestWhatGatewaysSaidIsKept(t *testing.T) {
	at := time.Unix(1_795_000_000, 0)
	said := &controlv1.ReportRequest{Run: testRun, Serial: 7, Spooled: 42}
	m := published(t, func(c *Config) {
		c.Gateways = statuses{c.Gateways, []xds.Status{{
			ID: spiffeid.RequireFromString(onprem1), Connected: true, Serial: 7, Revision: "sha256:ab",
			Acks: []xds.Ack{{TypeURL: xds.TypePolicy, Version: "v", At: at}, {TypeURL: xds.TypeState, Version: "w", Nack: "no", At: at}},
		}}}
	})
	if _, err := controlv1.NewGatewayServiceClient(m.gateway()).Report(t.Context(), said); err != nil {
		t.Fatal(err)
	}
	want := gatewaysByName(m)
	ended, end := context.WithCancel(t.Context())
	end()
	if err := m.server.Run(ended); err != nil {
		t.Fatal(err)
	}
	m.stop()
	m.serve(nil)
	want["onprem-1"].Connected = false
	if diff := cmp.Diff(want, gatewaysByName(m), protocmp.Transform()); diff != "" {
		t.Errorf("after a restart (-want +got):\n%s", diff)
	}
	// What it says now stands beside what it has not said again.
	m.stop()
	m.serve(func(c *Config) {
		c.Gateways = statuses{c.Gateways, []xds.Status{{
			ID: spiffeid.RequireFromString(onprem1), Connected: true,
			Acks: []xds.Ack{{TypeURL: xds.TypeState, Version: "x", At: at}},
		}}}
	})
	want["onprem-1"].Connected = true
	want["onprem-1"].Acks[0].Version, want["onprem-1"].Acks[0].Nack = "x", ""
	if diff := cmp.Diff(want, gatewaysByName(m), protocmp.Transform()); diff != "" {
		t.Errorf("after it answered again (-want +got):\n%s", diff)
	}
}

// countingMemory counts what is written.
type countingMemory struct {
	Memory
	puts int
}

func (c *countingMemory) Put(ctx context.Context, key string, value []byte, expected uint64) (uint64, error) {
	c.puts++
	return c.Memory.Put(ctx, key, value, expected)
}

// Reports come every few seconds; they are not all written. Answers are, over
// what another control plane wrote meanwhile as well.
func TestReportsAreWrittenAtABoundedRate(t *testing.T) {
	s := newMesh(t, nil).store
	counted := &countingMemory{Memory: s.Gateways()}
	k, err := newMemory(t.Context(), counted, zaptest.NewLogger(t))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1_795_000_000, 0)
	status := &controlv1.GatewayStatus{Id: onprem1, Serial: 1}
	for range 60 {
		now = now.Add(time.Second)
		status.Report, status.Reported = &controlv1.ReportRequest{Serial: 1}, timestamppb.New(now)
		k.keep(t.Context(), []*controlv1.GatewayStatus{status}, now, false)
	}
	if counted.puts != 2 {
		t.Errorf("a report a second for a minute is written %d times, want 2", counted.puts)
	}
	_, revision, err := s.Gateways().Get(t.Context(), onprem1)
	if err == nil {
		_, err = s.Gateways().Put(t.Context(), onprem1, nil, revision)
	}
	if err != nil {
		t.Fatal(err)
	}
	status.Serial = 2
	k.keep(t.Context(), []*controlv1.GatewayStatus{status}, now.Add(time.Second), false)
	again, err := newMemory(t.Context(), s.Gateways(), zaptest.NewLogger(t))
	if err != nil {
		t.Fatal(err)
	}
	if got := again.known[onprem1].status.GetSerial(); got != 2 {
		t.Errorf("kept serial %d, want 2", got)
	}
}

func TestGetBootstrap(t *testing.T) {
	m := newMesh(t, nil)
	client := controlv1.NewGatewayServiceClient(m.operator())
	_, err := client.GetBootstrap(t.Context(), &controlv1.GetBootstrapRequest{Gateway: "onprem-1"})
	wantCode(t, "GetBootstrap() without a policy", err, codes.FailedPrecondition)
	if _, err := m.publish(m.sign(testPolicy(), 1, "")); err != nil {
		t.Fatal(err)
	}
	_, err = client.GetBootstrap(t.Context(), &controlv1.GetBootstrapRequest{Gateway: "onprem-9"})
	wantCode(t, "GetBootstrap() of an unknown gateway", err, codes.NotFound)
	got, err := client.GetBootstrap(t.Context(), &controlv1.GetBootstrapRequest{Gateway: "onprem-1"})
	if err != nil {
		t.Fatal(err)
	}
	want := &controlv1.GetBootstrapResponse{
		Environment: "onprem", TrustDomain: "onprem.demo", Tunnel: "127.1.0.1:8441",
		Address: "cp:1", Id: "spiffe://mesh.demo/sallyport/controlplane/cp-1", Bundle: "{}",
	}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Errorf("GetBootstrap() (-want +got):\n%s", diff)
	}
}

func TestGetBootstrapWithoutABundle(t *testing.T) {
	m := published(t, func(c *Config) {
		c.Bootstrap = func() (Bootstrap, error) { return Bootstrap{}, errors.New("secret") }
	})
	_, err := controlv1.NewGatewayServiceClient(m.operator()).GetBootstrap(t.Context(), &controlv1.GetBootstrapRequest{Gateway: "onprem-1"})
	wantCode(t, "GetBootstrap()", err, codes.Internal)
	if strings.Contains(err.Error(), "secret") {
		t.Errorf("the caller is told %q", err)
	}
}

func TestRegisterAndListBindings(t *testing.T) {
	m := published(t, nil)
	llm := m.as("azure.demo", "/ai/llm")
	req := &controlv1.RegisterRequest{Workload: "llm", Endpoints: map[string]string{"chat": "127.3.0.77:9000"}}
	if _, err := controlv1.NewWorkloadServiceClient(llm).Register(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	_, err := controlv1.NewWorkloadServiceClient(m.as("onprem.demo", workloadPath)).Register(t.Context(), req)
	wantCode(t, "Register() of another workload", err, codes.PermissionDenied)
	client := controlv1.NewWorkloadServiceClient(m.operator())
	sources := func(workload string) []string {
		resp, err := client.ListBindings(t.Context(), &controlv1.ListBindingsRequest{Workload: workload})
		if err != nil {
			t.Fatal(err)
		}
		var all []string
		for _, b := range resp.GetBindings() {
			all = append(all, b.GetWorkload()+" by "+b.GetSource())
		}
		return all
	}
	want := []string{"llm by policy", "llm by spiffe://azure.demo/ai/llm"}
	if diff := cmp.Diff(want, sources("llm")); diff != "" {
		t.Errorf("ListBindings(llm) (-want +got):\n%s", diff)
	}
	if got := sources("nobody"); got != nil {
		t.Errorf("ListBindings(nobody) = %v", got)
	}
	m.stop()
	m.serve(nil)
	client = controlv1.NewWorkloadServiceClient(m.operator())
	if diff := cmp.Diff(want, sources("llm")); diff != "" {
		t.Errorf("ListBindings(llm) after a restart (-want +got):\n%s", diff)
	}
}
