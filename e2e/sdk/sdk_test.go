package sdk

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"

	"github.com/sallyport-mesh/sallyport/e2e/meshtest"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// baseURL is what an SDK is told instead of its provider's address.
func baseURL(m *meshtest.Mesh) string {
	return "http://" + m.Gateways["onprem-1"].LoopbackAddr().String() + "/llm.azure.mesh:8000/v1"
}

// TestOpenAIGo uses the official Go SDK over TLS with the mesh's name.
func TestOpenAIGo(t *testing.T) {
	m := meshtest.Start(t, nil)
	transport := &http.Transport{
		DialContext:     meshtest.DialTo(m.Gateways["onprem-1"].AttachAddr()),
		TLSClientConfig: m.TrustOnly(t, "onprem"),
	}
	t.Cleanup(transport.CloseIdleConnections)
	client := openai.NewClient(
		option.WithBaseURL("https://llm.azure.mesh:8000/v1"),
		option.WithAPIKey(m.Token(t, "orchestrator", "onprem")),
		option.WithHTTPClient(&http.Client{Transport: transport}),
		option.WithMaxRetries(0),
	)
	params := openai.ChatCompletionNewParams{
		Model:    "gpt-oss-20b",
		Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage("Which documents mention the outage?")},
	}
	whole, err := client.Chat.Completions.New(m.Context, params)
	if err != nil {
		t.Fatal(err)
	}
	if len(whole.Choices) != 1 || whole.Choices[0].Message.Content == "" || whole.Usage.TotalTokens == 0 {
		t.Fatalf("answer: %+v", whole)
	}
	stream := client.Chat.Completions.NewStreaming(m.Context, params)
	var joined strings.Builder
	events := 0
	for stream.Next() {
		events++
		if choices := stream.Current().Choices; len(choices) > 0 {
			joined.WriteString(choices[0].Delta.Content)
		}
	}
	if err := stream.Err(); err != nil {
		t.Fatal(err)
	}
	if joined.String() != whole.Choices[0].Message.Content || events < 20 {
		t.Errorf("%d events gave %q, the whole answer was %q", events, joined.String(), whole.Choices[0].Message.Content)
	}
	allAgree(t, m, 2)
}

// TestOpenAINode uses the official Node SDK with nothing but the two variables
// that it reads.
func TestOpenAINode(t *testing.T) {
	if _, err := os.Stat("node/node_modules/openai"); err != nil {
		skipUnlessRequired(t, "needs Node and the SDK: npm ci --prefix e2e/sdk/node")
	}
	m := meshtest.Start(t, meshtest.Demo)
	llm := newPacedLLM()
	m.ServeChat(t, llm.ServeHTTP)
	ctx, cancel := context.WithTimeout(m.Context, meshtest.Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", "client.mjs")
	cmd.Dir = "node"
	cmd.Env = append(os.Environ(), "OPENAI_BASE_URL="+baseURL(m), "OPENAI_API_KEY="+m.Token(t, "orchestrator", "onprem"))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Piece           *string
		Whole, Streamed string
		Events          int
		Denied          struct {
			Status   int
			Crossing string
		}
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		got.Piece = nil
		if err := json.Unmarshal(lines.Bytes(), &got); err != nil {
			t.Errorf("%v: %s", err, lines.Text())
		}
		if got.Piece != nil {
			llm.read()
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("node, after %d pieces: %v; %v", llm.sent.Load(), err, ctx.Err())
	}
	if got.Whole == "" || got.Whole != got.Streamed || got.Events != len(pieces) {
		t.Errorf("%d events gave %q, the whole answer was %q", got.Events, got.Streamed, got.Whole)
	}
	if got.Denied.Status != http.StatusForbidden {
		t.Errorf("a denied call came as %+v", got.Denied)
	}
	if r := m.Record(t, got.Denied.Crossing); r.GetEgress().GetReason() != crossingv1.Reason_NO_INTENT {
		t.Errorf("a denied call has the record %v", r)
	}
	allAgree(t, m, 2)
}

// pieces are what a pacedLLM streams.
var pieces = strings.SplitAfter("each piece of this is sent when the one before it was read", " ")

// pacedLLM speaks the OpenAI chat API, and streams a piece when it is told
// that the one before was read: with events that are held back, it would wait
// for ever.
type pacedLLM struct {
	next chan struct{}
	sent atomic.Int32
}

func newPacedLLM() *pacedLLM {
	l := &pacedLLM{next: make(chan struct{}, len(pieces))}
	l.read() // nothing comes before the first
	return l
}

// read says that the last piece that was sent was read.
func (l *pacedLLM) read() {
	select {
	case l.next <- struct{}{}:
	default: // there is no further piece
	}
}

func (l *pacedLLM) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var req struct{ Stream bool }
	if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	const format = `{"id":"c","object":%q,"created":1,"model":"m","choices":[{"index":0,%q:{"role":"assistant","content":%q},"finish_reason":null}]}`
	if !req.Stream {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, format, "chat.completion", "message", strings.Join(pieces, ""))
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	for _, piece := range pieces {
		select {
		case <-l.next:
		case <-r.Context().Done():
			return
		}
		fmt.Fprintf(w, "data: "+format+"\n\n", "chat.completion.chunk", "delta", piece)
		http.NewResponseController(w).Flush()
		l.sent.Add(1)
	}
	fmt.Fprint(w, "data: [DONE]\n\n")
}

// TestCurl uses curl: HTTP/1.1 and HTTP/2 by mTLS and by token, and as a client
// of the forward proxy.
func TestCurl(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		skipUnlessRequired(t, "needs curl")
	}
	m := meshtest.Start(t, nil)
	ca := m.CAFile(t, "onprem")
	cert, key := m.WriteSVID(t, "orchestrator")
	attach, loopback := m.Gateways["onprem-1"].AttachAddr().String(), m.Gateways["onprem-1"].LoopbackAddr().String()
	token := "Bearer " + m.Token(t, "orchestrator", "onprem")
	const url = "https://llm.azure.mesh:8000/v1/chat/completions"
	reach := "llm.azure.mesh:8000:" + attach
	for _, c := range []struct {
		name string
		args []string
	}{
		{"HTTP/1.1, mTLS", []string{"--http1.1", "--connect-to", reach, "--cacert", ca, "--cert", cert, "--key", key, url}},
		{"HTTP/2, mTLS", []string{"--http2", "--connect-to", reach, "--cacert", ca, "--cert", cert, "--key", key, url}},
		{"HTTP/2, JWT-SVID", []string{"--http2", "--connect-to", reach, "--cacert", ca, "-H", "Authorization: " + token, url}},
		{"forward proxy", []string{"--proxy", "http://" + loopback, "--proxy-header", "Proxy-Authorization: " + token, "http://llm.azure.mesh:8000/v1/chat/completions"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			headers := filepath.Join(t.TempDir(), "headers")
			args := append([]string{
				"-sS", "--max-time", "20", "-D", headers, "-H", "Content-Type: application/json",
				"-d", `{"model":"gpt-oss-20b","messages":[{"role":"user","content":"hello"}]}`,
			}, c.args...)
			out, err := exec.CommandContext(m.Context, "curl", args...).CombinedOutput()
			if err != nil || !strings.Contains(string(out), "chat.completion") {
				t.Fatalf("curl: %v\n%s", err, out)
			}
			r := m.Record(t, headerOf(t, headers, "sallyport-crossing"))
			if r.GetState() != crossingv1.Record_JOINED || !r.GetAgree() || r.GetSource() != "spiffe://onprem.demo/ai/orchestrator" {
				t.Errorf("record: %v", r)
			}
		})
	}
}

func headerOf(t *testing.T, path, name string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if n, v, ok := strings.Cut(line, ":"); ok && strings.EqualFold(n, name) {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// allAgree waits until n allowed crossings are joined and agree.
func allAgree(t *testing.T, m *meshtest.Mesh, n int) {
	t.Helper()
	seen := map[string]bool{}
	m.Follow(t, &controlv1.ListCrossingsRequest{Decision: crossingv1.Decision_ALLOW}, func(r *crossingv1.Record) bool {
		if meshtest.Whole(r) {
			if !r.GetAgree() {
				t.Errorf("record %s: %s, differences %v", r.GetId(), r.GetState(), r.GetDifferences())
			}
			seen[r.GetId()] = true
		}
		return len(seen) >= n
	})
}

// skipUnlessRequired skips a test for what it needs. Where everything is
// there, SALLYPORT_REQUIRE_ALL turns the skip into a failure.
func skipUnlessRequired(t *testing.T, needs string) {
	t.Helper()
	if os.Getenv("SALLYPORT_REQUIRE_ALL") != "" {
		t.Fatal(needs)
	}
	t.Skip(needs)
}
