package meshtest

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/localmesh"
	configv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/config/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// ChatURL is where the llm is asked.
const ChatURL = "https://llm.azure.mesh:8000/v1/chat/completions"

// Chat asks the llm.
func Chat(ctx context.Context, t testing.TB, c *http.Client, stream bool, header http.Header) *http.Response {
	t.Helper()
	body := fmt.Sprintf(`{"model":"gpt-oss-20b","stream":%t,"messages":[{"role":"user","content":"hello"}]}`, stream)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, ChatURL, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if header != nil {
		req.Header = header.Clone()
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

// ReadAll reads an answer to its end.
func ReadAll(t testing.TB, resp *http.Response) []byte {
	t.Helper()
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// ChatBody is what it is asked by who has no other question.
const ChatBody = `{"model":"gpt-oss-20b","messages":[{"role":"user","content":"hello"}]}`

// WantCrossing makes a good call and waits for its joined record.
func WantCrossing(t testing.TB, m *Mesh) {
	t.Helper()
	resp := Chat(m.Context, t, m.As(t, "orchestrator"), false, nil)
	if body := ReadAll(t, resp); resp.StatusCode != http.StatusOK {
		t.Fatalf("status %d of a good call: %s", resp.StatusCode, body)
	}
	if r := m.Record(t, resp.Header.Get("sallyport-crossing")); r.GetState() != crossingv1.Record_JOINED || !r.GetAgree() {
		t.Errorf("record of a good call: %v", r)
	}
}

// WithPorts is a mesh whose gateway onprem-1 has ports to these destinations.
func WithPorts(t testing.TB, policy []byte, to ...string) *Mesh {
	t.Helper()
	return Start(t, func(cfg *localmesh.Config) {
		cfg.Policy = policy
		cfg.Bootstrap = func(b *configv1.Bootstrap) {
			if b.GetGateway() != "onprem-1" {
				return
			}
			for _, d := range to {
				b.Ports = append(b.Ports, &configv1.Port{Listen: "127.0.0.1:0", To: d})
			}
		}
	})
}

// PortOf is where one of those ports is.
func PortOf(m *Mesh, i int) string { return m.Gateways["onprem-1"].PortAddrs()[i].String() }

// WriteFile writes a policy to a file of its own, and gives its path.
func WriteFile(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "policy.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Said is what a command answered.
type Said struct {
	Stdout, Stderr string
	Code           int
}

// Sallyport runs the operator's tool to its end.
func Sallyport(t testing.TB, dir string, args ...string) Said {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), Binary(t, "sallyport"), append([]string{"--dir", dir}, args...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
		t.Fatal(err)
	}
	return Said{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// ReasonOf is why a gateway refused a call, by what it says to who reads problems
// (RFC 9457), or errors as OpenAI's API has them.
func ReasonOf(body []byte) (string, error) {
	var said struct {
		Reason string
		Error  struct{ Code string }
	}
	err := json.Unmarshal(body, &said)
	return cmp.Or(said.Reason, strings.ToUpper(said.Error.Code)), err
}
