package sdk

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/sallyport-mesh/sallyport/e2e/meshtest"
	"github.com/sallyport-mesh/sallyport/e2e/sdk/provider"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// told is an operation as a record tells of it, in JSON.
type told struct {
	Name, ModelRequested, ModelServed, Tool string
	Streamed                                bool
	Tokens                                  struct {
		Input, Output count
		Source        string
	}
}

// count is a number, which protobuf's JSON writes as text.
type count int64

// UnmarshalJSON takes both.
func (c *count) UnmarshalJSON(text []byte) error {
	n, err := strconv.ParseInt(strings.Trim(string(text), `"`), 10, 64)
	*c = count(n)
	return err
}

// operationOf is a record's operation, by the names that operators see.
func operationOf(t *testing.T, r *crossingv1.Record) (op told) {
	t.Helper()
	text, err := protojson.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var record struct{ Operation told }
	if err := json.Unmarshal(text, &record); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return record.Operation
}

// noting notes which crossings the answers name.
type noting struct {
	next http.RoundTripper
	mu   sync.Mutex
	ids  []string
}

func (n *noting) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := n.next.RoundTrip(r)
	if err == nil {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.ids = append(n.ids, resp.Header.Get("Sallyport-Crossing"))
	}
	return resp, err
}

// noted is that place, and what notes the crossings of calls from there.
func noted(at place) (place, *noting) {
	n := &noting{next: at.http.Transport}
	at.http = &http.Client{Transport: n}
	return at, n
}

// TestRecords: the record of a crossing says what was asked for, who answered and
// what the provider reported that it cost.
func TestRecords(t *testing.T) {
	t.Parallel()
	m := withProvider(t, permissive(t))
	chat, responses, embeddings, messages := "/v1/chat/completions", "/v1/responses", "/v1/embeddings", "/v1/messages"
	for _, c := range []struct {
		client     client
		to         string
		call, path string
		want       told // but for tokens
	}{
		{openAIGo, chatAt, "chat", chat, told{Name: "chat", ModelRequested: provider.Text, ModelServed: provider.Served}},
		{openAIGo, chatAt, "chat, streamed with usage", chat, told{Name: "chat", ModelRequested: provider.Text, ModelServed: provider.Served, Streamed: true}},
		{openAIGo, chatAt, "chat, in gzip", chat, told{Name: "chat", ModelRequested: provider.Zipped, ModelServed: provider.Served}},
		{openAIGo, chatAt, "chat, streamed in gzip", chat, told{Name: "chat", ModelRequested: provider.Zipped, ModelServed: provider.Served, Streamed: true}},
		{openAIGo, chatAt, "chat, streamed by another server", chat, told{Name: "chat", ModelRequested: provider.OtherServer, ModelServed: provider.Served, Streamed: true}},
		{openAIGo, chatAt, "chat, tools streamed", chat, told{Name: "chat", ModelRequested: provider.Tools, ModelServed: provider.Served, Streamed: true}},
		{openAIGo, chatAt, "responses", responses, told{Name: "responses", ModelRequested: provider.Text, ModelServed: provider.Served}},
		{openAIGo, chatAt, "responses, streamed", responses, told{Name: "responses", ModelRequested: provider.Text, ModelServed: provider.Served, Streamed: true}},
		{openAIGo, chatAt, "responses, cut short", responses, told{Name: "responses", ModelRequested: provider.CutShort, ModelServed: provider.Served, Streamed: true}},
		{openAIGo, chatAt, "response", responses + "/resp_text", told{Name: "get_response", ModelServed: provider.Served}},
		{openAIGo, chatAt, "embeddings, base64", embeddings, told{Name: "embeddings", ModelRequested: provider.Embedding, ModelServed: provider.ServedEmbedding}},
		{anthropicGo, claudeAt, "messages", messages, told{Name: "chat", ModelRequested: "claude", ModelServed: provider.ServedMessages}},
		{anthropicGo, claudeAt, "messages, streamed", messages, told{Name: "chat", ModelRequested: "claude", ModelServed: provider.ServedMessages, Streamed: true}},
		{anthropicGo, claudeAt, "messages, tools streamed", messages, told{Name: "chat", ModelRequested: provider.Tools, ModelServed: provider.ServedMessages, Streamed: true}},
		{anthropicGo, claudeAt, "batch results", messages + "/batches/msgbatch_text/results", told{Name: "batch_results", ModelServed: provider.ServedMessages}},
	} {
		at, n := noted(ways(t, m.Mesh, c.to)["mTLS, HTTP/2"])
		c.client(t, at, c.call)
		if len(n.ids) != 1 {
			t.Errorf("%s: crossings %q", c.call, n.ids)
			continue
		}
		usage := provider.Reported(c.path, c.want.ModelRequested)
		c.want.Tokens.Input, c.want.Tokens.Output, c.want.Tokens.Source = count(usage.Input), count(usage.Output), "REPORTED"
		if diff := cmp.Diff(c.want, operationOf(t, m.Record(t, n.ids[0]))); diff != "" {
			t.Errorf("%s: the record (+) does not say what was (-):\n%s", c.call, diff)
		}
	}
}

// TestRecordsOfTools: and which tool was called.
func TestRecordsOfTools(t *testing.T) {
	t.Parallel()
	for name, stateless := range map[string]bool{"older": false, "newer": true} {
		t.Run(name, func(t *testing.T) {
			m := withTools(t, "")
			goServer(stateless)(t, m)
			at, n := noted(ways(t, m, retrieverAt)["mTLS, HTTP/2"])
			mcpGo(t, at, "list tools", "call a tool")
			names := map[string]string{}
			for _, id := range n.ids {
				if resp := operationOf(t, m.Record(t, id)); resp.Name != "" {
					names[resp.Name] = resp.Tool
				}
			}
			if tool, ok := names["call_tool"]; !ok || tool != "search" {
				t.Errorf("a call of search is told as %q", names)
			}
			if tool, ok := names["list_tools"]; !ok || tool != "" {
				t.Errorf("a list of tools is told as %q", names)
			}
		})
	}
}

// TestRecordOfWhoLeft: who goes away before the usage comes has a record of what
// passed until then.
func TestRecordOfWhoLeft(t *testing.T) {
	t.Parallel()
	for call, c := range map[string]struct {
		client client
		to     string
	}{"chat, left": {openAIGo, chatAt}, "messages, left": {anthropicGo, claudeAt}} {
		t.Run(call, func(t *testing.T) {
			m := withProvider(t, permissive(t))
			at, n := noted(ways(t, m.Mesh, c.to)["mTLS, HTTP/2"])
			c.client(t, at, call)
			r := m.Record(t, n.ids[0])
			op := operationOf(t, r)
			if op.Tokens.Source != "COUNTED" || op.Tokens.Output < 2 || op.ModelRequested != provider.Held || r.GetEgress().GetClose() != crossingv1.Cause_CALLER_GONE {
				t.Errorf("record: %v", r)
			}
		})
	}
}

// fewModels allows two models by either API, and nothing else.
const fewModels = `
  - name: ask-one-model
    allow: {from: orchestrator, to: llm, service: chat}
    when: ai.model in ["gpt-oss-20b", "gpt-oss-120b"]
  - name: ask-one-model-for-messages
    allow: {from: orchestrator, to: llm, service: claude}
    when: ai.model == "claude"
`

// TestForbiddenModel: the SDK raises what it has for it, with what the gateway says.
func TestForbiddenModel(t *testing.T) {
	t.Parallel()
	m := withProvider(t, policyWith(t, fewModels))
	for name, e := range m.denied(t, true) {
		if !strings.Contains(e.Message+string(e.Body), "no intent allows it") {
			t.Errorf("%s raised %+v", name, e)
		}
	}
}

// someTools allows two tools, and what a session needs.
const someTools = `
  - name: keep-a-session
    allow: {from: orchestrator, to: retriever, service: mcp, methods: [GET, DELETE]}
  - name: search-the-corpus
    allow: {from: orchestrator, to: retriever, service: mcp, methods: [POST]}
    when: ai.operation in ["initialize", "discover", "server/discover", "notify", "ping", "list_tools"] || (ai.operation == "call_tool" && ai.tool in ["search", "fetch_document"])
`

// TestForbiddenTool: the client is told as by a server, and does not see it in a list.
func TestForbiddenTool(t *testing.T) {
	t.Parallel()
	for server, s := range map[string]toolServer{"Go, with sessions": goServer(false), "Go, without": goServer(true)} {
		t.Run(server, func(t *testing.T) {
			m := withTools(t, someTools)
			s(t, m)
			for name, c := range map[string]struct {
				client client
				class  string
			}{
				"Go":                  {mcpGo, "jsonrpc.Error"},
				"TypeScript 1":        {mcpNode("sdk"), "McpError"},
				"TypeScript 2":        {mcpNode("client"), "ProtocolError"},
				"TypeScript 2, newer": {mcpNode("auto"), "ProtocolError"},
			} {
				got := c.client(t, ways(t, m, retrieverAt)["base URL"], "connect", "list tools", "call a tool", "call a tool that may be forbidden")
				if len(got) != 4 || got[0].Error != nil || got[1].Error != nil || got[2].Error != nil {
					t.Errorf("%s: %+v", name, got)
					continue
				}
				if diff := cmp.Diff([]string{"fetch_document", "search"}, toolsIn(t, got[1].Result)); diff != "" {
					t.Errorf("%s sees tools (+) other than it may (-):\n%s", name, diff)
				}
				if e := got[3].Error; e == nil || e.Class != c.class || !strings.Contains(e.Message, "no intent allows it") {
					t.Errorf("%s raised %+v", name, e)
				}
			}
		})
	}
}

// toolsIn are the names in a list of tools, which servers sort.
func toolsIn(t *testing.T, list json.RawMessage) (names []string) {
	t.Helper()
	var l struct{ Tools []struct{ Name string } }
	if err := json.Unmarshal(list, &l); err != nil {
		t.Fatal(err)
	}
	for _, tool := range l.Tools {
		names = append(names, tool.Name)
	}
	return names
}

// TestBudget: who has used up a budget is told when to come again, and an SDK that
// tries again then is answered.
func TestBudget(t *testing.T) {
	t.Parallel()
	m := withProvider(t, policyWith(t, `
  - name: ask-once-a-second
    allow: {from: orchestrator, to: llm, service: chat}
    limits: {requests: 1/second}
  - name: ask-for-a-message-once-a-second
    allow: {from: orchestrator, to: llm, service: claude}
    limits: {requests: 1/second}
`))
	for name, c := range map[string]struct {
		client client
		to     string
		calls  []string
	}{
		"OpenAI, Node":    {node(t, "openai.mjs"), chatAt, []string{"chat", "chat, streamed"}},
		"OpenAI, Go":      {openAIGo, chatAt, []string{"chat", "chat, streamed"}},
		"Anthropic, Node": {node(t, "anthropic.mjs"), claudeAt, []string{"messages", "messages, streamed"}},
	} {
		at := ways(t, m.Mesh, c.to)["base URL"]
		withinASecond(t, name, func() bool {
			got := c.client(t, at, c.calls...)
			calls := m.behind.Calls()
			if len(got) != 2 || got[0].Error != nil || got[1].Error != nil || len(calls) != 2 {
				t.Fatalf("%s: %+v; the provider was asked %d times", name, got, len(calls))
			}
			return calls[0].Retry() > 0 || calls[1].Retry() > 0
		})
	}
	at := ways(t, m.Mesh, chatAt)["mTLS, HTTP/2"]
	withinASecond(t, "no SDK", func() bool {
		text, head := fetched(t, at, asked{path: "/v1/chat/completions", body: meshtest.ChatBody})
		if head.Get("Status") == "200" {
			return false
		}
		if after := head.Get("Retry-After"); head.Get("Status") != "429" || after != "1" && after != "2" || !strings.Contains(string(text), `"error"`) {
			t.Errorf("%v: %s", head, text)
		}
		return true
	})
}

// withinASecond has calls made until two were made in one second, as call says.
func withinASecond(t *testing.T, whose string, call func() bool) {
	t.Helper()
	const often = 40 // on a machine that is so slow that others take longer
	for range often {
		if call() {
			return
		}
	}
	t.Errorf("%s: no call met a budget that was used up", whose)
}
