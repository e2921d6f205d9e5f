//go:build linux

package interop

import (
	"context"
	"fmt"
	"maps"
	"net"
	"os/exec"
	"slices"
	"strconv"
	"testing"

	"github.com/sallyport-mesh/sallyport/e2e/meshtest"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

const (
	testService = "grpc.testing.TestService/"
	unary       = testService + "UnaryCall"
	duplex      = testService + "FullDuplexCall"
	soak        = 20
)

// grpcCase is one of grpc-go's interop cases, and the calls that it makes.
type grpcCase struct {
	name  string
	calls []grpcCall
	args  []string
}

// grpcCall is how often a method is called, and with what status it ends.
type grpcCall struct {
	method string
	status uint32
	times  int
}

// The cases of the client in google.golang.org/grpc/interop/client. Left out, for
// what they need and not for what they do:
//
//   - compute_engine_creds, compute_engine_channel_credentials, service_account_creds,
//     jwt_token_creds, per_rpc_creds, oauth2_auth_token, google_default_credentials:
//     credentials of Google's cloud, and its token servers;
//   - pick_first_unary: a server that says which one it is, as this one does not;
//   - orca_oob: its load reports are called for by the balancer, which sends none of
//     the metadata that the client is told to, and so no JWT-SVID.
//
// client_compressed_* and server_compressed_* are cases of other languages'
// clients: the one in Go has none.
var grpcCases = []grpcCase{
	{name: "empty_unary", calls: []grpcCall{{testService + "EmptyCall", 0, 1}}},
	{name: "large_unary", calls: []grpcCall{{unary, 0, 1}}},
	{name: "client_streaming", calls: []grpcCall{{testService + "StreamingInputCall", 0, 1}}},
	{name: "server_streaming", calls: []grpcCall{{testService + "StreamingOutputCall", 0, 1}}},
	{name: "ping_pong", calls: []grpcCall{{duplex, 0, 1}}},
	{name: "empty_stream", calls: []grpcCall{{duplex, 0, 1}}},
	{name: "status_code_and_message", calls: []grpcCall{{unary, 2, 1}, {duplex, 2, 1}}},
	{name: "special_status_message", calls: []grpcCall{{unary, 2, 1}}},
	{name: "custom_metadata", calls: []grpcCall{{unary, 0, 1}, {duplex, 0, 1}}},
	{name: "unimplemented_method", calls: []grpcCall{{testService + "UnimplementedCall", 12, 1}}},
	{name: "unimplemented_service", calls: []grpcCall{{"grpc.testing.UnimplementedService/UnimplementedCall", 12, 1}}},
	{name: "rpc_soak", calls: []grpcCall{{unary, 0, soak}}, args: []string{"-soak_iterations", strconv.Itoa(soak), "-soak_num_threads", "4"}},
	{name: "channel_soak", calls: []grpcCall{{unary, 0, soak}}, args: []string{"-soak_iterations", strconv.Itoa(soak), "-soak_num_threads", "4"}},
	{
		name: "orca_per_rpc", calls: []grpcCall{{unary, 0, 1}},
		args: []string{"-service_config_json", `{"loadBalancingConfig":[{"test_backend_metrics_load_balancer":{}}]}`},
	},
}

// cancelled are the cases that the client breaks off, perhaps before the call
// has reached anybody. The status is 1, CANCELLED, or 4, DEADLINE_EXCEEDED, if the
// server was the first to notice.
var cancelled = []struct{ name, method string }{
	{"timeout_on_sleeping_server", duplex},
	{"cancel_after_begin", testService + "StreamingInputCall"},
	{"cancel_after_first_response", duplex},
}

// traceOf tells the crossings of one case from those of others.
func traceOf(n int) string { return fmt.Sprintf("%032x", 0xace0+n) }

// TestGRPC runs grpc-go's interop client against its interop server. The client
// is not changed: it trusts the gateway by root certificate and name, and sends a
// JWT-SVID as metadata.
func TestGRPC(t *testing.T) {
	client := program(t, "grpc-interop-client", builtByUs)
	server := program(t, "grpc-interop-server", builtByUs)
	at := place{"interop", "grpc", freePort(t)}
	launch(t, at.addr(), server, "-port", strconv.Itoa(at.port))
	m := meshWith(t, nil, at)
	port := strconv.Itoa(m.Gateways["onprem-1"].AttachAddr().(*net.TCPAddr).Port)
	base := []string{
		"-use_tls", "-use_test_ca", "-ca_file", m.CAFile(t, "onprem"),
		"-server_host", "127.0.0.1", "-server_port", port, "-server_host_override", at.host(),
	}
	token := m.Token(t, "orchestrator", "onprem")
	run := func(t *testing.T, n int, name string, args ...string) {
		ctx, cancel := context.WithTimeout(m.Context, meshtest.Patience)
		defer cancel()
		metadata := fmt.Sprintf("authorization:Bearer %s;traceparent:00-%s-00f067aa0ba902b7-01", token, traceOf(n))
		args = append(append(slices.Clone(base), "-test_case", name, "-additional_metadata", metadata), args...)
		if out, code, err := ran(exec.CommandContext(ctx, client, args...)); err != nil || code != 0 {
			t.Fatalf("the client ended with exit code %d, %v: %s", code, err, out)
		}
	}
	for n, c := range grpcCases {
		t.Run(c.name, func(t *testing.T) {
			run(t, n, c.name, c.args...)
			wantCalls(t, m, traceOf(n), c.calls)
		})
	}
	first := len(grpcCases)
	for i, c := range cancelled {
		t.Run(c.name, func(t *testing.T) { run(t, first+i, c.name) })
	}
	// A gateway tells of crossings in their order: after this one, of all of those.
	last := first + len(cancelled)
	run(t, last, grpcCases[0].name)
	wantCalls(t, m, traceOf(last), grpcCases[0].calls)
	for i, c := range cancelled {
		t.Run(c.name+", record", func(t *testing.T) { atMostOneCall(t, m, traceOf(first+i), c.method) })
	}
}

// wantCalls waits for the records of a case, and holds them to be whole and
// those that were expected.
func wantCalls(t *testing.T, m *meshtest.Mesh, trace string, want []grpcCall) {
	t.Helper()
	total := 0
	for _, c := range want {
		total += c.times
	}
	records := map[string]*crossingv1.Record{}
	m.Follow(t, &controlv1.ListCrossingsRequest{Trace: trace}, func(r *crossingv1.Record) bool {
		if meshtest.Whole(r) {
			records[r.GetId()] = r
		}
		return len(records) >= total
	})
	got := map[grpcCall]int{}
	for _, r := range m.Crossings(t, &controlv1.ListCrossingsRequest{Trace: trace}) {
		e := r.GetEgress()
		got[grpcCall{method: r.GetOperation().GetName(), status: e.GetStatus()}]++
		if r.GetState() != crossingv1.Record_JOINED || !r.GetAgree() || !e.GetContentSeen() || r.GetOperation().GetProtocol() != "grpc" ||
			e.GetClose() != crossingv1.Cause_DONE || r.GetIngress().GetClose() != crossingv1.Cause_DONE || r.GetIngress().GetStatus() != e.GetStatus() {
			t.Errorf("record: %v", r)
		}
	}
	wanted := map[grpcCall]int{}
	for _, c := range want {
		wanted[grpcCall{method: c.method, status: c.status}] = c.times
	}
	if !maps.Equal(got, wanted) {
		t.Errorf("recorded %v, want %v", got, wanted)
	}
}

// atMostOneCall holds what a call that its client broke off may leave behind.
func atMostOneCall(t *testing.T, m *meshtest.Mesh, trace, method string) {
	t.Helper()
	all := m.Crossings(t, &controlv1.ListCrossingsRequest{Trace: trace})
	if len(all) == 0 {
		t.Log("the call was over before it reached the gateway")
		return
	}
	if len(all) > 1 {
		t.Errorf("%d records of one call", len(all))
	}
	r := m.Follow(t, &controlv1.ListCrossingsRequest{Id: all[0].GetId()}, func(r *crossingv1.Record) bool {
		return r.GetState() != crossingv1.Record_OPEN
	})
	for _, e := range []*crossingv1.End{r.GetEgress(), r.GetIngress()} {
		if s := e.GetStatus(); e.GetClose() == crossingv1.Cause_CALLER_GONE && s != 1 || e.GetClose() == crossingv1.Cause_DONE && s != 4 && s != 1 {
			t.Errorf("%s recorded gRPC status %d, closed as %s", e.GetGateway(), s, e.GetClose())
		}
	}
	// A reset may have taken back what the far gateway had not read yet, or have
	// come before the near one let it out.
	taken := r.GetState() == crossingv1.Record_ONE_SIDED || r.GetState() == crossingv1.Record_REFUSED
	if r.GetOperation().GetName() != method || !taken && !r.GetAgree() {
		t.Errorf("record: %v", r)
	}
}
