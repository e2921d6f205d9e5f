package e2e

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/sallyport-mesh/sallyport/e2e/meshtest"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// spoken is a call whose head speaks of its content.
type spoken struct {
	name    string
	fields  []string // names and values
	content string
	detail  string // of the record and the answer; "" if the call is good
}

var (
	ofTool  = []string{"Content-Type", "application/json", "MCP-Protocol-Version", "2026-07-28", "Mcp-Method", "tools/call", "Mcp-Name", "get_weather"}
	ofModel = []string{"Content-Type", "application/json", "X-Gateway-Model-Name", "small"}
)

const toolCall = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_weather","arguments":{"location":"Seattle, WA"},` +
	`"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}`

func and(fields []string, more ...string) []string {
	return append(fields[:len(fields):len(fields)], more...)
}

// much is text of about two of what a gateway holds back.
var much = strings.Repeat("all work and no play ", 6000)

func spokenCalls() []spoken {
	text := []string{"Content-Type", "text/plain", "X-Model", "small"}
	return []spoken{
		{"tool", ofTool, toolCall, ""},
		{"model", ofModel, `{"messages":[],"model":"small"}`, ""},
		{"model that is not there", ofModel, `{"messages":[]}`, ""},
		{"much with a model", ofModel, `{"text":"` + much + `","model":"small"}`, ""},
		{"prose", text, "the model is large", ""},
		{"compressed, nothing said", []string{"Content-Type", "application/json", "Content-Encoding", "gzip"}, gzipped(`{"model":"large"}`), ""},

		{"another tool", ofTool, strings.Replace(toolCall, "get_weather", "rm", 1), `mcp-name is "get_weather", /params/name is "rm"`},
		{"another method", ofTool, strings.Replace(toolCall, "tools/call", "tools/list", 1), `mcp-method is "tools/call", /method is "tools/list"`},
		{"another version", ofTool, strings.Replace(toolCall, "2026-07-28", "2025-11-25", 1), "mcp-protocol-version"},
		{"another tool under an older version", []string{"Content-Type", "application/json", "MCP-Protocol-Version", "2025-11-25", "Mcp-Name", "rm"}, toolCall, `mcp-name is "rm"`},
		{"batch", ofTool, "[" + toolCall + "]", "batch"},
		{"name twice in the content", ofTool, strings.Replace(toolCall, `"arguments"`, `"name":"rm","arguments"`, 1), "comes twice"},
		{"name in another case", ofTool, strings.Replace(toolCall, `"arguments"`, `"Name":"rm","arguments"`, 1), "another case"},
		{"name twice in the head", and(ofTool, "Mcp-Name", "get_weather"), toolCall, "more than once"},
		{"byte order mark", ofTool, "\ufeff" + toolCall, "not JSON"},
		{"no JSON", ofTool, "get_weather", "not JSON"},
		{"no content", ofTool, "", "not JSON"},
		{"no JSON type", and(ofTool[2:], "Content-Type", "text/plain"), toolCall, "no JSON type"},
		{"compressed", and(ofTool, "Content-Encoding", "gzip"), gzipped(toolCall), "compressed"},
		{"another model", ofModel, `{"model":"large"}`, `x-gateway-model-name is "small", /model is "large"`},
		{"models in the head", and(ofModel, "X-Model", "large"), `{"model":"small"}`, `is "large"`},
		{"another model that is called text", text, `{"model":"large"}`, `/model is "large"`},
		{"another model behind much", ofModel, `{"text":"` + much + `","model":"large"}`, `/model is "large"`},
		{"model twice, far apart", ofModel, `{"model":"small","text":"` + much + `","model":"small"}`, "comes twice"},
	}
}

func gzipped(text string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	io.WriteString(w, text)
	w.Close()
	return b.String()
}

// heard is what a destination got, by the call's name.
type heard struct {
	mu    sync.Mutex
	whole map[string]string
	asked map[string]bool
}

func (h *heard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := r.Header.Get("X-Call")
	h.mu.Lock()
	h.asked[name] = true
	h.mu.Unlock()
	content, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.whole[name] = string(content)
	fmt.Fprintf(w, "%d", len(content))
}

// TestHeadAndContent: what a head says of its content stands in it, or the call goes
// nowhere; the caller and the record are told why.
func TestHeadAndContent(t *testing.T) {
	t.Parallel()
	m := meshtest.Start(t, nil)
	there := &heard{whole: map[string]string{}, asked: map[string]bool{}}
	m.ServeChat(t, there.ServeHTTP)
	for version, client := range map[string]*http.Client{"HTTP/1.1": http1Only(t, m), "HTTP/2": m.As(t, "orchestrator")} {
		for how, piecemeal := range map[string]bool{"told": false, "in pieces": true} {
			for _, c := range spokenCalls() {
				if piecemeal && len(c.content) > 1000 && version == "HTTP/1.1" {
					continue // a packet for each byte
				}
				t.Run(version+" "+how+" "+c.name, func(t *testing.T) { c.make(t, m, client, there, t.Name(), piecemeal) })
			}
		}
	}
	rejectedNothing(t, m)
}

// http1Only is the orchestrator's client, by HTTP/1.1.
func http1Only(t *testing.T, m *meshtest.Mesh) *http.Client {
	t.Helper()
	transport := m.As(t, "orchestrator").Transport.(*http.Transport).Clone()
	transport.ForceAttemptHTTP2 = false
	transport.TLSClientConfig.NextProtos = []string{"http/1.1"}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func (c *spoken) make(t *testing.T, m *meshtest.Mesh, client *http.Client, there *heard, name string, piecemeal bool) {
	var body io.Reader = strings.NewReader(c.content)
	if piecemeal {
		body = iotest.OneByteReader(body) // of a length that is not told
	}
	req, err := http.NewRequestWithContext(m.Context, http.MethodPost, meshtest.ChatURL, body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Call", name)
	for i := 0; i < len(c.fields); i += 2 {
		req.Header.Add(c.fields[i], c.fields[i+1])
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	answer := meshtest.ReadAll(t, resp)
	r := m.Record(t, resp.Header.Get("sallyport-crossing"))
	there.mu.Lock()
	got, whole := there.whole[name]
	asked := there.asked[name]
	there.mu.Unlock()
	if c.detail == "" {
		if resp.StatusCode != http.StatusOK || got != c.content || !r.GetAgree() {
			t.Errorf("status %d %s, %d of %d bytes, record %v", resp.StatusCode, answer, len(got), len(c.content), r)
		}
		return
	}
	if asked && len(c.content) < 64<<10 || whole {
		t.Errorf("the destination was asked %t, for all of it %t", asked, whole)
	}
	c.refused(t, resp, answer, r)
}

// refused holds what is said of a call that went nowhere.
func (c *spoken) refused(t *testing.T, resp *http.Response, answer []byte, r *crossingv1.Record) {
	t.Helper()
	var said struct {
		JSONRPC string
		Detail  string
		Reason  string
		Error   struct {
			Code    int
			Message string
			Data    struct{ Reason string }
		}
	}
	if err := json.Unmarshal(answer, &said); err != nil {
		t.Fatal(err)
	}
	detail, reason := said.Detail, said.Reason
	if said.JSONRPC != "" {
		detail, reason = said.Error.Message, said.Error.Data.Reason
	}
	if resp.StatusCode != http.StatusBadRequest || reason != "DISAGREES" || !strings.Contains(detail, c.detail) {
		t.Errorf("status %d: %s", resp.StatusCode, answer)
	}
	if mcp := resp.Request.Header.Get("Mcp-Name") != ""; mcp != (said.JSONRPC == "2.0") || mcp && said.Error.Code == 0 {
		t.Errorf("answer %s", answer)
	}
	end := r.GetEgress()
	if end.GetReason() != crossingv1.Reason_DISAGREES || end.GetDecision() != crossingv1.Decision_ALLOW || end.GetClose() != crossingv1.Cause_REFUSED ||
		!strings.Contains(end.GetDetail(), c.detail) || r.GetTransition().GetOwner() != "ml-platform" || r.GetState() == crossingv1.Record_DISAGREE {
		t.Errorf("record %v", r)
	}
}
