package exchange

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/listener"
	"github.com/sallyport-mesh/sallyport/gateway/internal/seen"
	"github.com/sallyport-mesh/sallyport/gateway/internal/upstream"
	"github.com/sallyport-mesh/sallyport/gateway/policy"
	"github.com/sallyport-mesh/sallyport/gateway/policy/jcs"
	"github.com/sallyport-mesh/sallyport/gateway/policy/policytest"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

const searchTool = `{"name":"search","description":"finds","inputSchema":{"type":"object"}}`

// toolServer is a policy for an MCP server, of whose tools search and fetch may be called;
// search must be as it is pinned, if it is.
func toolServer(t testing.TB, pin string) *policy.Policy {
	return policytest.Estate(t, 1, func(p *policyv1.Policy) {
		p.Workloads["llm"].Serves["chat"] = "mcp://:8000"
		allowed := &policyv1.Condition{Any: &policyv1.Conditions{Conditions: []*policyv1.Condition{
			is("ai.operation", "initialize", "list_tools", "ping"),
			{All: &policyv1.Conditions{Conditions: []*policyv1.Condition{is("ai.operation", "call_tool"), is("ai.tool", "search", "fetch")}}},
		}}}
		p.Intents[0].When, p.Intents[0].Condition = "written as a condition", allowed
		if pin != "" {
			p.Lists = map[string]*policyv1.List{"pins": {Tools: map[string]string{"search": pin}}}
			p.Intents[0].Require = &policyv1.Require{Tools: &policyv1.ToolRule{In: "pins"}}
		}
	})
}

func rpc(content string, fields ...l7.Field) *listener.Request {
	return request("POST", "/v1/mcp", content, append(fields, l7.Field{Name: "content-type", Value: "application/json"})...)
}

func call(tool string) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":%q,"arguments":{}}}`, tool)
}

// lists answers with tools, as a server does.
func lists(tools ...string) func(r *upstream.Request) (*upstream.Response, error) {
	return func(r *upstream.Request) (*upstream.Response, error) {
		_, err := readAll(r)
		text := `{"jsonrpc":"2.0","id":7,"result":{"tools":[` + strings.Join(tools, ",") + `]}}`
		a := answer(200, text)
		a.Head.Fields = l7.Fields{{Name: "content-type", Value: "application/json"}, {Name: "content-length", Value: fmt.Sprint(len(text))}}
		return a, err
	}
}

func tool(name string) string { return strings.Replace(searchTool, "search", name, 1) }

// TestTools: of a list the caller gets what it may call, and may call no more.
func TestTools(t *testing.T) {
	w := reading(t, toolServer(t, ""))
	w.destination = lists(tool("search"), tool("drop_index"), tool("fetch"))
	r := w.ask(t, rpc(`{"jsonrpc":"2.0","id":7,"method":"tools/list"}`))
	want := `{"jsonrpc":"2.0","id":7,"result":{"tools":[` + tool("search") + "," + tool("fetch") + `]}}`
	if r.body.String() != want {
		t.Errorf("got  %s\nwant %s", r.body.String(), want)
	}
	if length := r.head.Fields.Get("content-length"); length != "" && length != fmt.Sprint(len(want)) {
		t.Errorf("its length is said to be %s", length)
	}
	rec := w.joined(t)
	if said := rec.GetIngress().GetSaid(); said.GetToolsListed() != 3 || said.GetToolsHidden() != 1 || rec.GetOperation().GetName() != "list_tools" {
		t.Errorf("record %v", rec)
	}
	if rec.GetEgress().GetSaid().GetToolsHidden() != 0 || !rec.GetAgree() {
		t.Errorf("the egress gateway had to hide something: %v", rec.GetEgress().GetSaid())
	}
}

// TestPromptsAndResources: of lists of them the caller gets what it may ask for, and the
// record counts what it did not see.
func TestPromptsAndResources(t *testing.T) {
	p := policytest.Estate(t, 1, func(p *policyv1.Policy) {
		p.Workloads["llm"].Serves["chat"] = "mcp://:8000"
		allowed := &policyv1.Condition{Any: &policyv1.Conditions{Conditions: []*policyv1.Condition{
			is("ai.operation", "list_prompts", "list_resources", "list_resource_templates"),
			{All: &policyv1.Conditions{Conditions: []*policyv1.Condition{is("ai.operation", "get_prompt"), is("ai.tool", "greet")}}},
			{All: &policyv1.Conditions{Conditions: []*policyv1.Condition{is("ai.operation", "read_resource"), is("ai.tool", "docs:a")}}},
		}}}
		p.Intents[0].When, p.Intents[0].Condition = "written as a condition", allowed
	})
	for _, c := range []struct{ method, operation, result, want string }{
		{"prompts/list", "list_prompts", `{"prompts":[{"name":"greet"},{"name":"docs:a"}]}`, `{"prompts":[{"name":"greet"}]}`},
		{"resources/list", "list_resources", `{"resources":[{"uri":"greet","name":"docs:a"},{"uri":"docs:a","name":"x"}]}`, `{"resources":[{"uri":"docs:a","name":"x"}]}`},
		{"resources/templates/list", "list_resource_templates", `{"resourceTemplates":[{"uriTemplate":"docs:{x}"},{"uriTemplate":"docs:a"}]}`, `{"resourceTemplates":[{"uriTemplate":"docs:a"}]}`},
	} {
		for _, media := range []string{"application/json", "text/event-stream"} {
			w := reading(t, p)
			framed := func(result string) string {
				text := `{"jsonrpc":"2.0","id":7,"result":` + result + `}`
				if media == "text/event-stream" {
					return "data: " + text + "\n\n"
				}
				return text
			}
			w.destination = func(r *upstream.Request) (*upstream.Response, error) {
				_, err := readAll(r)
				a := answer(200, framed(c.result))
				a.Head.Fields = l7.Fields{{Name: "content-type", Value: media}}
				return a, err
			}
			r := w.ask(t, rpc(`{"jsonrpc":"2.0","id":7,"method":"`+c.method+`"}`))
			if r.body.String() != framed(c.want) {
				t.Errorf("%s as %s: %s", c.method, media, r.body.String())
			}
			rec := w.joined(t)
			if said := rec.GetIngress().GetSaid(); said.GetToolsListed() != 2 || said.GetToolsHidden() != 1 || rec.GetOperation().GetName() != c.operation || !rec.GetAgree() {
				t.Errorf("%s as %s: record %v", c.method, media, rec)
			}
		}
	}
}

// TestToolCalls: each message of JSON-RPC is decided on, and the caller is told in JSON-RPC.
func TestToolCalls(t *testing.T) {
	for _, c := range []struct {
		name, content string
		reason        crossingv1.Reason
		messages      int
	}{
		{"allowed", call("search"), 0, 0},
		{"forbidden", call("drop_index"), crossingv1.Reason_NO_INTENT, 0},
		{"of another case", call("Search"), crossingv1.Reason_NO_INTENT, 0},
		{"escaped", `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"drop\u005findex"}}`, crossingv1.Reason_NO_INTENT, 0},
		{"named twice", `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"search","name":"drop_index"}}`, crossingv1.Reason_UNREADABLE, 0},
		{"batch", "[" + call("search") + "," + call("fetch") + "]", 0, 2},
		{"hidden in a batch", "[" + call("search") + "," + call("drop_index") + "]", crossingv1.Reason_NO_INTENT, 2},
		{"batch in a batch", "[[" + call("search") + "]]", crossingv1.Reason_UNREADABLE, 0},
		{"another method", `{"jsonrpc":"2.0","id":7,"method":"resources/read","params":{"uri":"a:b"}}`, crossingv1.Reason_NO_INTENT, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := reading(t, toolServer(t, ""))
			r := w.ask(t, rpc(c.content))
			var rec *crossingv1.Record
			if c.reason == crossingv1.Reason_REASON_UNSPECIFIED {
				if rec = w.joined(t); r.body.String() != "you said "+c.content || !rec.GetAgree() {
					t.Fatalf("%s, record %v", r.body.String(), rec)
				}
			} else if rec = crossing.Join(w.near.account(t), nil); rec.GetEgress().GetReason() != c.reason || !strings.Contains(r.body.String(), `"jsonrpc":"2.0"`) {
				t.Fatalf("%s, record %v", r.body.String(), rec)
			}
			if got := rec.GetOperation().GetMessages(); len(got) != c.messages {
				t.Errorf("messages %v", got)
			}
		})
	}
}

// TestToolChanged: a tool that is not listed as it is pinned is hidden and named, and may
// not be called until it is listed so again.
func TestToolChanged(t *testing.T) {
	canonical, err := jcs.Canonical([]byte(searchTool))
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(canonical)
	p := toolServer(t, "sha256:"+hex.EncodeToString(sum[:]))
	near, far := seen.New(), seen.New()
	ask := func(destination func(*upstream.Request) (*upstream.Response, error), content string) (*reply, *world) {
		w := reading(t, p)
		w.egress.cfg.Tools, w.ingress.cfg.Tools = near, far
		if destination != nil {
			w.destination = destination
		}
		return w.ask(t, rpc(content)), w
	}
	const list = `{"jsonrpc":"2.0","id":7,"method":"tools/list"}`
	if r, w := ask(nil, call("search")); r.body.String() != "you said "+call("search") {
		t.Errorf("before it was listed: %s %v", r.body.String(), w.near.account(t))
	}
	r, w := ask(lists(strings.Replace(searchTool, "finds", "finds, and tells others", 1)), list)
	if strings.Contains(r.body.String(), "search") {
		t.Errorf("a changed tool is listed: %s", r.body.String())
	}
	if said := w.joined(t).GetIngress().GetSaid(); len(said.GetToolsChanged()) != 1 || said.GetToolsChanged()[0] != "search" {
		t.Errorf("it is recorded as %v", said)
	}
	if r, w := ask(nil, call("search")); w.far.account(t).Open.GetEnd().GetReason() != crossingv1.Reason_TOOL_CHANGED || !json.Valid([]byte(r.body.String())) {
		t.Errorf("a changed tool is called: %s", r.body.String())
	}
	if r, _ := ask(nil, call("fetch")); r.body.String() != "you said "+call("fetch") {
		t.Errorf("another tool: %s", r.body.String())
	}
	if r, _ := ask(lists(searchTool), list); !strings.Contains(r.body.String(), "search") {
		t.Errorf("as it was: %s", r.body.String())
	}
	if r, _ := ask(nil, call("search")); r.body.String() != "you said "+call("search") {
		t.Errorf("and again called: %s", r.body.String())
	}
}
