package sdk

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/localmesh"
	"github.com/sallyport-mesh/sallyport/e2e/meshtest"
)

const retrieverAt = "retriever.aws.mesh:8080"

// TestMCP: each ordinary call of an MCP client is with the mesh what it is without
// it, whichever of the eras of the protocol the client and the server agree on.
func TestMCP(t *testing.T) {
	t.Parallel()
	m := withTools(t, "")
	for name, s := range map[string]toolServer{
		"Go, with sessions": goServer(false),
		"Go, without":       goServer(true),
		"TypeScript":        typeScriptServer,
	} {
		t.Run(name, func(t *testing.T) {
			here := place{base: s(t, nil), key: ownKey}
			s(t, m)
			for _, c := range []struct {
				calls client
				fails map[string]string
				by    []string
			}{
				{mcpGo, map[string]string{"call no tool": "jsonrpc.Error", "read no resource": "jsonrpc.Error"}, []string{"base URL", "mTLS, HTTP/2"}},
				{mcpNode("sdk,client,auto"), map[string]string{
					"sdk: call no tool": "McpError", "sdk: read no resource": "McpError",
					"client: call no tool": "ProtocolError", "client: read no resource": "ResourceNotFoundError",
					"auto: call no tool": "ProtocolError", "auto: read no resource": "ResourceNotFoundError",
				}, []string{"base URL"}},
			} {
				plain := c.calls(t, here)
				asExpected(t, plain, c.fails)
				for _, way := range c.by {
					if diff := cmp.Diff(plain, c.calls(t, ways(t, m, retrieverAt)[way]), asJSON()); diff != "" {
						t.Errorf("%s: through the mesh (+) it is not as without (-):\n%s", way, diff)
					}
				}
			}
		})
	}
}

// withTools is a mesh in which the orchestrator may call the retriever: anything, if
// no other intents are given.
func withTools(t *testing.T, intents string) *meshtest.Mesh {
	t.Helper()
	if intents == "" {
		intents = "\n  - {name: call-anything, allow: {from: orchestrator, to: retriever, service: mcp}}\n"
	}
	policy := policyWith(t, intents)
	return meshtest.Start(t, func(c *localmesh.Config) { c.Policy = policy })
}

// toolServer starts an MCP server: in place of a mesh's retriever, or without a mesh,
// and then it gives its base URL.
type toolServer func(t *testing.T, m *meshtest.Mesh) string

// goServer is the Go SDK's: with sessions it speaks the older protocol, without them
// both.
func goServer(stateless bool) toolServer {
	return func(t *testing.T, m *meshtest.Mesh) string {
		t.Helper()
		server := retriever()
		// The server is on loopback and is called by the mesh's name for it.
		options := &mcp.StreamableHTTPOptions{Stateless: stateless, DisableLocalhostProtection: true}
		h := http.NewServeMux()
		h.Handle("/mcp", mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server }, options))
		if m != nil {
			m.Serve(t, "retriever", map[string]http.Handler{"mcp": h})
			return ""
		}
		srv := httptest.NewServer(h)
		t.Cleanup(srv.CloseClientConnections) // streams of sessions are open
		return srv.URL
	}
}

// typeScriptServer is the TypeScript SDK's, which speaks both protocols. In a mesh
// it has the retriever's SVID.
func typeScriptServer(t *testing.T, m *meshtest.Mesh) string {
	t.Helper()
	needsNode(t)
	args := []string{"mcp-server.mjs"}
	if m != nil {
		cert, key := m.WriteSVID(t, "retriever")
		args = append(args, cert, key)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, "node", args...)
	cmd.Dir, cmd.Stderr = "node", os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	if _, err := cmd.StdinPipe(); err != nil { // open until the end
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // it was interrupted
	})
	port, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	at := "127.0.0.1:" + strings.TrimSpace(port)
	if m != nil {
		if err := m.Register(m.Context, "retriever", map[string]string{"mcp": at}); err != nil {
			t.Fatal(err)
		}
	}
	return "http://" + at
}

// retriever is what all servers are.
func retriever() *mcp.Server {
	type input struct {
		Query string `json:"query"`
	}
	said := func(text string) (*mcp.CallToolResult, any, error) {
		return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: text}}}, nil, nil
	}
	s := mcp.NewServer(&mcp.Implementation{Name: "retriever", Version: "1.0.0"}, nil)
	mcp.AddTool(s, &mcp.Tool{Name: "search", Description: "Finds documents"}, func(_ context.Context, _ *mcp.CallToolRequest, in input) (*mcp.CallToolResult, any, error) {
		return said(fmt.Sprintf("found “%s”", in.Query))
	})
	mcp.AddTool(s, &mcp.Tool{Name: "fetch_document", Description: "Gets a document"}, func(context.Context, *mcp.CallToolRequest, input) (*mcp.CallToolResult, any, error) {
		return nil, nil, fmt.Errorf("no such document")
	})
	mcp.AddTool(s, &mcp.Tool{Name: "delete_document", Description: "Deletes a document"}, func(context.Context, *mcp.CallToolRequest, input) (*mcp.CallToolResult, any, error) {
		return said("deleted")
	})
	mcp.AddTool(s, &mcp.Tool{Name: "index", Description: "Takes a while"}, func(ctx context.Context, req *mcp.CallToolRequest, _ input) (*mcp.CallToolResult, any, error) {
		for n := 1; req.Params.GetProgressToken() != nil && n <= 3; n++ {
			if err := req.Session.NotifyProgress(ctx, &mcp.ProgressNotificationParams{ProgressToken: req.Params.GetProgressToken(), Progress: float64(n), Total: 3}); err != nil {
				return nil, nil, err
			}
		}
		return said("indexed")
	})
	s.AddResource(&mcp.Resource{URI: "doc://outage", Name: "outage", MIMEType: "text/plain"}, func(_ context.Context, req *mcp.ReadResourceRequest) (*mcp.ReadResourceResult, error) {
		return &mcp.ReadResourceResult{Contents: []*mcp.ResourceContents{{URI: req.Params.URI, MIMEType: "text/plain", Text: "It was DNS."}}}, nil
	})
	s.AddPrompt(&mcp.Prompt{Name: "summary", Description: "Asks for a summary"}, func(context.Context, *mcp.GetPromptRequest) (*mcp.GetPromptResult, error) {
		return &mcp.GetPromptResult{Messages: []*mcp.PromptMessage{{Role: "user", Content: &mcp.TextContent{Text: "Summarise the outage."}}}}, nil
	})
	return s
}

// mcpNode is the TypeScript SDK, in one of its flavours or several: see mcp.mjs.
func mcpNode(flavours string) client {
	return func(t *testing.T, at place, calls ...string) []outcome {
		t.Helper()
		return node(t, "mcp.mjs")(t, at, append([]string{flavours}, calls...)...)
	}
}

// bearer shows a key as programs do.
type bearer struct {
	key  string
	next http.RoundTripper
}

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+b.key)
	return b.next.RoundTrip(r)
}

// mcpGo makes the calls of mcp.mjs with the Go SDK, which takes the newer protocol
// where the server has it.
func mcpGo(t *testing.T, at place, names ...string) []outcome {
	t.Helper()
	progress := make(chan *mcp.ProgressNotificationParams, 3)
	c := mcp.NewClient(&mcp.Implementation{Name: "orchestrator", Version: "1.0.0"}, &mcp.ClientOptions{
		ProgressNotificationHandler: func(_ context.Context, r *mcp.ProgressNotificationClientRequest) { progress <- r.Params },
	})
	h := &http.Client{Transport: bearer{at.key, at.from(t).Transport}}
	session, err := c.Connect(t.Context(), &mcp.StreamableClientTransport{Endpoint: at.base + "/mcp", HTTPClient: h}, nil)
	if err != nil {
		return []outcome{{Call: "connect", Error: raisedBy(err)}}
	}
	defer session.Close()
	ctx := t.Context()
	tool := func(name string) func() (any, error) {
		return func() (any, error) {
			return session.CallTool(ctx, &mcp.CallToolParams{Name: name, Arguments: map[string]any{"query": "outage"}})
		}
	}
	return tell(t, []call{
		{"connect", func() (any, error) { return []any{session.InitializeResult(), session.ID() != ""}, nil }},
		{"list tools", func() (any, error) { return session.ListTools(ctx, nil) }},
		{"call a tool", tool("search")},
		{"call a tool that fails", tool("fetch_document")},
		{"call a tool that tells of its progress", func() (any, error) {
			params := &mcp.CallToolParams{Name: "index", Arguments: map[string]any{"query": "outage"}}
			params.SetProgressToken("steps")
			result, err := session.CallTool(ctx, params)
			if err != nil {
				return nil, err
			}
			return []any{result, <-progress, <-progress, <-progress}, nil
		}},
		{"call a tool that may be forbidden", tool("delete_document")},
		{"call no tool", tool("nothing")},
		{"list resources", func() (any, error) { return session.ListResources(ctx, nil) }},
		{"read a resource", func() (any, error) { return session.ReadResource(ctx, &mcp.ReadResourceParams{URI: "doc://outage"}) }},
		{"read no resource", func() (any, error) { return session.ReadResource(ctx, &mcp.ReadResourceParams{URI: "doc://nothing"}) }},
		{"list prompts", func() (any, error) { return session.ListPrompts(ctx, nil) }},
		{"get a prompt", func() (any, error) { return session.GetPrompt(ctx, &mcp.GetPromptParams{Name: "summary"}) }},
		{"close", func() (any, error) { return nil, session.Close() }},
	}, names)
}
