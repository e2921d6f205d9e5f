package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/localmesh"
	"github.com/sallyport-mesh/sallyport/e2e/meshtest"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// soon is how long what nobody stands behind any more may go on.
const soon = 5 * time.Second

// standing is a stream that goes on until something ends it.
type standing struct {
	name, crossing string
	ended          chan error // why, or nil for a clean end
}

// reads makes a stream of what is read until it fails.
func reads(name, crossing string, next func() error) *standing {
	s := &standing{name, crossing, make(chan error, 1)}
	go func() {
		for {
			if err := next(); err != nil {
				if errors.Is(err, io.EOF) {
					err = nil
				}
				s.ended <- err
				return
			}
		}
	}()
	return s
}

// into reads a piece at a time.
func into(r io.Reader) func() error {
	buf := make([]byte, 1024)
	return func() error { _, err := r.Read(buf); return err }
}

// streamingMesh is a mesh whose llm streams events and bytes without end.
func streamingMesh(t *testing.T, change func(*localmesh.Config)) *meshtest.Mesh {
	t.Helper()
	m := meshtest.Start(t, func(cfg *localmesh.Config) {
		cfg.Policy = policyWith(t, connectIntent)
		if change != nil {
			change(cfg)
		}
	})
	endpoints := map[string]string{}
	served := func() { // each registration takes the place of the one before
		t.Helper()
		r, err := controlv1.NewWorkloadServiceClient(m.API()).ListBindings(m.Context, &controlv1.ListBindingsRequest{Workload: "llm"})
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range r.GetBindings() {
			maps.Copy(endpoints, b.GetEndpoints())
		}
	}
	served()
	m.ServeChat(t, func(w http.ResponseWriter, r *http.Request) {
		if text, _ := io.ReadAll(r.Body); !bytes.Contains(text, []byte(`"stream":true`)) {
			fmt.Fprint(w, "{}")
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		for r.Context().Err() == nil {
			fmt.Fprint(w, "data: {}\n\n")
			http.NewResponseController(w).Flush()
			select {
			case <-r.Context().Done():
			case <-time.After(20 * time.Millisecond):
			}
		}
	})
	served()
	serveTCP(t, m, "vectors", func(c *net.TCPConn) { defer c.Close(); io.Copy(c, c) })
	served()
	if err := m.Register(m.Context, "llm", endpoints); err != nil {
		t.Fatal(err)
	}
	return m
}

// openStreams opens an event stream, a byte stream and a call of gRPC as the
// orchestrator.
func openStreams(t *testing.T, m *meshtest.Mesh) []*standing {
	t.Helper()
	events := meshtest.Chat(m.Context, t, m.As(t, "orchestrator"), true, nil)
	t.Cleanup(func() { events.Body.Close() })
	conn, connected := connect(t, m, "llm.azure.mesh:7000")
	t.Cleanup(func() { conn.Close() })
	source, err := m.Source(m.Context, "orchestrator")
	if err != nil {
		t.Fatal(err)
	}
	creds := credentials.NewTLS(certs.ClientTLS(source, certs.AuthorizeID(localmesh.GatewayID("onprem")), "h2"))
	calls, err := grpc.NewClient("passthrough:///"+m.Gateways["onprem-1"].AttachAddr().String(),
		grpc.WithTransportCredentials(creds), grpc.WithAuthority("llm.azure.mesh:9000"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { calls.Close() })
	watch, err := healthv1.NewHealthClient(calls).Watch(m.Context, &healthv1.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	header, err := watch.Header()
	if err != nil || events.StatusCode != http.StatusOK || connected.StatusCode != http.StatusOK || len(header.Get("sallyport-crossing")) == 0 {
		t.Fatalf("streams do not open: %s, %s, %v", events.Status, connected.Status, err)
	}
	if _, err := io.WriteString(conn, "hello"); err != nil {
		t.Fatal(err)
	}
	return []*standing{
		reads("event stream", events.Header.Get("sallyport-crossing"), into(events.Body)),
		reads("byte stream", connected.Header.Get("sallyport-crossing"), into(conn)),
		reads("gRPC stream", header.Get("sallyport-crossing")[0], func() error { _, err := watch.Recv(); return err }),
	}
}

// allEnd holds that streams are broken off soon after a moment, and that both halves
// of each say why.
func allEnd(t *testing.T, m *meshtest.Mesh, streams []*standing, since time.Time, reason crossingv1.Reason, detail string) {
	t.Helper()
	for _, s := range streams {
		select {
		case err := <-s.ended:
			t.Logf("%s ended after %v: %v", s.name, time.Since(since).Round(time.Millisecond), err)
			if err == nil {
				t.Errorf("%s has a clean end", s.name)
			}
		case <-time.After(time.Until(since.Add(soon))):
			t.Fatalf("%s goes on after %v", s.name, soon)
		}
	}
	for _, s := range streams {
		r := m.Record(t, s.crossing)
		if r.GetEgress().GetReason() != reason || r.GetIngress().GetReason() != reason || r.GetState() != crossingv1.Record_JOINED {
			t.Errorf("%s: %s; %s, %s at egress, %s, %s at ingress; want %s at both", s.name, r.GetState(),
				r.GetEgress().GetClose(), r.GetEgress().GetReason(), r.GetIngress().GetClose(), r.GetIngress().GetReason(), reason)
		}
		if said := r.GetEgress().GetDetail() + r.GetIngress().GetDetail(); !strings.Contains(said, detail) {
			t.Errorf("%s: the record says %q, want %q", s.name, said, detail)
		}
	}
}

// wantReason holds why a new call is refused.
func wantReason(t *testing.T, m *meshtest.Mesh, workload string, reason crossingv1.Reason) {
	t.Helper()
	resp := meshtest.Chat(m.Context, t, m.As(t, workload), false, nil)
	if said, err := meshtest.ReasonOf(meshtest.ReadAll(t, resp)); err != nil || said != reason.String() {
		t.Errorf("a new call of the %s is answered %s, reason %q, want %s", workload, resp.Status, said, reason)
	}
}

// allowedAgain waits until a new call is answered: tunnels may have to be dialled.
func allowedAgain(t *testing.T, m *meshtest.Mesh) {
	t.Helper()
	client := m.As(t, "orchestrator")
	last := ""
	for deadline := time.Now().Add(meshtest.Patience); time.Now().Before(deadline); {
		resp := meshtest.Chat(m.Context, t, client, false, nil)
		text := meshtest.ReadAll(t, resp)
		if resp.StatusCode == http.StatusOK {
			return
		}
		last = string(text)
	}
	t.Fatalf("calls are not allowed again: %s", last)
}

// others are calls of another workload, which go on whatever happens.
type others struct{ made, failed atomic.Int64 }

// callsOfOthers calls the registry as the llm until the test ends, and holds that
// none of the calls fails.
func callsOfOthers(t *testing.T, m *meshtest.Mesh) {
	t.Helper()
	ctx, stop := context.WithCancel(m.Context)
	client, done, o := m.As(t, "llm"), make(chan struct{}), new(others)
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://registry.aws.mesh:5000/v2/", nil)
			if err != nil {
				return
			}
			resp, err := client.Do(req)
			if ctx.Err() != nil {
				return
			}
			if o.made.Add(1); err != nil || resp.StatusCode != http.StatusOK {
				o.failed.Add(1)
			}
			if err == nil {
				io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
		}
	}()
	t.Cleanup(func() {
		stop()
		<-done
		t.Logf("%d calls of others, %d of them failed", o.made.Load(), o.failed.Load())
		if o.made.Load() == 0 || o.failed.Load() > 0 {
			t.Errorf("%d of %d calls of others failed", o.failed.Load(), o.made.Load())
		}
	})
}

const orchestrator = "spiffe://onprem.demo/ai/orchestrator"

// TestRevoke ends what is open because nobody stands behind it any more. The streams
// end within five seconds, both halves of the record say why, and everybody else's
// calls go on.
func TestRevoke(t *testing.T) {
	t.Parallel()
	meshtest.Binary(t, "sallyport") // building it takes longer than what is measured
	m := streamingMesh(t, nil)
	callsOfOthers(t, m)
	t.Run("workload quarantined", func(t *testing.T) { testQuarantined(t, m) })
	t.Run("destination quarantined", func(t *testing.T) { testDestinationQuarantined(t, m) })
	t.Run("workload deleted from the policy", func(t *testing.T) { testDeleted(t, m) })
	t.Run("intent alone removed", func(t *testing.T) { testIntentRemoved(t, m) })
	t.Run("gateway revoked", func(t *testing.T) { testGatewayRevoked(t, m) })
	t.Run("SVID expired", func(t *testing.T) { testExpired(t, m) })
	t.Run("token expired", func(t *testing.T) { testTokenExpired(t, m) })
	rejectedNothing(t, m)
}

func testQuarantined(t *testing.T, m *meshtest.Mesh) {
	streams, since := openStreams(t, m), time.Now()
	said := ask(t, m.Dir(), "quarantine", orchestrator, "--reason", "its token was leaked")
	if !strings.Contains(said, " in force at 3 of 3 gateways after ") {
		t.Errorf("sallyport said %s", said)
	}
	t.Logf("%s", strings.TrimSpace(said))
	allEnd(t, m, streams, since, crossingv1.Reason_QUARANTINED, orchestrator+" was quarantined by act ")
	wantReason(t, m, "orchestrator", crossingv1.Reason_QUARANTINED)
	id := strings.Fields(said)[1]
	m.Eventually(t, func() bool { // records come with the spool
		shown := ask(t, m.Dir(), "acts", id)
		return strings.Contains(shown, "applied at aws-1") && strings.Contains(shown, "applied at azure-1") && strings.Contains(shown, "applied at onprem-1") &&
			strings.Contains(shown, "its token was leaked") && !strings.Contains(shown, "behind")
	})
	ask(t, m.Dir(), "quarantine", "lift", orchestrator, "--reason", "the token has expired")
	allowedAgain(t, m)
}

func testDestinationQuarantined(t *testing.T, m *meshtest.Mesh) {
	// The llm calls others beside: who is quarantined does not call either.
	retriever := "spiffe://aws.demo/ai/retriever"
	ask(t, m.Dir(), "quarantine", retriever, "--reason", "its index was poisoned")
	req, err := http.NewRequestWithContext(m.Context, http.MethodPost, "https://retriever.aws.mesh:8080/mcp", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := m.As(t, "orchestrator").Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if body := meshtest.ReadAll(t, resp); resp.StatusCode != http.StatusForbidden || !bytes.Contains(body, []byte("QUARANTINED")) {
		t.Errorf("a call to who is quarantined is answered %s, %s", resp.Status, body)
	}
	ask(t, m.Dir(), "quarantine", "lift", retriever, "--reason", "it was set up anew")
}

// publishAs publishes the policy with a part of it replaced, until the test ends.
func publishAs(t *testing.T, m *meshtest.Mesh, old, replacement string) {
	t.Helper()
	before := m.PolicyText(t)
	if _, err := m.Apply(m.Context, []byte(meshtest.Edit(t, before, old, replacement))); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := m.Apply(m.Context, []byte(before)); err != nil {
			t.Error(err)
		}
		allowedAgain(t, m)
	})
}

func testDeleted(t *testing.T, m *meshtest.Mesh) {
	streams, since := openStreams(t, m), time.Now()
	publishAs(t, m, "id: "+orchestrator, "id: "+orchestrator+"-2") // who is somebody else
	allEnd(t, m, streams, since, crossingv1.Reason_UNKNOWN_SOURCE, orchestrator+" is no workload of policy serial ")
	wantReason(t, m, "orchestrator", crossingv1.Reason_DENIED_BY_INTENT) // the data of who is nobody counts as restricted
}

// testIntentRemoved: what an intent allowed goes on to its end when that alone is gone.
func testIntentRemoved(t *testing.T, m *meshtest.Mesh) {
	streams := openStreams(t, m)[:1]
	publishAs(t, m, "allow: {from: orchestrator, to: llm, service: chat, methods: [GET], paths: [/v1/models]}",
		"allow: {from: orchestrator, to: llm, service: chat, methods: [HEAD], paths: [/v1/models]}")
	select {
	case err := <-streams[0].ended:
		t.Errorf("a stream ended with its intent: %v", err)
	case <-time.After(500 * time.Millisecond):
	}
}

func testGatewayRevoked(t *testing.T, m *meshtest.Mesh) {
	streams, since := openStreams(t, m), time.Now()
	said := ask(t, m.Dir(), "gateways", "revoke", "onprem-1", "--reason", "its host was broken into")
	t.Logf("%s", strings.TrimSpace(said))
	allEnd(t, m, streams, since, crossingv1.Reason_REVOKED_GATEWAY, "gateway/onprem-1 was revoked by act ")
	wantReason(t, m, "orchestrator", crossingv1.Reason_REVOKED_GATEWAY)
	ask(t, m.Dir(), "gateways", "restore", "onprem-1", "--reason", "it was set up anew")
	allowedAgain(t, m)
}

// testExpired shows an SVID that ends in a moment, and that nobody rotates.
func testExpired(t *testing.T, m *meshtest.Mesh) {
	onprem := m.Stolen(t, "onprem")
	onprem.TTL = 3 * time.Second
	source := onprem.Source("/ai/orchestrator")
	svid, err := source.GetX509SVID()
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{
		TLSClientConfig: certs.ClientTLS(source, certs.AuthorizeID(localmesh.GatewayID("onprem"))),
		DialContext:     meshtest.DialTo(m.Gateways["onprem-1"].AttachAddr()),
	}}
	t.Cleanup(client.CloseIdleConnections)
	resp := meshtest.Chat(m.Context, t, client, true, nil)
	defer resp.Body.Close()
	streams := []*standing{reads("event stream", resp.Header.Get("sallyport-crossing"), into(resp.Body))}
	ends := svid.Certificates[0].NotAfter
	select {
	case err := <-streams[0].ended:
		t.Fatalf("it ended before its SVID: %v", err)
	case <-time.After(time.Until(ends.Add(-100 * time.Millisecond))):
	}
	allEnd(t, m, streams, ends, crossingv1.Reason_EXPIRED_IDENTITY, "the SVID that was shown ended at ")
}

// testTokenExpired shows a JWT-SVID of which only the clocks' leeway is left.
func testTokenExpired(t *testing.T, m *meshtest.Mesh) {
	onprem := m.Stolen(t, "onprem")
	onprem.TTL, onprem.NotBefore = time.Minute, -2*time.Minute+3*time.Second
	ends := time.Now().Add(3 * time.Second)
	token := onprem.JWT("/ai/orchestrator", localmesh.GatewayID("onprem").String())
	resp := meshtest.Chat(m.Context, t, &http.Client{Transport: &http.Transport{
		TLSClientConfig: m.TrustOnly(t, "onprem"), DialContext: meshtest.DialTo(m.Gateways["onprem-1"].AttachAddr()),
	}}, true, http.Header{"Authorization": {"Bearer " + token}})
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s", resp.Status, meshtest.ReadAll(t, resp))
	}
	streams := []*standing{reads("event stream", resp.Header.Get("sallyport-crossing"), into(resp.Body))}
	allEnd(t, m, streams, ends, crossingv1.Reason_EXPIRED_IDENTITY, "the SVID that was shown ended at ")
}

// TestRevokePersists starts a gateway again while there is no control plane: it still
// knows who is quarantined. One that cannot read whom does not start.
func TestRevokePersists(t *testing.T) {
	t.Parallel()
	m, gateways := startGateways(t, nil)
	p := gateways["onprem-1"]
	b := m.Started(t, "onprem-1")
	listening := func() bool {
		conn, err := net.Dial("tcp", b.GetAttach())
		if err == nil {
			conn.Close()
		}
		return err == nil
	}
	m.Eventually(t, listening)
	allowedAgain(t, m)
	ask(t, m.Dir(), "quarantine", orchestrator, "--reason", "its token was leaked")
	p.kill()
	b.ControlPlane.Address = "127.0.0.1:1" // nobody is there
	text, err := protojson.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	alone := t.TempDir() + "/bootstrap.json"
	if err := os.WriteFile(alone, text, 0o600); err != nil {
		t.Fatal(err)
	}
	p = gatewayProcess(t, alone)
	t.Cleanup(p.kill)
	p.start()
	m.Eventually(t, listening)
	wantReason(t, m, "orchestrator", crossingv1.Reason_QUARANTINED)
	p.kill()
	if err := os.WriteFile(b.GetStateDir()+"/acts.pb", []byte("\x0a\xff"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.start()
	if err := p.cmd.Wait(); err == nil || p.cmd.ProcessState.ExitCode() == 0 {
		t.Error("it started without knowing whom operators have quarantined")
	}
}
