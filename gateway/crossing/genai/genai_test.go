package genai

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// chat is a record that has all there is of a call of a model.
func chat() *crossingv1.Record {
	end := func() *crossingv1.End {
		return &crossingv1.End{
			Decision: crossingv1.Decision_ALLOW, Intent: "plan", Policy: &crossingv1.PolicyRef{Serial: 41}, Status: 200,
			Open: &timestamppb.Timestamp{Seconds: 1_795_000_000, Nanos: 104_331_000}, Duration: &durationpb.Duration{Seconds: 1, Nanos: 500_000_000},
			Said:        &crossingv1.Said{Id: "chatcmpl-1", LongestGap: &durationpb.Duration{Nanos: 40_000_000}},
			AnswerClass: "restricted", AnswerLabeler: "spiffe://azure.demo/dlp/labeler",
		}
	}
	return &crossingv1.Record{
		Id: "01a207e6-e4d8-7d3e-9a54-1f0e6b7c2d88", State: crossingv1.Record_JOINED, Trace: "4bf92f3577b34da6a3ce929d0e0e4736",
		Transition: &crossingv1.Transition{From: "onprem", To: "azure", Owner: "ml-platform"},
		Source:     "spiffe://onprem.demo/ai/orchestrator", Destination: "spiffe://azure.demo/ai/llm",
		Operation: &crossingv1.Operation{
			Protocol: "openai", Name: "responses", Service: "chat", Streamed: true, Authority: "llm.azure.mesh:8000",
			ModelRequested: "gpt-4o", ModelServed: "gpt-4o-2024-08-06", FinishReason: "stop", MaxTokens: proto.Uint32(64),
			DataClass: "internal", DataClassSource: crossingv1.Operation_LABEL, FirstToken: &durationpb.Duration{Nanos: 250_000_000},
			Tokens: &crossingv1.Tokens{
				Input: proto.Uint32(412), Output: proto.Uint32(0), CacheRead: proto.Uint32(128), CacheWritten: proto.Uint32(9),
				Reasoning: proto.Uint32(3), Source: crossingv1.Tokens_REPORTED,
			},
		},
		Egress: end(), Ingress: end(),
	}
}

// call is a record of a tool's call that failed.
func call() *crossingv1.Record {
	r := chat()
	r.Operation = &crossingv1.Operation{Protocol: "mcp", Name: "call_tool", Tool: "search", Session: "0011223344556677", Streamed: true, Authority: "[::1]:9000"}
	for _, e := range []*crossingv1.End{r.Egress, r.Ingress} {
		e.Said = &crossingv1.Said{Failed: true, Fault: "tool_error"}
	}
	return r
}

// written are attributes by their names, each as text with its type.
func written(t fatal, v Version, r *crossingv1.Record) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, a := range v.Attributes(r) {
		if all[a.Name] != "" {
			t.Fatalf("%s comes twice", a.Name)
		}
		all[a.Name] = fmt.Sprintf("%T %v", a.Value, a.Value)
	}
	return all
}

// fatal is what testing.T and rapid.T have in common here.
type fatal interface {
	Helper()
	Fatalf(string, ...any)
}

func parse(t fatal, name string) Version {
	t.Helper()
	v, err := Parse(name)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return v
}

// conventional are the attributes that are not our own.
func conventional(all map[string]string) map[string]string {
	theirs := map[string]string{}
	for name, value := range all {
		if !strings.HasPrefix(name, "sallyport.") {
			theirs[name] = value
		}
	}
	return theirs
}

// with is a map and some more, without what is "".
func with(base map[string]string, more map[string]string) map[string]string {
	all := map[string]string{}
	for _, m := range []map[string]string{base, more} {
		for name, value := range m {
			if all[name] = value; value == "" {
				delete(all, name)
			}
		}
	}
	return all
}

func TestNamesOfEachVersion(t *testing.T) {
	oldest := map[string]string{
		"gen_ai.operation.name": "string chat", "gen_ai.system": "string openai", "gen_ai.request.model": "string gpt-4o",
		"gen_ai.request.max_tokens": "int64 64", "gen_ai.response.id": "string chatcmpl-1", "gen_ai.response.model": "string gpt-4o-2024-08-06",
		"gen_ai.response.finish_reasons": "[]string [stop]", "gen_ai.usage.input_tokens": "int64 412", "gen_ai.usage.output_tokens": "int64 0",
		"server.address": "string llm.azure.mesh", "server.port": "int64 8000",
	}
	provider := with(oldest, map[string]string{"gen_ai.system": "", "gen_ai.provider.name": "string openai"})
	caches := with(provider, map[string]string{
		"gen_ai.request.stream": "bool true", "gen_ai.usage.cache_read.input_tokens": "int64 128",
		"gen_ai.usage.cache_creation.input_tokens": "int64 9", "gen_ai.usage.reasoning.output_tokens": "int64 3",
	})
	latest := with(caches, map[string]string{"gen_ai.usage.cache_creation.input_tokens": "", "gen_ai.usage.cache_write.input_tokens": "int64 9"})
	tool := map[string]string{
		"gen_ai.operation.name": "string execute_tool", "gen_ai.tool.name": "string search", "error.type": "string tool_error",
		"server.address": "string ::1", "server.port": "int64 9000",
	}
	method := with(tool, map[string]string{"mcp.method.name": "string tools/call"})
	for _, test := range []struct {
		version    string
		chat, call map[string]string
	}{
		{"v1.36.0", oldest, tool},
		{"v1.37.0", provider, tool},
		{"v1.41.0", caches, method},
		{"genai-v0.1.0", latest, method},
	} {
		v := parse(t, test.version)
		if d := cmp.Diff(test.chat, conventional(written(t, v, chat()))); d != "" {
			t.Errorf("%s, a model (-want +got):\n%s", test.version, d)
		}
		if d := cmp.Diff(test.call, conventional(written(t, v, call()))); d != "" {
			t.Errorf("%s, a tool (-want +got):\n%s", test.version, d)
		}
	}
}

func TestOurNames(t *testing.T) {
	want := map[string]string{
		"sallyport.crossing.id": "string 01a207e6-e4d8-7d3e-9a54-1f0e6b7c2d88", "sallyport.crossing.state": "string JOINED",
		"sallyport.crossing.opened": "string 2026-11-18T11:06:40.104331Z", "sallyport.crossing.duration": "float64 1.5",
		"sallyport.trace.id": "string 4bf92f3577b34da6a3ce929d0e0e4736", "sallyport.transition.from": "string onprem",
		"sallyport.transition.to": "string azure", "sallyport.transition.owner": "string ml-platform",
		"sallyport.source.id": "string spiffe://onprem.demo/ai/orchestrator", "sallyport.destination.id": "string spiffe://azure.demo/ai/llm",
		"sallyport.decision": "string ALLOW", "sallyport.intent": "string plan", "sallyport.policy.serial": "int64 41",
		"sallyport.protocol": "string openai", "sallyport.service": "string chat", "sallyport.operation": "string responses",
		"sallyport.data.class": "string internal", "sallyport.data.class_source": "string LABEL", "sallyport.answer.data_class": "string restricted",
		"sallyport.answer.first_token": "float64 0.25", "sallyport.answer.longest_gap": "float64 0.04",
	}
	caches := map[string]string{"sallyport.tokens.cache_read": "int64 128", "sallyport.tokens.cache_written": "int64 9", "sallyport.tokens.reasoning": "int64 3"}
	for _, version := range Versions() {
		all := written(t, parse(t, version), chat())
		for name := range conventional(all) {
			delete(all, name)
		}
		expect := want
		if strings.HasPrefix(version, "v1.3") { // they have no names for these
			expect = with(want, caches)
		}
		if d := cmp.Diff(expect, all); d != "" {
			t.Errorf("%s (-want +got):\n%s", version, d)
		}
	}
}

// What the gateway counted is under no name of what a provider reports, and what nobody
// knows is under none at all.
func TestCountedIsNotReported(t *testing.T) {
	r := chat()
	r.Operation.Tokens = &crossingv1.Tokens{Output: proto.Uint32(187), Source: crossingv1.Tokens_COUNTED}
	silent := chat()
	silent.Operation.Tokens, silent.Operation.FinishReason, silent.Operation.ModelServed, silent.Operation.MaxTokens = nil, "", "", nil
	for _, version := range Versions() {
		v := parse(t, version)
		all := written(t, v, r)
		for name := range all {
			if strings.HasPrefix(name, "gen_ai.usage.") {
				t.Errorf("%s: %s of tokens that were counted", version, name)
			}
		}
		if got := all["sallyport.tokens.counted_output"]; got != "int64 187" {
			t.Errorf("%s: counted %q", version, got)
		}
		for name := range written(t, v, silent) {
			for _, unknown := range []string{"gen_ai.usage.", "tokens", "gen_ai.response.model", "finish_reasons"} {
				if strings.Contains(name, unknown) {
					t.Errorf("%s: %s, which nobody knows", version, name)
				}
			}
		}
	}
}

func TestDenied(t *testing.T) {
	r := &crossingv1.Record{
		State: crossingv1.Record_DENIED, Operation: &crossingv1.Operation{Protocol: "mcp", Name: "GET /mcp", Authority: `"a b"`},
		Egress: &crossingv1.End{Reason: crossingv1.Reason_NO_INTENT}, // whose decision is not said
	}
	want := map[string]string{
		"sallyport.crossing.state": "string DENIED", "sallyport.decision": "string DENY", "sallyport.reason": "string NO_INTENT",
		"sallyport.protocol": "string mcp", "sallyport.operation": "string GET /mcp", "error.type": "string NO_INTENT",
	}
	if d := cmp.Diff(want, written(t, parse(t, "genai-v0.1.0"), r)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if all := (Version{}).Attributes(nil); len(all) != 0 {
		t.Errorf("of no record: %v", all)
	}
}

// An error of JSON-RPC is called by its code, as MCP's conventions have it.
func TestErrorOfMCP(t *testing.T) {
	r := call()
	r.Egress.Said.Fault = "error -32601"
	if got := written(t, parse(t, "v1.41.0"), r)["error.type"]; got != "string -32601" {
		t.Errorf("error.type is %q", got)
	}
	r.Egress.Said.Fault = ""
	if got := written(t, parse(t, "v1.41.0"), r)["error.type"]; got != "string _OTHER" {
		t.Errorf("error.type of an error without a name is %q", got)
	}
	r.Ingress.Reason = crossingv1.Reason_FORBIDDEN_ANSWER
	if got := written(t, parse(t, "v1.41.0"), r)["error.type"]; got != "string FORBIDDEN_ANSWER" {
		t.Errorf("error.type of what a gateway ended is %q", got)
	}
}

func TestMethods(t *testing.T) {
	for _, test := range []struct{ name, request, method, of, called string }{
		{"call_tool", "POST /mcp", "tools/call", "gen_ai.tool.name", "x"},
		{"get_prompt", "POST /mcp", "prompts/get", "gen_ai.prompt.name", "x"},
		{"read_resource", "POST /mcp", "resources/read", "mcp.resource.uri", "x"},
		{"unsubscribe", "POST /mcp", "resources/unsubscribe", "mcp.resource.uri", "x"},
		{"list_tools", "POST /mcp", "tools/list", "gen_ai.tool.name", ""},
		{"listen", "POST /mcp", "subscriptions/listen", "", ""},
		{"listen", "GET /mcp", "", "", ""},
		{"notify", "POST /mcp", "", "", ""},
		{"end_session", "DELETE /mcp", "", "", ""},
		{"new/method", "POST /mcp", "new/method", "", ""},
		{"method/frob", "POST /mcp", "frob", "", ""},
		{"POST /mcp", "", "", "", ""},
	} {
		all := written(t, parse(t, "genai-v0.1.0"), &crossingv1.Record{Operation: &crossingv1.Operation{Protocol: "mcp", Name: test.name, Request: test.request, Tool: "x"}})
		if got := strings.TrimPrefix(all["mcp.method.name"], "string "); got != test.method {
			t.Errorf("%s of %s: method %q, want %q", test.name, test.request, got, test.method)
		}
		if got := strings.TrimPrefix(all[test.of], "string "); got != test.called {
			t.Errorf("%s: %s is %q, want %q", test.name, test.of, got, test.called)
		}
		if _, is := all["gen_ai.operation.name"]; is != (test.name == "call_tool") {
			t.Errorf("%s: is an operation of generative AI: %t", test.name, is)
		}
	}
}

// registry reads what a version's own files say that there is, and of which type.
func registry(t *testing.T, version string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", version+".txt"))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for line := range strings.Lines(string(text)) {
		name, kind, _ := strings.Cut(strings.TrimSpace(line), " ")
		all[name] = kind
	}
	return all
}

// kindOf is what the conventions call a value's type.
func kindOf(value any) string {
	switch value.(type) {
	case string:
		return "string"
	case int64:
		return "int"
	case float64:
		return "double"
	case bool:
		return "boolean"
	case []string:
		return "string[]"
	}
	return "none"
}

// Every name of every table is in the registry of its version, and no two facts have one
// name.
func TestTablesAreTheRegistries(t *testing.T) {
	for _, table := range tables() {
		known, once := registry(t, table.version), map[string]bool{}
		for f, name := range table.names {
			if name == "" {
				name = own()[f]
			} else if known[name] == "" {
				t.Errorf("%s has no %s", table.version, name)
			}
			if once[name] && name != "" {
				t.Errorf("%s: two facts are %s", table.version, name)
			}
			once[name] = true
		}
	}
	for f, name := range own() {
		if name != "" && !strings.HasPrefix(name, "sallyport.") {
			t.Errorf("%s is no name of ours (%d)", name, f)
		}
	}
}

// TestNoOtherNames: of whatever record, each attribute is in its version's registry, with
// the type that this says, or is ours.
func TestNoOtherNames(t *testing.T) {
	known := map[string]map[string]string{}
	for _, version := range Versions() {
		known[version] = registry(t, version)
	}
	rapid.Check(t, func(t *rapid.T) {
		version := rapid.SampledFrom(Versions()).Draw(t, "version")
		text := rapid.SampledFrom([]string{"", "x", "chat", "call_tool", "gen_ai.system", "a:1", "a:99999", ":", "\n"})
		word := func(what string) string { return text.Draw(t, what) }
		op := &crossingv1.Operation{
			Protocol: rapid.SampledFrom([]string{"openai", "anthropic", "mcp", "a2a", "http", ""}).Draw(t, "protocol"), Name: word("name"), Tool: word("tool"),
			Agent: word("agent"), Authority: word("authority"), ModelRequested: word("asked"), ModelServed: word("served"), FinishReason: word("finish"),
			Session: word("session"), DataClass: word("class"), Streamed: rapid.Bool().Draw(t, "streamed"), Messages: make([]*crossingv1.Operation_Message, rapid.IntRange(0, 2).Draw(t, "messages")),
			Tokens: &crossingv1.Tokens{Source: crossingv1.Tokens_Source(rapid.IntRange(0, 3).Draw(t, "source"))}, //nolint:gosec // a few
		}
		if rapid.Bool().Draw(t, "known") {
			n := rapid.Uint32().Draw(t, "n")
			op.Tokens.Input, op.Tokens.Output, op.Tokens.CacheRead, op.Tokens.CacheWritten, op.Tokens.Reasoning = &n, &n, &n, &n, &n
		}
		r := &crossingv1.Record{Id: word("id"), Operation: op, Egress: &crossingv1.End{
			Decision: crossingv1.Decision(rapid.IntRange(0, 3).Draw(t, "decision")), Reason: crossingv1.Reason(rapid.IntRange(0, 60).Draw(t, "reason")), //nolint:gosec // a few
			Policy: &crossingv1.PolicyRef{Serial: rapid.Uint64().Draw(t, "serial")}, Duration: &durationpb.Duration{Seconds: rapid.Int64().Draw(t, "seconds")},
			Said: &crossingv1.Said{Fault: word("fault"), Failed: rapid.Bool().Draw(t, "failed"), ToolsListed: rapid.Uint64().Draw(t, "listed"), ToolsHidden: rapid.Uint64().Draw(t, "hidden"), ToolsChanged: []string{word("changed")}},
		}}
		for _, a := range parse(t, version).Attributes(r) {
			if kind := kindOf(a.Value); kind == "none" || !strings.HasPrefix(a.Name, "sallyport.") && known[version][a.Name] != kind {
				t.Fatalf("%s: %s is a %s, in the registry %q", version, a.Name, kind, known[version][a.Name])
			}
		}
	})
}

func TestParse(t *testing.T) {
	for _, name := range []string{"", "v1.36", "1.37.0", "V1.37.0", "latest"} {
		_, err := Parse(name)
		if err == nil {
			t.Errorf("%q is a version", name)
			continue
		}
		for _, version := range Versions() {
			if !strings.Contains(err.Error(), version) {
				t.Errorf("%q: %v does not name %s", name, err, version)
			}
		}
	}
}
