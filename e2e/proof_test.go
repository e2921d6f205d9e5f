package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport-mesh/sallyport/e2e/meshtest"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// tool runs the operator's tool against a mesh's directory, and gives what it writes.
func tool(t *testing.T, m *meshtest.Mesh, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(meshtest.Binary(t, "sallyport"), append([]string{"--dir", m.Dir()}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("sallyport %s: %v\n%s%s", strings.Join(args, " "), err, out, stderr.String())
	}
	return out
}

// auditor is somebody who has files, and nothing else: no mesh, no variables, no network
// that anybody tells of.
type auditor struct {
	t   *testing.T
	dir string
}

func newAuditor(t *testing.T, keys []byte) *auditor {
	t.Helper()
	a := &auditor{t, t.TempDir()}
	a.has("keys", keys)
	return a
}

func (a *auditor) has(name string, data []byte) {
	a.t.Helper()
	if err := os.WriteFile(filepath.Join(a.dir, name), data, 0o600); err != nil {
		a.t.Fatal(err)
	}
}

// verify checks a file, and gives what is said of it and the exit code.
func (a *auditor) verify(name string) (said string, code int) {
	a.t.Helper()
	return a.run("--keys", "keys", name)
}

// run runs sallyport-verify, and gives what it says and the exit code.
func (a *auditor) run(args ...string) (said string, code int) {
	a.t.Helper()
	cmd := exec.Command(meshtest.Binary(a.t, "sallyport-verify"), args...)
	cmd.Dir, cmd.Env = a.dir, []string{}
	out, err := cmd.CombinedOutput()
	if _, ran := errors.AsType[*exec.ExitError](err); err != nil && !ran {
		a.t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// TestProof: each crossing of a mesh, the denied ones too, is proven to somebody who has
// its proof and public keys, also after the mesh was stopped; what was changed is not.
func TestProof(t *testing.T) {
	t.Parallel()
	m := meshtest.Start(t, nil)
	client := m.As(t, "orchestrator")
	for _, url := range []string{"https://llm.azure.mesh:8000/v1/models", "https://llm.azure.mesh:8000/v1/models", "https://registry.aws.mesh:5000/v2/"} {
		resp, err := client.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		meshtest.ReadAll(t, resp)
	}
	resp, err := client.Post("https://llm.azure.mesh:8000/v1/chat/completions", "application/json",
		strings.NewReader(`{"model":"gpt-oss-20b","messages":[{"role":"user","content":"hello"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	meshtest.ReadAll(t, resp)
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("the llm answers %s", resp.Status)
	}
	m.Record(t, resp.Header.Get("sallyport-crossing"))
	var proof []byte
	for _, r := range m.Crossings(t, &controlv1.ListCrossingsRequest{}) {
		for _, args := range [][]string{{"log", "prove", r.GetId()}, {"log", "prove", "--both", r.GetId()}} {
			proof = tool(t, m, args...)
			a := newAuditor(t, tool(t, m, "log", "keys"))
			a.has("crossing.tlog-proof", proof)
			said, code := a.verify("crossing.tlog-proof")
			if code != 0 || !strings.Contains(said, r.GetId()) || !strings.Contains(said, r.GetTransition().GetOwner()) {
				t.Errorf("%s of %s: exit %d\n%s", strings.Join(args, " "), r.GetState(), code, said)
			}
			if r.GetState() == crossingv1.Record_JOINED && !strings.Contains(said, ".demo/sallyport/witness at ") {
				t.Errorf("no witness has seen it:\n%s", said)
			}
		}
	}
	flip(t, newAuditor(t, tool(t, m, "log", "keys")), proof)
}

// TestQuestions: of a live mesh, the first, second and fifth of the five questions are
// answered, and of the others it is said what is missing.
func TestQuestions(t *testing.T) {
	t.Parallel()
	m := meshtest.Start(t, nil)
	resp, err := m.As(t, "orchestrator").Get("https://registry.aws.mesh:5000/v2/")
	if err != nil {
		t.Fatal(err)
	}
	meshtest.ReadAll(t, resp)
	m.Record(t, resp.Header.Get("sallyport-crossing"))
	cmd := exec.Command(meshtest.Binary(t, "sallyport"), "--dir", m.Dir(), "questions", "-o", "json")
	out, err := cmd.Output()
	if code := cmd.ProcessState.ExitCode(); code != 2 {
		t.Errorf("exit %d, want 2: two answers are unknown: %v", code, err)
	}
	var all []struct {
		Number         int
		Answer, Detail string
	}
	if err := json.Unmarshal(out, &all); err != nil || len(all) != 5 {
		t.Fatalf("%v: %s", err, out)
	}
	for i, want := range []struct{ answer, detail string }{
		{"1", "1 crossing, 0 unmatched"}, {"0", "(ml-platform)"}, {"unknown", "proven yet"}, {"unknown", "incidents"}, {"0", "ml-platform"},
	} {
		if q := all[i]; q.Number != i+1 || q.Answer != want.answer || !strings.Contains(q.Detail, want.detail) {
			t.Errorf("question %d: %q, %q; want %q, %q", i+1, q.Answer, q.Detail, want.answer, want.detail)
		}
	}
}

// flip holds that a proof of which any bit was changed proves nothing, and says why.
func flip(t *testing.T, a *auditor, proof []byte) {
	t.Helper()
	for bit := 0; bit < 8*len(proof); bit += 8*len(proof)/40 + 1 {
		changed := bytes.Clone(proof)
		changed[bit/8] ^= 1 << (bit % 8)
		a.has("changed.tlog-proof", changed)
		if said, code := a.verify("changed.tlog-proof"); code == 0 || len(said) < 20 {
			t.Errorf("bit %d was changed: exit %d\n%s", bit, code, said)
		}
	}
}
