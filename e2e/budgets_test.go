package e2e

import (
	"context"
	"io"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/localmesh"
	"github.com/sallyport-mesh/sallyport/e2e/meshtest"
	"github.com/sallyport-mesh/sallyport/gateway"
	configv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/config/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// TestBudgetOfTwoGateways: whoever calls through two gateways of an environment has one
// budget, not two. The destination's gateway lets no more in, and both of the caller's
// come to know that it is used up.
func TestBudgetOfTwoGateways(t *testing.T) {
	t.Parallel()
	const most = 20 // a day
	m := meshtest.Start(t, func(cfg *localmesh.Config) {
		cfg.Gateways = map[string]string{"onprem-2": "onprem"}
		text := meshtest.Edit(t, string(meshtest.Plain()), `{onprem-1: {tunnel: "${tunnel.onprem-1}"}}`,
			`{onprem-1: {tunnel: "${tunnel.onprem-1}"}, onprem-2: {dialOut: true}}`)
		const chat = "paths: [/v1/chat/completions]}\n"
		cfg.Policy = []byte(meshtest.Edit(t, text, chat, chat+"    limits: {requests: "+strconv.Itoa(most)+"/day}\n"))
	})
	clients := []*http.Client{m.As(t, "orchestrator"), throughSecond(t, m)}
	answered, refusedBy := 0, map[string]bool{} // gateways
	m.Eventually(t, func() bool {
		for _, client := range clients {
			resp := meshtest.Chat(m.Context, t, client, false, nil)
			meshtest.ReadAll(t, resp)
			if resp.StatusCode == http.StatusOK {
				answered++
				continue
			}
			r := m.Record(t, resp.Header.Get("sallyport-crossing"))
			if resp.StatusCode != http.StatusTooManyRequests || r.GetEgress().GetReason() != crossingv1.Reason_OVER_BUDGET {
				t.Fatalf("status %d, record %v", resp.StatusCode, r)
			}
			if answered == most && r.GetState() == crossingv1.Record_DENIED {
				refusedBy[r.GetEgress().GetGateway()] = true
			}
		}
		return len(refusedBy) == len(clients)
	})
	if answered != most {
		t.Errorf("%d calls were answered, want %d", answered, most)
	}
}

// TestBudgetOfBytes: a download that is larger than its caller's budget is slowed and then
// broken off, both gateways say why, and who goes on where it broke off is told when to.
func TestBudgetOfBytes(t *testing.T) {
	t.Parallel()
	const most = 2 << 20 // a day; should that end meanwhile, more of them pass
	m := meshtest.Start(t, func(cfg *localmesh.Config) {
		const chat = "paths: [/v1/chat/completions]}\n"
		cfg.Policy = []byte(meshtest.Edit(t, string(meshtest.Plain()), chat, chat+"    limits: {bytes: 2MiB/day}\n"))
	})
	m.ServeChat(t, func(w http.ResponseWriter, _ *http.Request) {
		for zeros := make([]byte, 64<<10); ; {
			if _, err := w.Write(zeros); err != nil {
				return
			}
		}
	})
	client := m.As(t, "orchestrator")
	resp := meshtest.Chat(m.Context, t, client, false, nil)
	passed, err := io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	if err == nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("status %d, %d bytes, %v", resp.StatusCode, passed, err)
	}
	r := m.Record(t, resp.Header.Get("sallyport-crossing"))
	for _, e := range []*crossingv1.End{r.GetEgress(), r.GetIngress()} {
		if e.GetReason() != crossingv1.Reason_OVER_BUDGET || e.GetRequestBytes()+e.GetResponseBytes() < most {
			t.Errorf("%v", e)
		}
	}
	if !r.GetAgree() || r.GetEgress().GetThrottled() == nil && r.GetIngress().GetThrottled() == nil {
		t.Errorf("record %v", r)
	}
	if said := string(tool(t, m, "trace", r.GetId())); !strings.Contains(said, "waiting for a budget") {
		t.Errorf("trace: %s", said)
	}
	resumed := meshtest.Chat(m.Context, t, client, false, http.Header{"Range": {"bytes=" + strconv.FormatInt(passed, 10) + "-"}})
	meshtest.ReadAll(t, resumed)
	if after, err := strconv.Atoi(resumed.Header.Get("retry-after")); resumed.StatusCode != http.StatusTooManyRequests || err != nil || after < 1 {
		t.Errorf("status %d, retry after %q", resumed.StatusCode, resumed.Header.Get("retry-after"))
	}
}

// throughSecond starts a second gateway of the orchestrator's environment, and is a client
// that attaches there.
func throughSecond(t *testing.T, m *meshtest.Mesh) *http.Client {
	t.Helper()
	b := proto.CloneOf(m.Started(t, "onprem-1"))
	b.Gateway, b.WorkloadApi = "onprem-2", m.WorkloadAPI("onprem-2")
	b.StateDir = filepath.Join(t.TempDir(), "state")
	b.Attach, b.AttachLoopback, b.Tunnel = "127.0.0.1:0", "", ""
	g := running(t, m, b)
	orchestrator, err := m.Source(m.Context, "orchestrator")
	if err != nil {
		t.Fatal(err)
	}
	id := spiffeid.RequireFromString("spiffe://onprem.demo/sallyport/gateway/onprem-2")
	transport := &http.Transport{
		TLSClientConfig: certs.ClientTLS(orchestrator, certs.AuthorizeID(id), "h2"), ForceAttemptHTTP2: true,
		DialContext: meshtest.DialTo(g.AttachAddr()),
	}
	t.Cleanup(transport.CloseIdleConnections)
	awaitGateway(t, m, "onprem-2")
	return &http.Client{Transport: transport}
}

// running runs a gateway until the test ends.
func running(t *testing.T, m *meshtest.Mesh, b *configv1.Bootstrap) *gateway.Gateway {
	t.Helper()
	g, err := gateway.New(m.Context, gateway.Config{Bootstrap: b, Log: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	ctx, stop := context.WithCancel(m.Context)
	go func() { ended <- g.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("the gateway ended with: %v", err)
		}
	})
	return g
}
