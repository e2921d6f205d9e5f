package sdk

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/localmesh"
	"github.com/sallyport-mesh/sallyport/e2e/meshtest"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

const (
	// shortLived is how long an SVID lasts in these tests; a call is sure of a fifth of half
	// of that.
	shortLived = 12 * time.Second
	// outlives is how long a program runs: longer than two SVIDs, and four are used.
	outlives = 2*shortLived + shortLived/4
)

func TestMain(m *testing.M) { meshtest.Main(m) }

// attach is `sallyport attach` as the orchestrator, with the README's flags.
func attach(ctx context.Context, t *testing.T, m *meshtest.Mesh, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(ctx, meshtest.Binary(t, "sallyport"), append([]string{"attach"}, args...)...)
	cmd.Env = append(os.Environ(), "SALLYPORT_DIR="+m.Dir(), "SPIFFE_ENDPOINT_SOCKET="+m.WorkloadAPI("orchestrator"))
	cmd.Stderr = os.Stderr
	return cmd
}

// TestAttached: a Python and a Node program that know nothing of SPIFFE run for
// longer than any credential of theirs lasts, and no call of theirs fails.
func TestAttached(t *testing.T) {
	for name, program := range map[string]struct {
		needs   func() error
		command []string
	}{
		"python": {
			func() error { return exec.Command("python3", "-c", "import requests").Run() },
			[]string{"python3", "python/client.py"},
		},
		"node": {
			func() error { _, err := os.Stat("node/node_modules/openai"); return err },
			[]string{"node", "node/lasting.mjs"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if program.needs() != nil {
				skipUnlessRequired(t, "needs python3-requests, and Node with the SDK: npm ci --prefix e2e/sdk/node")
			}
			m := meshtest.Start(t, func(c *localmesh.Config) { c.X509TTL = shortLived })
			meshtest.Binary(t, "sallyport") // the time that it takes to build is none of the program's
			ctx, cancel := context.WithTimeout(m.Context, outlives+meshtest.Patience)
			defer cancel()
			args := append([]string{"--openai", "llm.azure.mesh:8000", "--"}, program.command...)
			cmd := attach(ctx, t, m, append(args, fmt.Sprint(outlives.Seconds()))...)
			out, err := cmd.Output()
			var got struct {
				Calls    int
				Failures []string
			}
			if err != nil || json.Unmarshal(out, &got) != nil {
				t.Fatalf("%v; it said %q", err, out)
			}
			t.Logf("failed %d of %d in %s, with SVIDs of %s", len(got.Failures), got.Calls, outlives, shortLived)
			if len(got.Failures) > 0 || got.Calls < 50 {
				t.Errorf("failures: %q", got.Failures)
			}
			shownSeveral(t, m)
		})
	}
}

// shownSeveral: the calls came under several SVIDs, one after the other.
func shownSeveral(t *testing.T, m *meshtest.Mesh) {
	t.Helper()
	svids := map[string]bool{}
	for _, r := range m.Crossings(t, &controlv1.ListCrossingsRequest{}) {
		caller := r.GetEgress().GetPeer()
		if caller == nil {
			continue // its half is on its way
		}
		if caller.GetAttach() != crossingv1.Attach_MTLS || r.GetSource() != "spiffe://onprem.demo/ai/orchestrator" {
			t.Fatalf("record: %v", r)
		}
		svids[caller.GetSvid()] = true
	}
	if len(svids) < 3 {
		t.Errorf("all came under %d SVIDs", len(svids))
	}
}

// TestAttachedCurl: curl reaches the mesh through the helper in each form of a
// proxy, and its exit code is the helper's.
func TestAttachedCurl(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		skipUnlessRequired(t, "needs curl")
	}
	m := meshtest.Start(t, nil)
	const body = `{"model":"gpt-oss-20b","messages":[{"role":"user","content":"hello"}]}`
	for name, args := range map[string][]string{
		"base URL":         {"--openai", "llm.azure.mesh:8000", "--", "sh", "-c", `curl -sS --fail --max-time 20 -H 'Content-Type: application/json' -H "Authorization: Bearer $OPENAI_API_KEY" -d '` + body + `' $OPENAI_BASE_URL/chat/completions`},
		"forward proxy":    {"--proxy", "--", "curl", "-sS", "--fail", "--max-time", "20", "-H", "Content-Type: application/json", "-d", body, "http://llm.azure.mesh:8000/v1/chat/completions"},
		"HTTP/2":           {"--", "sh", "-c", `curl -sS --fail --max-time 20 -H 'Content-Type: application/json' --http2-prior-knowledge -d '` + body + `' $SALLYPORT_ATTACH/llm.azure.mesh:8000/v1/chat/completions`},
		"not OpenAI's own": {"--anthropic", "llm.azure.mesh:8000", "--", "sh", "-c", `curl -sS --fail --max-time 20 -H 'Content-Type: application/json' -d '` + body + `' $ANTHROPIC_BASE_URL/v1/chat/completions`},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := attach(m.Context, t, m, args...).Output()
			if err != nil || !bytes.Contains(out, []byte("chat.completion")) {
				t.Errorf("%v; it said %q", err, out)
			}
		})
	}
	denied := attach(m.Context, t, m, "--", "sh", "-c", `curl -sS -o /dev/null -w '%{http_code}' $SALLYPORT_ATTACH/registry.aws.mesh:5000/v2/; exit 7`)
	out, _ := denied.Output()
	if string(out) != fmt.Sprint(http.StatusForbidden) || denied.ProcessState.ExitCode() != 7 {
		t.Errorf("a denied call gave %q, the program's exit code came as %d", out, denied.ProcessState.ExitCode())
	}
}

// TestAttachedAlone: without a program the helper serves until it is stopped, and
// says how to reach it.
func TestAttachedAlone(t *testing.T) {
	m := meshtest.Start(t, nil)
	socket := filepath.Join(meshtest.Dir(t), "attach.sock")
	ctx, stop := context.WithCancel(m.Context)
	defer stop()
	cmd := attach(ctx, t, m, "--listen", "unix:"+socket)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	said, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || said != "export SALLYPORT_ATTACH=unix:"+socket+"\n" {
		t.Fatalf("it said %q, %v", said, err)
	}
	client := &http.Client{Transport: &http.Transport{DialContext: dialUnix(socket)}}
	defer client.CloseIdleConnections()
	answer, err := client.Post("http://llm.azure.mesh:8000/v1/chat/completions", "application/json", strings.NewReader(`{"model":"gpt-oss-20b","messages":[]}`))
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	stop()
	cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); answer.StatusCode != http.StatusOK || code != 0 {
		t.Errorf("answered %s, exit code %d", answer.Status, code)
	}
}

func dialUnix(path string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}
}
