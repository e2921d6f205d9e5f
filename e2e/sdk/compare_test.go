package sdk

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/localmesh"
	"github.com/sallyport-mesh/sallyport/deploy/local"
	"github.com/sallyport-mesh/sallyport/e2e/meshtest"
	"github.com/sallyport-mesh/sallyport/e2e/sdk/provider"
)

// outcome is what became of one call of an SDK.
type outcome struct {
	Call   string
	Result json.RawMessage `json:",omitempty"`
	Error  *raised         `json:",omitempty"`
}

// raised is an error as an SDK gives it to its program.
type raised struct {
	Class, Message, Type, Code, Param, Request string
	Status                                     int
	Body, Data                                 json.RawMessage
	RetryAfter                                 string
}

// place is where a client finds what it calls.
type place struct {
	base, key string
	http      *http.Client                                       // of clients in Go; nil for their own
	under     func(args ...string) (command string, of []string) // of programs; nil for nothing
}

// client makes its calls at a place: all of them, or those that are named.
type client func(t *testing.T, at place, calls ...string) []outcome

// ways are how a client comes to the mesh, to call one destination.
func ways(t *testing.T, m *meshtest.Mesh, to string) map[string]place {
	t.Helper()
	gateway := m.Gateways["onprem-1"]
	loopback := gateway.LoopbackAddr().String()
	token := m.Token(t, "orchestrator", "onprem")
	over := func(change func(*http.Transport)) *http.Client {
		transport := new(http.Transport)
		change(transport)
		t.Cleanup(transport.CloseIdleConnections)
		return &http.Client{Transport: transport}
	}
	return map[string]place{
		"base URL": {base: "http://" + loopback + "/" + to, key: token},
		"base URL over TLS": {base: "https://" + to, key: token, http: over(func(tr *http.Transport) {
			tr.DialContext, tr.TLSClientConfig = meshtest.DialTo(gateway.AttachAddr()), m.TrustOnly(t, "onprem")
		})},
		"forward proxy": {base: "http://" + to, key: ownKey, http: over(func(tr *http.Transport) {
			tr.Proxy = http.ProxyURL(&url.URL{Scheme: "http", Host: loopback, User: url.UserPassword("jwt", token)})
		})},
		"mTLS, HTTP/2": {base: "https://" + to, key: ownKey, http: m.As(t, "orchestrator")},
		"attach helper": {key: ownKey, under: func(args ...string) (string, []string) {
			flags := []string{"attach", "--dir", m.Dir(), "--workload-api", m.WorkloadAPI("orchestrator"), "--openai", to, "--anthropic", to, "--"}
			return meshtest.Binary(t, "sallyport"), append(flags, args...)
		}},
	}
}

// ownKey is a key of the provider's, which is none of the mesh's business.
const ownKey = "sk-own-0123456789"

// permissive is the policy of a mesh in which the orchestrator may ask the llm for
// anything, by OpenAI's API and by Anthropic's.
func permissive(t *testing.T) []byte {
	t.Helper()
	return policyWith(t, `
  - name: ask-for-anything
    allow: {from: orchestrator, to: llm, service: chat}
  - name: ask-for-any-message
    allow: {from: orchestrator, to: llm, service: claude}
`)
}

// policyWith is the policy of the local mesh with a service of Anthropic's and with
// these intents only, and without its own tests of those that it had.
func policyWith(t *testing.T, intents string) []byte {
	t.Helper()
	text := meshtest.Edit(t, string(local.Template()), `chat: "openai://:8000"`, `chat: "openai://:8000", claude: "anthropic://:8001"`)
	before, _, found := strings.Cut(text, "\nintents:\n")
	if !found {
		t.Fatal("the policy has no intents")
	}
	return []byte(before + "\nintents:" + intents)
}

// provided is a mesh with a provider in place of its llm.
type provided struct {
	*meshtest.Mesh
	behind *provider.Provider
}

func withProvider(t *testing.T, policy []byte) *provided {
	t.Helper()
	m := &provided{meshtest.Start(t, func(c *localmesh.Config) { c.Policy = policy }), provider.New()}
	m.Serve(t, "llm", map[string]http.Handler{"chat": m.behind, "claude": m.behind})
	return m
}

// directly is a provider that is called without a mesh.
func directly(t *testing.T) (place, *provider.Provider) {
	t.Helper()
	p := provider.New()
	srv := httptest.NewServer(p)
	t.Cleanup(srv.Close)
	return place{base: srv.URL, key: ownKey}, p
}

// same holds that what a client gets through the mesh, by each of these ways, is
// what it gets without it, and that the provider is sent the same.
func (m *provided) same(t *testing.T, c client, want map[string]string, to string, by ...string) {
	t.Helper()
	here, p := directly(t)
	plain := c(t, here)
	asExpected(t, plain, want)
	asked := seen(p.Calls())
	all := ways(t, m.Mesh, to)
	for _, way := range by {
		t.Run(way, func(t *testing.T) {
			if diff := cmp.Diff(plain, c(t, all[way]), asJSON()); diff != "" {
				t.Errorf("through the mesh (+) it is not as without (-):\n%s", diff)
			}
			if diff := cmp.Diff(asked, seen(m.behind.Calls())); diff != "" {
				t.Errorf("the provider was sent through the mesh (+) what it was not without (-):\n%s", diff)
			}
		})
	}
}

// asJSON shows a difference within a document.
func asJSON() cmp.Option {
	return cmp.Transformer("JSON", func(text json.RawMessage) (v any) {
		if len(text) > 0 && json.Unmarshal(text, &v) != nil {
			return string(text)
		}
		return v
	})
}

// asExpected holds that a client makes the calls that it is known to make, and that
// those fail which are known to: by the error's class and status. Two that fail alike
// would be equal too.
func asExpected(t *testing.T, got []outcome, want map[string]string) {
	t.Helper()
	if len(got) < 10 {
		t.Fatalf("%d calls only: %+v", len(got), got)
	}
	ends := map[string]string{}
	for _, o := range got {
		if o.Error != nil {
			ends[o.Call] = strings.TrimSuffix(fmt.Sprintf("%s %d", o.Error.Class, o.Error.Status), " 0")
		}
	}
	if diff := cmp.Diff(want, ends); diff != "" {
		t.Errorf("without a mesh, calls end not as expected (-), but so (+):\n%s", diff)
	}
}

// request is what the provider saw of a call, but for what differs by right.
type request struct {
	Line, Body string
	Retry      int
	Header     http.Header
}

// between are fields of one connection, or of whom it is with; or that count time.
var between = []string{
	"Authorization", "X-Api-Key", "Connection", "X-Forwarded-Client-Cert", "Sallyport-Crossing", "Traceparent", "Content-Length",
}

func seen(calls []provider.Call) (all []request) {
	for _, c := range calls {
		for _, name := range between {
			c.Header.Del(name)
		}
		all = append(all, request{c.Method + " " + c.Target, c.Body, c.Retry(), c.Header})
	}
	return all
}

// node is a client that is a program of Node's.
func node(t *testing.T, program string) client {
	t.Helper()
	needsNode(t)
	return func(t *testing.T, at place, calls ...string) (got []outcome) {
		t.Helper()
		out := runNode(t, at, append([]string{program}, calls...)...)
		if err := json.Unmarshal(out, &got); err != nil {
			t.Fatalf("%v; it said %q", err, out)
		}
		return got
	}
}

// runNode is what a program says that has an SDK's variables set to a place.
func runNode(t *testing.T, at place, args ...string) []byte {
	t.Helper()
	command, rest := "node", args
	if at.under != nil {
		command, rest = at.under(append([]string{command}, args...)...)
	}
	ctx, cancel := context.WithTimeout(t.Context(), meshtest.Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, command, rest...)
	cmd.Dir = "node"
	cmd.Env = append(os.Environ(), "OPENAI_API_KEY="+at.key, "ANTHROPIC_API_KEY="+at.key)
	if at.base != "" {
		cmd.Env = append(cmd.Env, "OPENAI_BASE_URL="+at.base+"/v1", "ANTHROPIC_BASE_URL="+at.base, "MCP_URL="+at.base+"/mcp", "MCP_KEY="+at.key)
	}
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("node %q: %v\n%s", args, err, said.Bytes())
	}
	return out
}

func needsNode(t *testing.T) {
	t.Helper()
	for _, name := range []string{"openai", "@anthropic-ai/sdk", "@modelcontextprotocol/client"} {
		if _, err := os.Stat("node/node_modules/" + name); err != nil {
			skipUnlessRequired(t, "needs Node and the SDKs: npm ci --prefix e2e/sdk/node")
		}
	}
}
