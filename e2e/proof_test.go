package e2e

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/attach"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/localmesh"
	"github.com/sallyport-mesh/sallyport/e2e/meshtest"
	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

const modelsURL = "https://llm.azure.mesh:8000/v1/models"

// proofAudience is that of proofs for calls to the llm.
const proofAudience = "sallyport:proof:llm.azure.mesh"

// withProofs is a mesh in which the llm is asked for its models, and for bytes, only
// by those who prove that they ask; its gateway onprem-1 has a port to it.
func withProofs(t *testing.T) *meshtest.Mesh {
	t.Helper()
	text := meshtest.Edit(t, string(policyWith(t, connectIntent+"    require: {workloadProof: true}\n")),
		"methods: [GET], paths: [/v1/models]}\n", "methods: [GET], paths: [/v1/models]}\n    require: workload-proof\n")
	return meshtest.WithPorts(t, []byte(text), "llm.azure.mesh:7000")
}

// askModels asks for the llm's models, with that proof if it is not "".
func askModels(ctx context.Context, t *testing.T, c *http.Client, url, proof string, header ...string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	if proof != "" {
		req.Header.Set("sallyport-proof", proof)
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

// helper is `sallyport attach` beside a program of the orchestrator's.
func helper(t *testing.T, m *meshtest.Mesh, prove bool) net.Addr {
	t.Helper()
	source, err := m.Source(m.Context, "orchestrator")
	if err != nil {
		t.Fatal(err)
	}
	a, err := attach.New(attach.Config{
		Source: source, Gateway: m.Gateways["onprem-1"].AttachAddr().String(), Listen: "127.0.0.1:0", Prove: prove,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return a.Addr()
}

// TestWorkloadProof: who proves that it calls, crosses, however it attaches. Its
// proof ends at the second gateway, and the record of both has its digest alone.
func TestWorkloadProof(t *testing.T) {
	m := withProofs(t)
	seen := make(chan http.Header, 1)
	m.ServeChat(t, func(w http.ResponseWriter, r *http.Request) {
		seen <- r.Header
		fmt.Fprint(w, `{"object":"list"}`)
	})
	plain := &http.Client{Transport: &http.Transport{}}
	defer plain.CloseIdleConnections()
	loopback := "http://" + m.Gateways["onprem-1"].LoopbackAddr().String() + "/llm.azure.mesh:8000/v1/models"
	proof := m.JWT(t, "orchestrator", proofAudience)
	for _, c := range []struct {
		name, url, proof string
		client           *http.Client
		header           []string
	}{
		{"mTLS", modelsURL, proof, m.As(t, "orchestrator"), nil},
		{"JWT-SVID as API key", loopback, proof, plain, []string{"Authorization", "Bearer " + m.Token(t, "orchestrator", "onprem")}},
		{"the helper's own", "http://" + helper(t, m, true).String() + "/llm.azure.mesh:8000/v1/models", "", plain, nil},
		{"through the helper", "http://" + helper(t, m, false).String() + "/llm.azure.mesh:8000/v1/models", proof, plain, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			resp := askModels(m.Context, t, c.client, c.url, c.proof, c.header...)
			if body := meshtest.ReadAll(t, resp); resp.StatusCode != http.StatusOK {
				t.Fatalf("status %d: %s", resp.StatusCode, body)
			}
			for name, values := range <-seen {
				if strings.Contains(strings.ToLower(name), "proof") || c.proof != "" && strings.Contains(strings.Join(values, " "), c.proof) {
					t.Errorf("the llm saw %s: %s", name, values)
				}
			}
			r := m.Record(t, resp.Header.Get("sallyport-crossing"))
			if !r.GetAgree() || !strings.HasPrefix(r.GetEgress().GetProof(), "sha256:") || r.GetIngress().GetProof() != r.GetEgress().GetProof() ||
				r.GetSource() != localmesh.ID("orchestrator").String() || strings.Contains(r.String(), proof) {
				t.Errorf("record: %v", r)
			}
		})
	}
	meshtest.WantCrossing(t, m) // what needs no proof crosses without, as ever
}

// TestNoWorkloadProof: who proves nothing, or something else, is refused by its own
// gateway, which tells it what to send. The llm hears nothing of it.
func TestNoWorkloadProof(t *testing.T) {
	m := withProofs(t)
	m.ServeChat(t, func(_ http.ResponseWriter, r *http.Request) { t.Errorf("the llm was asked for %s", r.URL) })
	onprem, azure := m.Stolen(t, "onprem"), m.Stolen(t, "azure")
	at := func(offset time.Duration) string {
		onprem.NotBefore = offset
		defer func() { onprem.NotBefore = 0 }()
		return onprem.JWT("/ai/orchestrator", proofAudience)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	unsigned := b64([]byte(`{"alg":"none"}`)) + "." + b64(fmt.Appendf(nil, `{"sub":%q,"aud":%q,"iat":%d,"exp":%d}`,
		localmesh.ID("orchestrator"), proofAudience, time.Now().Unix(), time.Now().Add(time.Minute).Unix())) + "."
	client := m.As(t, "orchestrator")
	for _, c := range []struct{ name, proof, reason, says string }{
		{"none", "", "NO_PROOF", "no proof came"},
		{"for another destination", m.JWT(t, "orchestrator", crossing.ProofAudience("retriever.aws.mesh")), "BAD_PROOF", "not trusted"},
		{"for the gateway", m.Token(t, "orchestrator", "onprem"), "BAD_PROOF", "not trusted"},
		{"of another workload", onprem.JWT("/ai/other", proofAudience), "BAD_PROOF", "it is of spiffe://onprem.demo/ai/other"},
		{"of another trust domain", azure.JWT("/ai/orchestrator", proofAudience), "BAD_PROOF", "it is of spiffe://azure.demo/ai/orchestrator"},
		{"too old", at(-7 * time.Minute), "BAD_PROOF", "issued 7m"},
		{"expired", at(-2 * time.Hour), "BAD_PROOF", "expired"},
		{"not yet", at(time.Hour), "BAD_PROOF", "check the clocks"},
		{"signed by nobody", unsigned, "BAD_PROOF", ""},
		{"none at all", "yes", "BAD_PROOF", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			resp := askModels(m.Context, t, client, modelsURL, c.proof)
			var p struct{ Reason, Detail, Owner string }
			if err := json.Unmarshal(meshtest.ReadAll(t, resp), &p); err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != http.StatusForbidden || p.Reason != c.reason || p.Owner != "ml-platform" || !strings.Contains(p.Detail, c.says) ||
				!strings.Contains(p.Detail, "send in sallyport-proof a JWT-SVID of yours for the audience "+proofAudience+" alone") {
				t.Errorf("status %d, %+v", resp.StatusCode, p)
			}
			r := m.Record(t, resp.Header.Get("sallyport-crossing"))
			if e := r.GetEgress(); r.GetState() != crossingv1.Record_DENIED || e.GetReason().String() != c.reason || e.GetIntent() != "list-the-models" ||
				!strings.Contains(e.GetDetail(), c.says) || e.GetProof() != "" || c.proof != "" && len(c.proof) > 10 && strings.Contains(r.String(), c.proof) {
				t.Errorf("record: %v", r)
			}
		})
	}
}

// TestWorkloadProofOfBytes: a byte stream has its proof beside the CONNECT; where
// there is none, as at a mapped port, there can be no proof.
func TestWorkloadProofOfBytes(t *testing.T) {
	m := withProofs(t)
	serveTCP(t, m, "vectors", func(c *net.TCPConn) {
		defer c.Close()
		_, _ = io.Copy(c, c) // whatever ends it ends the caller's side too
	})
	for _, addr := range []net.Addr{m.Gateways["onprem-1"].LoopbackAddr(), helper(t, m, true)} {
		conn, err := net.Dial("tcp", addr.String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fields := ""
		if addr == m.Gateways["onprem-1"].LoopbackAddr() {
			fields = "Proxy-Authorization: Bearer " + m.Token(t, "orchestrator", "onprem") + "\r\nsallyport-proof: " + m.JWT(t, "orchestrator", proofAudience) + "\r\n"
		}
		fmt.Fprintf(conn, "CONNECT llm.azure.mesh:7000 HTTP/1.1\r\nHost: llm.azure.mesh:7000\r\n%s\r\n", fields)
		resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: http.MethodConnect})
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%v, %v", resp, err)
		}
		echo(t, conn, "proven")
	}
	since := time.Now()
	conn, resp := connect(t, m, "llm.azure.mesh:7000")
	conn.Close()
	if resp.StatusCode != http.StatusForbidden {
		t.Errorf("without a proof: %s", resp.Status)
	}
	if r := m.Record(t, resp.Header.Get("sallyport-crossing")); r.GetEgress().GetReason() != crossingv1.Reason_NO_PROOF || r.GetEgress().GetOpen().AsTime().Before(since) {
		t.Errorf("record: %v", r)
	}
	since = time.Now()
	if n, err := io.Copy(io.Discard, dialPort(t, m, 0, "orchestrator")); err == nil || n > 0 {
		t.Errorf("a mapped port gave %d bytes and %v", n, err)
	}
	if e := after(t, m, since).GetEgress(); e.GetReason() != crossingv1.Reason_NO_PROOF || !strings.Contains(e.GetDetail(), "a mapped port can carry none") {
		t.Errorf("at a mapped port: %v", e)
	}
}
