//go:build linux

package bench

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/localmesh"
	"github.com/sallyport-mesh/sallyport/e2e/meshtest"
)

// What a whole mesh takes more for a service that speaks openai than for one that speaks
// http, which nobody reads. Its two gateways, control plane, caller and destination are all
// in this process, and have the same to do but for that.
const (
	meshChat  = "openai against http, a chat at each gateway of a mesh, us of CPU"
	meshToken = "openai against http, a streamed token at each gateway of a mesh, us of CPU"
)

// A batch of those.
const (
	meshChats  = 200
	meshTokens = 20_000
)

const meshEvent = `data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1741569952,"model":"gpt-oss-20b","choices":[{"index":0,"delta":{"content":" word"},"finish_reason":null}]}` + "\n\n"

// meshInspection measures both once for each round; the least of each counts.
func meshInspection(t *testing.T, f *figures, rounds int) {
	t.Helper()
	m := meshtest.Start(t, func(cfg *localmesh.Config) { cfg.Policy = benchPolicy(t) })
	backend := httptest.NewServer(http.HandlerFunc(answerChat))
	t.Cleanup(backend.Close)
	at := backend.Listener.Addr().String()
	if err := m.Register(m.Context, "llm", map[string]string{"chat": at, "web": at}); err != nil {
		t.Fatal(err)
	}
	client := m.As(t, "orchestrator")
	for _, c := range []struct {
		kind     string
		streamed bool
		n, each  int // requests in a batch, and what each counts for
	}{{meshChat, false, meshChats, 1}, {meshToken, true, 2, meshTokens}} {
		var least [2]float64
		for round := range rounds + 1 { // the first is to warm up
			for i, port := range []string{"8000", "7002"} {
				before := processCPU(t)
				for range c.n {
					askChat(t, client, port, c.streamed)
				}
				us := float64((processCPU(t) - before).Nanoseconds()) / 1e3 / float64(c.n*c.each)
				if round <= 1 || us < least[i] {
					least[i] = us
				}
			}
		}
		at := cell{"inspection", c.kind}
		f.samples[at] = append(f.samples[at], (least[0]-least[1])/2)
	}
}

// answerChat answers a chat, or streams many tokens at once.
func answerChat(w http.ResponseWriter, r *http.Request) {
	asked, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	if !strings.Contains(string(asked), `"stream":true`) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"id":"chatcmpl-1","object":"chat.completion","model":"gpt-oss-20b","choices":[{"index":0,"message":{"role":"assistant","content":"It is Paris."},"finish_reason":"stop"}],"usage":{"prompt_tokens":500,"completion_tokens":4,"total_tokens":504}}`)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	some := strings.Repeat(meshEvent, 100)
	for range meshTokens / 100 {
		if _, err := io.WriteString(w, some); err != nil {
			return
		}
	}
}

// askChat asks with 2 KiB, and reads the answer.
func askChat(t *testing.T, c *http.Client, port string, streamed bool) {
	t.Helper()
	text := strings.Repeat(`What is the capital of \"France\"?\n`, 56)
	body := fmt.Sprintf(`{"model":"gpt-oss-20b","stream":%t,"messages":[{"role":"user","content":"%s"}]}`, streamed, text)
	resp, err := c.Post("https://llm.azure.mesh:"+port+"/v1/chat/completions", "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(resp.Body)
		t.Fatalf("port %s: status %d: %s", port, resp.StatusCode, text)
	}
	n, err := io.Copy(io.Discard, resp.Body)
	if err != nil || streamed && n != int64(meshTokens*len(meshEvent)) {
		t.Fatalf("port %s: %d bytes: %v", port, n, err)
	}
}

func processCPU(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
