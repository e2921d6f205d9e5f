package e2e

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/localmesh"
	"github.com/sallyport-mesh/sallyport/e2e/meshtest"
	configv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/config/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

const (
	heldKey  = "sk-held-by-the-gateway"
	secretly = `{"model":"gpt-oss-20b","messages":[{"role":"user","content":"the merger is on Friday"}]}`
	answered = `{"id":"a","object":"chat.completion","model":"gpt-oss-20b","choices":[{"index":0,"message":{"role":"assistant","content":"nobody will know"},"finish_reason":"stop"}]}`
)

// TestPrivateCall is one call of which nothing may be known but to those who should: the
// caller has no provider's key, a label says of what class the content is, and the content
// is kept for a reviewer alone.
func TestPrivateCall(t *testing.T) {
	t.Parallel()
	reviewer, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	m := privately(t, reviewer.Recipient().String())
	shown := make(chan string, 1)
	m.ServeChat(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		shown <- r.Header.Get("Authorization") + r.Header.Get("Sallyport-Label")
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, answered)
	})
	resp := labelled(t, m)
	if body := meshtest.ReadAll(t, resp); resp.StatusCode != http.StatusOK || string(body) != answered {
		t.Fatalf("status %d: %s", resp.StatusCode, body)
	}
	if got := <-shown; got != "Bearer "+heldKey {
		t.Errorf("the llm was shown %q", got)
	}

	id := resp.Header.Get("Sallyport-Crossing")
	r := m.Record(t, id)
	op := r.GetOperation()
	if !r.GetAgree() || op.GetDataClass() != "public" || op.GetDataClassSource() != crossingv1.Operation_LABEL || op.GetLabeler() != localmesh.ID("orchestrator").String() {
		t.Errorf("record: %v", r)
	}
	if kept := r.GetEgress().GetKept(); !strings.HasPrefix(kept.GetRequest(), "sha256:") || !strings.HasPrefix(kept.GetAnswer(), "sha256:") {
		t.Errorf("kept: %v", kept)
	}
	opened(t, m, id, reviewer)
	readsNowhere(t, m.Dir(), heldKey, "the merger is on Friday", "nobody will know")
}

// privately is a mesh that keeps contents for a reviewer, and holds the llm's key.
func privately(t *testing.T, reviewer string) *meshtest.Mesh {
	t.Helper()
	key := meshtest.WriteFile(t, heldKey+"\n")
	return meshtest.Start(t, func(cfg *localmesh.Config) {
		cfg.Policy = meshtest.Edited(t, map[string]string{
			"    data: {class: internal}                        # of what it sends\n": "    data: {class: internal, mayLabel: true}\n",
			`    serves: {chat: "openai://:8000", health: "grpc://:9000"}`:            `    serves: {chat: "openai://:8000", health: "grpc://:9000"}` + "\n    credentials: {chat: llm-key}",
			"\n# Who. ":                        "\nreviewers:\n  dpo: {key: " + reviewer + ", owner: ml-platform}\n\n# Who. ",
			"paths: [/v1/chat/completions]}\n": "paths: [/v1/chat/completions]}\n    content: {kept: sealed, reviewer: dpo, retention: 1d}\n",
		})
		cfg.Bootstrap = func(b *configv1.Bootstrap) {
			if b.GetGateway() == "azure-1" {
				b.Secrets = map[string]*configv1.Secret{"llm-key": {File: key}}
			}
		}
	})
}

// labelled makes the call, with a label that the tool has made.
func labelled(t *testing.T, m *meshtest.Mesh) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(m.Context, http.MethodPost, meshtest.ChatURL, strings.NewReader(secretly))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Sallyport-Label", labelOf(t, m, "llm.azure.mesh", "POST /v1/chat/completions", secretly))
	resp, err := m.As(t, "orchestrator").Do(req)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

// opened holds that the reviewer is given both parts, once they are delivered, and that
// the log has who was.
func opened(t *testing.T, m *meshtest.Mesh, id string, reviewer *age.X25519Identity) {
	t.Helper()
	var parts []json.RawMessage
	m.Eventually(t, func() bool {
		s := meshtest.Sallyport(t, m.Dir(), "sealed", "list", "--crossing", id, "-o", "json")
		return s.Code == 0 && json.Unmarshal([]byte(s.Stdout), &parts) == nil && len(parts) == 2
	})
	if logged(t, m, id) {
		t.Error("the log says that it was opened, and it was not")
	}
	said := ask(t, m.Dir(), "sealed", "open", id, "--key", meshtest.WriteFile(t, reviewer.String()), "--raw")
	if said != secretly+answered {
		t.Errorf("the reviewer was given %q", said)
	}
	m.Eventually(t, func() bool { return logged(t, m, id) })
}

// logged says that an entry of the caller's environment's log names the crossing, as only
// one does that says that its content was given out. Frames are elsewhere in a pack.
func logged(t *testing.T, m *meshtest.Mesh, id string) bool {
	t.Helper()
	pack := tar.NewReader(strings.NewReader(ask(t, m.Dir(), "log", "export")))
	for {
		h, err := pack.Next()
		if errors.Is(err, io.EOF) {
			return false
		}
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(h.Name, "logs/onprem.demo/tile/entries/") {
			continue
		}
		if text, err := io.ReadAll(pack); err != nil || bytes.Contains(text, []byte(id)) {
			return err == nil
		}
	}
}

// readsNowhere holds that none of the words are in a file below dir.
func readsNowhere(t *testing.T, dir string, words ...string) {
	t.Helper()
	files := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		files++
		for _, word := range words {
			if bytes.Contains(text, []byte(word)) {
				t.Errorf("%s has %q", path, word)
			}
		}
		return nil
	})
	if err != nil || files < 10 {
		t.Errorf("%d files, %v", files, err)
	}
}
