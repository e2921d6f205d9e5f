package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/localmesh"
	"github.com/sallyport-mesh/sallyport/e2e/meshtest"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

func TestCrossings(t *testing.T) {
	t.Parallel()
	m := meshtest.Start(t, nil)
	t.Run("allowed", func(t *testing.T) { testAllowed(t, m) })
	t.Run("denied", func(t *testing.T) { testDenied(t, m) })
	t.Run("grpc", func(t *testing.T) { testGRPC(t, m) })
	t.Run("trace continued", func(t *testing.T) { testTrace(t, m) })
	// These come last: the llm is then another.
	t.Run("streamed", func(t *testing.T) { testStreamed(t, m) })
	t.Run("caller gone", func(t *testing.T) { testCallerGone(t, m) })
}

func testAllowed(t *testing.T, m *meshtest.Mesh) {
	resp := meshtest.Chat(m.Context, t, m.As(t, "orchestrator"), false, nil)
	body := meshtest.ReadAll(t, resp)
	if resp.StatusCode != http.StatusOK || !bytes.Contains(body, []byte("chat.completion")) {
		t.Fatalf("status %d: %s", resp.StatusCode, body)
	}
	r := m.Record(t, resp.Header.Get("sallyport-crossing"))
	if r.GetState() != crossingv1.Record_JOINED || !r.GetAgree() {
		t.Fatalf("record is %s, agree %t, differences %v", r.GetState(), r.GetAgree(), r.GetDifferences())
	}
	for _, c := range []struct{ field, got, want string }{
		{"owner", r.GetTransition().GetOwner(), "ml-platform"},
		{"from", r.GetTransition().GetFrom(), "onprem"},
		{"to", r.GetTransition().GetTo(), "azure"},
		{"source", r.GetSource(), "spiffe://onprem.demo/ai/orchestrator"},
		{"destination", r.GetDestination(), "spiffe://azure.demo/ai/llm"},
		{"egress intent", r.GetEgress().GetIntent(), "plan-with-the-llm"},
		{"ingress intent", r.GetIngress().GetIntent(), "plan-with-the-llm"},
		{"egress gateway", r.GetEgress().GetGateway(), "spiffe://onprem.demo/sallyport/gateway/onprem-1"},
		{"ingress gateway", r.GetIngress().GetGateway(), "spiffe://azure.demo/sallyport/gateway/azure-1"},
		{"pair", r.GetEvidence().GetPair(), "onprem-1 azure-1"},
		{"carrier", r.GetTunnel().GetCarrier(), "TCP"},
		{"attach", r.GetEgress().GetPeer().GetAttach().String(), "MTLS"},
		{"destination attach", r.GetIngress().GetPeer().GetAttach().String(), "MTLS"},
		{"policy at both ends", r.GetIngress().GetPolicy().GetRevision(), r.GetEgress().GetPolicy().GetRevision()},
	} {
		if c.got != c.want || c.got == "" {
			t.Errorf("%s is %q, want %q", c.field, c.got, c.want)
		}
	}
	if got, want := r.GetEgress().GetResponseBytes(), uint64(len(body)); got != want {
		t.Errorf("egress counted %d bytes of the answer, want %d", got, want)
	}
	if r.GetEvidence().GetSequence() == 0 || r.GetEgress().GetStatus() != 200 {
		t.Errorf("sequence %d, status %d", r.GetEvidence().GetSequence(), r.GetEgress().GetStatus())
	}
}

// testStreamed has the llm send each event when the one before has been read:
// with events that are held back, it would wait for ever.
func testStreamed(t *testing.T, m *meshtest.Mesh) {
	ctx, cancel := context.WithTimeout(m.Context, meshtest.Patience)
	defer cancel()
	next := make(chan struct{}, 1)
	m.ServeChat(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for range next {
			if _, err := fmt.Fprint(w, "data: {}\n\n"); err != nil || http.NewResponseController(w).Flush() != nil {
				return
			}
		}
	})
	next <- struct{}{}
	resp := meshtest.Chat(ctx, t, m.As(t, "orchestrator"), true, nil)
	defer resp.Body.Close()
	events := 0
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if !strings.HasPrefix(lines.Text(), "data: ") {
			continue
		}
		if events++; events < 20 {
			next <- struct{}{}
		} else if events == 20 {
			close(next)
		}
	}
	if events != 20 {
		t.Fatalf("%d events, want 20; %v", events, ctx.Err())
	}
	if r := m.Record(t, resp.Header.Get("sallyport-crossing")); !r.GetOperation().GetStreamed() || !r.GetAgree() {
		t.Errorf("record: streamed %t, agree %t, differences %v", r.GetOperation().GetStreamed(), r.GetAgree(), r.GetDifferences())
	}
}

func testDenied(t *testing.T, m *meshtest.Mesh) {
	for _, c := range []struct{ name, workload, url, reason, owner string }{
		{"no intent", "orchestrator", "https://registry.aws.mesh/v2/", "NO_INTENT", "search-team"},
		{"another path", "orchestrator", "https://llm.azure.mesh:8000/v1/completions", "NO_INTENT", "ml-platform"},
		{"shut transition", "llm", "https://orchestrator.onprem.mesh/", "UNKNOWN_SERVICE", "cloud-team"},
		{"unknown destination", "orchestrator", "https://nobody.azure.mesh/", "UNKNOWN_DESTINATION", "datacenter-team"},
		{"ambiguous path", "orchestrator", "https://llm.azure.mesh:8000/v1/%2e%2e/admin", "MALFORMED", "datacenter-team"},
	} {
		t.Run(c.name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(m.Context, http.MethodGet, c.url, nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := m.As(t, c.workload).Do(req)
			if err != nil {
				t.Fatal(err)
			}
			body := meshtest.ReadAll(t, resp)
			id, media := resp.Header.Get("sallyport-crossing"), "application/problem+json"
			if strings.Contains(c.url, "/v1/completions") || strings.HasSuffix(c.url, "/v2/") {
				media = "application/json" // as OpenAI's SDKs read it, and clients of registries
			}
			if ct := resp.Header.Get("content-type"); ct != media || resp.StatusCode/100 != 4 || !json.Valid(body) {
				t.Errorf("status %d, content type %q: %s", resp.StatusCode, ct, body)
			}
			for _, want := range []string{id, c.reason, c.owner} {
				if want == "" || !strings.Contains(string(body), want) {
					t.Errorf("no %q in %s", want, body)
				}
			}
			if strings.Contains(string(body), "plan-with") {
				t.Errorf("the problem tells of the policy: %s", body)
			}
			r := m.Record(t, id)
			if r.GetState() != crossingv1.Record_DENIED || r.GetEgress().GetReason().String() != c.reason || r.GetIngress() != nil ||
				r.GetTransition().GetOwner() != c.owner {
				t.Errorf("record: %v", r)
			}
		})
	}
}

func testGRPC(t *testing.T, m *meshtest.Mesh) {
	source, err := m.Source(m.Context, "orchestrator")
	if err != nil {
		t.Fatal(err)
	}
	creds := credentials.NewTLS(certs.ClientTLS(source, certs.AuthorizeID(localmesh.GatewayID("onprem")), "h2"))
	dial := func(authority string) *grpc.ClientConn {
		conn, err := grpc.NewClient("passthrough:///"+m.Gateways["onprem-1"].AttachAddr().String(),
			grpc.WithTransportCredentials(creds), grpc.WithAuthority(authority))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	var header metadata.MD
	llm := healthv1.NewHealthClient(dial("llm.azure.mesh:9000"))
	answer, err := llm.Check(m.Context, &healthv1.HealthCheckRequest{}, grpc.Header(&header))
	if err != nil || answer.GetStatus() != healthv1.HealthCheckResponse_SERVING {
		t.Fatalf("Check = %v, %v", answer, err)
	}
	if r := m.Record(t, header.Get("sallyport-crossing")[0]); !r.GetAgree() || r.GetOperation().GetName() != "grpc.health.v1.Health/Check" {
		t.Errorf("record: %v", r)
	}
	_, err = llm.Check(m.Context, &healthv1.HealthCheckRequest{Service: "none"})
	if status.Code(err) != codes.NotFound {
		t.Errorf("an error of the service itself came as %v, want NOT_FOUND", err)
	}
	watch, err := llm.Watch(m.Context, &healthv1.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if answer, err := watch.Recv(); err != nil || answer.GetStatus() != healthv1.HealthCheckResponse_SERVING {
		t.Errorf("Watch = %v, %v", answer, err)
	}
	_, err = healthv1.NewHealthClient(dial("registry.aws.mesh:5000")).Check(m.Context, &healthv1.HealthCheckRequest{})
	if status.Code(err) != codes.PermissionDenied || !strings.Contains(status.Convert(err).Message(), "search-team") {
		t.Errorf("a denied call came as %v, want PERMISSION_DENIED naming the owner", err)
	}
}

func testTrace(t *testing.T, m *meshtest.Mesh) {
	const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
	resp := meshtest.Chat(m.Context, t, m.As(t, "orchestrator"), false, http.Header{
		"Traceparent": {"00-" + trace + "-00f067aa0ba902b7-01"},
	})
	meshtest.ReadAll(t, resp)
	if r := m.Record(t, resp.Header.Get("sallyport-crossing")); r.GetTrace() != trace {
		t.Errorf("trace is %q, want %q", r.GetTrace(), trace)
	}
	resp = meshtest.Chat(m.Context, t, m.As(t, "orchestrator"), false, http.Header{"Traceparent": {"00-zz"}})
	meshtest.ReadAll(t, resp)
	if r := m.Record(t, resp.Header.Get("sallyport-crossing")); len(r.GetTrace()) != 32 || r.GetTrace() == trace {
		t.Errorf("a broken traceparent gave trace %q", r.GetTrace())
	}
}

// testCallerGone has an llm that goes on until it hears that the caller left.
func testCallerGone(t *testing.T, m *meshtest.Mesh) {
	m.ServeChat(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "data: {}\n\n")
		http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	ctx, leave := context.WithCancel(m.Context)
	defer leave()
	resp := meshtest.Chat(ctx, t, m.As(t, "orchestrator"), true, nil)
	defer resp.Body.Close()
	if _, err := resp.Body.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	leave()
	r := m.Record(t, resp.Header.Get("sallyport-crossing"))
	if got := r.GetEgress().GetClose(); got != crossingv1.Cause_CALLER_GONE {
		t.Errorf("the egress half closed with %s, want CALLER_GONE", got)
	}
	if got := r.GetIngress().GetClose(); got != crossingv1.Cause_CALLER_GONE {
		t.Errorf("the ingress half closed with %s, want CALLER_GONE", got)
	}
}
