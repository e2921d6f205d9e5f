package mcp

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/inspect"
)

// head is a request with fields given as names and values.
func head(method string, fields ...string) *l7.RequestHead {
	h := &l7.RequestHead{Method: method, Authority: "a.b", Path: "/mcp"}
	for i := 0; i < len(fields); i += 2 {
		h.Fields = append(h.Fields, l7.Field{Name: fields[i], Value: fields[i+1]})
	}
	return h
}

func post(fields ...string) *l7.RequestHead {
	return head("POST", append([]string{"content-type", "application/json"}, fields...)...)
}

var modern = []string{"mcp-protocol-version", "2026-07-28"}

// found is what a request says, in words: operation, tool and id of each ask.
func found(asks []inspect.Ask) (all []string) {
	for _, a := range asks {
		all = append(all, strings.TrimSpace(fmt.Sprintf("%s %s %s", a.Operation, a.Tool, a.ID)))
	}
	return all
}

// ask reads a request in pieces of n bytes, and holds what it tells early against what
// it told before.
func ask(t *testing.T, h *l7.RequestHead, content string, n int) ([]string, error) {
	t.Helper()
	r, _ := Protocol{}.Request(h)
	var before inspect.Ask
	for content != "" {
		piece := content[:min(n, len(content))]
		content = content[len(piece):]
		if _, err := r.Write([]byte(piece)); err != nil {
			return nil, err
		}
		if asks := r.Asks(); len(asks) > 0 {
			if b := before; b.Operation != "" && (asks[0].Operation != b.Operation || asks[0].Tool != b.Tool || b.ID != nil && string(b.ID) != string(asks[0].ID)) {
				t.Errorf("%+v became %+v", b, asks[0])
			}
			before = asks[0]
			if !r.Settled() || len(asks) > 1 {
				t.Errorf("%+v is told, and not settled", asks)
			}
		} else if r.Settled() {
			t.Error("settled, and nothing is told")
		}
	}
	err := r.End()
	if err != nil {
		return nil, err
	}
	if !r.Settled() {
		t.Error("not settled at the end")
	}
	return found(r.Asks()), nil
}

// asksOf is ask, which must come to the same however the content is cut.
func asksOf(t *testing.T, h *l7.RequestHead, content string) ([]string, error) {
	t.Helper()
	want, err := ask(t, h, content, len(content)+1)
	for n := 1; n < min(len(content), 64); n++ {
		got, cut := ask(t, h, content, n)
		if fmt.Sprint(got, cut) != fmt.Sprint(want, err) {
			t.Fatalf("%s in pieces of %d: %v %v, want %v %v", content, n, got, cut, want, err)
		}
	}
	return want, err
}

// rpc is a request of a method, as the Go SDK writes it.
func rpc(method, params string) string {
	if params != "" {
		params = `,"params":` + params
	}
	return `{"jsonrpc":"2.0","id":1,"method":"` + method + `"` + params + `}`
}

func TestOperations(t *testing.T) {
	const meta = `{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","name":"x","uri":"y"}}`
	for content, want := range map[string]string{
		rpc("initialize", `{"protocolVersion":"2025-11-25","clientInfo":{"name":"c","version":"1"},"capabilities":{}}`): "initialize  1",
		rpc("server/discover", meta):           "discover  1",
		rpc("ping", ""):                        "ping  1",
		rpc("tools/list", meta):                "list_tools  1",
		rpc("tools/list", `null`):              "list_tools  1",
		rpc("tools/list", `{"cursor":"next"}`): "list_tools  1",
		rpc("tools/call", `{"name":"add","arguments":{"name":"x","method":"y","uri":7}}`):                          "call_tool add 1",
		rpc("tools/call", `{"arguments":{"name":"x"},"name":"a\u0064d"}`):                                          "call_tool add 1",
		rpc("tools/call", `{"name":"\u0430dd"}`):                                                                   "call_tool аdd 1", // a Cyrillic a
		rpc("tools/call", `{"name":"add ","uri":"u"}`):                                                             "call_tool add  1",
		rpc("tools/call", `{"name":""}`):                                                                           "call_tool  1",
		rpc("prompts/list", meta):                                                                                  "list_prompts  1",
		rpc("prompts/get", `{"name":"p"}`):                                                                         "get_prompt p 1",
		rpc("resources/list", ""):                                                                                  "list_resources  1",
		rpc("resources/templates/list", ""):                                                                        "list_resource_templates  1",
		rpc("resources/read", `{"uri":"file:///a","name":7}`):                                                      "read_resource file:///a 1",
		rpc("resources/subscribe", `{"uri":"u"}`):                                                                  "subscribe u 1",
		rpc("resources/unsubscribe", `{"uri":"u"}`):                                                                "unsubscribe u 1",
		rpc("subscriptions/listen", `{"notifications":{"toolsListChanged":true}}`):                                 "listen  1",
		rpc("completion/complete", `{"ref":{"type":"ref/prompt","name":"p"},"argument":{"name":"a","value":"b"}}`): "complete  1",
		rpc("logging/setLevel", `{"level":"info"}`):                                                                "set_log_level  1",
		rpc("tasks/list", ""):                                                                                      "list_tasks  1",
		rpc("tasks/get", `{"taskId":"t"}`):                                                                         "get_task  1",
		rpc("tasks/result", `{"taskId":"t"}`):                                                                      "get_task_result  1",
		rpc("tasks/update", `{"taskId":"t"}`):                                                                      "update_task  1",
		rpc("tasks/cancel", `{"taskId":"t"}`):                                                                      "cancel_task  1",
		rpc("Tools/Call", `{"name":"add"}`):                                                                        "Tools/Call  1",
		rpc("x/y", `{"name":"add"}`):                                                                               "x/y  1",
		rpc("call_tool", `{"name":"add"}`):                                                                         "method/call_tool  1",
		rpc("", ""):                                                                                                "method/  1",
		`{"jsonrpc":"2.0","method":"notifications/initialized"}`:                                                   "notify",
		`{"method":"notifications/cancelled","params":{"requestId":1,"name":7},"jsonrpc":"2.0"}`:                   "notify",
		`{"jsonrpc":"2.0","method":"x/y","params":{}}`:                                                             "notify",
		`{"jsonrpc":"2.0","id":7,"result":{"roots":[],"method":"x"}}`:                                              "respond",
		`{"result":{},"jsonrpc":"2.0","id":"a"}`:                                                                   "respond",
		`{"jsonrpc":"2.0","error":{"code":-1,"message":"no"}}`:                                                     "respond",
		`{"jsonrpc":"2.0","id":7,"error":{"code":-1,"message":"no"}}`:                                              "respond",
		`{"method":"tools/call","params":{"name":"add"},"jsonrpc":"2.0","id":"a\"\u00e9"}`:                         `call_tool add "a\"é"`,
		`{"params":{"name":"add"},"id":1.50e1,"jsonrpc":"2.0","method":"tools/call"}`:                              "call_tool add 1.50e1",
		" \r\n\t{ \"jsonrpc\" : \"2.0\" , \"id\" : -0 , \"method\" : \"ping\" , \"x\" : [ { } ] } \n":              "ping  -0",
	} {
		for _, h := range []*l7.RequestHead{post(), post(modern...)} {
			if got, err := asksOf(t, h, content); err != nil || !cmp.Equal(got, []string{strings.TrimSpace(want)}) && strings.Join(got, "") != want {
				t.Errorf("%s: %q, %v, want %q", content, got, err, want)
			}
		}
	}
}

func TestBatches(t *testing.T) {
	batch := "[" + rpc("tools/call", `{"name":"a"}`) + " , " + `{"jsonrpc":"2.0","method":"notifications/progress"},{"jsonrpc":"2.0","id":"x","result":{}}` + "," + rpc("tools/list", "") + "]"
	want := []string{"call_tool a 1", "notify", "respond", "list_tools  1"}
	for _, h := range []*l7.RequestHead{post(), post("mcp-protocol-version", "2025-03-26")} {
		got, err := asksOf(t, h, batch)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
	}
	one := rpc("ping", "") + ","
	for name, tt := range map[string]struct {
		head    *l7.RequestHead
		content string
	}{
		"2025-06-18":           {post("mcp-protocol-version", "2025-06-18"), batch},
		"2026-07-28":           {post(modern...), batch},
		"two versions":         {post("mcp-protocol-version", "2025-03-26", "mcp-protocol-version", "2026-07-28"), batch},
		"empty":                {post(), " [ ] "},
		"a batch in a batch":   {post(), "[[" + rpc("ping", "") + "]]"},
		"a text in it":         {post(), `["ping"]`},
		"null in it":           {post(), "[" + one + "null]"},
		"one message is wrong": {post(), "[" + one + `{"jsonrpc":"2.0","id":1}]`},
		"too many":             {post(), "[" + strings.Repeat(one, inspect.MaxAsks) + rpc("ping", "") + "]"},
		"a comma too many":     {post(), "[" + one + "]"},
		"two documents":        {post(), "[" + rpc("ping", "") + "][]"},
	} {
		if got, err := asksOf(t, tt.head, tt.content); !errors.Is(err, inspect.ErrUnreadable) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	if got, err := asksOf(t, post(), "["+strings.Repeat(one, inspect.MaxAsks-1)+rpc("ping", "")+"]"); err != nil || len(got) != inspect.MaxAsks {
		t.Errorf("%d asks, %v", len(got), err)
	}
}

func TestRefusedRequests(t *testing.T) {
	deep := strings.Repeat("[", 300) + strings.Repeat("]", 300)
	long := strings.Repeat("n", inspect.MaxText+1)
	for name, tt := range map[string]struct {
		content string
		kind    error
	}{
		"nothing":                  {"", inspect.ErrUnreadable},
		"space":                    {" \n", inspect.ErrUnreadable},
		"a text":                   {`"ping"`, inspect.ErrUnreadable},
		"a number":                 {`1`, inspect.ErrUnreadable},
		"no JSON":                  {`jsonrpc=2.0`, inspect.ErrUnreadable},
		"a mark":                   {"\ufeff" + rpc("ping", ""), inspect.ErrUnreadable},
		"cut":                      {`{"jsonrpc":"2.0","id":1,"method":"ping"`, inspect.ErrUnreadable},
		"two documents":            {rpc("ping", "") + rpc("ping", ""), inspect.ErrUnreadable},
		"no version":               {`{"id":1,"method":"ping"}`, inspect.ErrUnreadable},
		"version 1":                {`{"jsonrpc":"1.0","id":1,"method":"ping"}`, inspect.ErrUnreadable},
		"version as a number":      {`{"jsonrpc":2.0,"id":1,"method":"ping"}`, inspect.ErrUnreadable},
		"id of null":               {`{"jsonrpc":"2.0","id":null,"method":"ping"}`, inspect.ErrUnreadable},
		"id of a list":             {`{"jsonrpc":"2.0","id":[1],"method":"ping"}`, inspect.ErrUnreadable},
		"no id":                    {`{"jsonrpc":"2.0","method":"tools/call","params":{"name":"add"}}`, inspect.ErrUnreadable},
		"long id":                  {`{"jsonrpc":"2.0","id":"` + long + `","method":"ping"}`, inspect.ErrUnreadable},
		"long method":              {rpc(long, ""), inspect.ErrUnreadable},
		"long name":                {rpc("tools/call", `{"name":"`+long+`"}`), inspect.ErrUnreadable},
		"no method":                {`{"jsonrpc":"2.0","id":1}`, inspect.ErrUnreadable},
		"method of a number":       {`{"jsonrpc":"2.0","id":1,"method":7}`, inspect.ErrUnreadable},
		"no name":                  {rpc("tools/call", `{"arguments":{"name":"x"}}`), inspect.ErrUnreadable},
		"name of a number":         {rpc("tools/call", `{"name":7}`), inspect.ErrUnreadable},
		"name of null":             {rpc("tools/call", `{"name":null}`), inspect.ErrUnreadable},
		"URI for a name":           {rpc("resources/read", `{"name":"add"}`), inspect.ErrUnreadable},
		"no params":                {rpc("tools/call", ""), inspect.ErrUnreadable},
		"params by place":          {rpc("tools/call", `[{"name":"add"}]`), inspect.ErrUnreadable},
		"params of a text":         {rpc("tools/list", `"x"`), inspect.ErrUnreadable},
		"result without id":        {`{"jsonrpc":"2.0","result":{}}`, inspect.ErrUnreadable},
		"not UTF-8":                {rpc("tools/call", "{\"name\":\"\xff\"}"), inspect.ErrUnreadable},
		"not UTF-8 in an argument": {rpc("tools/call", "{\"name\":\"a\",\"arguments\":{\"x\":\"\xc0\x80\"}}"), inspect.ErrUnreadable},
		"nested too deep":          {rpc("tools/call", `{"name":"a","arguments":`+deep+`}`), inspect.ErrUnreadable},
		"request and result":       {`{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}`, inspect.ErrAmbiguous},
		"result and request":       {`{"jsonrpc":"2.0","id":1,"result":null,"method":"ping"}`, inspect.ErrAmbiguous},
		"request and error":        {`{"jsonrpc":"2.0","id":1,"method":"ping","error":null}`, inspect.ErrAmbiguous},
		"result and error":         {`{"jsonrpc":"2.0","id":1,"result":{},"error":{}}`, inspect.ErrAmbiguous},
		"notification with an id":  {rpc("notifications/initialized", ""), inspect.ErrAmbiguous},
		"two methods":              {`{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call"}`, inspect.ErrAmbiguous},
		"two methods, one escaped": {`{"jsonrpc":"2.0","id":1,"method":"ping","m\u0065thod":"tools/call"}`, inspect.ErrAmbiguous},
		"two names":                {rpc("tools/call", `{"name":"a","name":"b"}`), inspect.ErrAmbiguous},
		"two params":               {`{"jsonrpc":"2.0","id":1,"params":{"name":"a"},"method":"tools/call","params":{}}`, inspect.ErrAmbiguous},
		"another case":             {rpc("tools/call", `{"name":"a","NAME":"b"}`), inspect.ErrAmbiguous},
		"another case of a method": {`{"jsonrpc":"2.0","id":1,"method":"ping","Method":"tools/call"}`, inspect.ErrAmbiguous},
		"a long s in params":       {`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a"},"param\u017f":{}}`, inspect.ErrAmbiguous},
		"half a pair":              {rpc("tools/call", `{"name":"\ud800"}`), inspect.ErrAmbiguous},
		"NUL":                      {rpc("tools/call", `{"name":"a\u0000b"}`), inspect.ErrAmbiguous},
	} {
		got, err := asksOf(t, post(), tt.content)
		if !errors.Is(err, tt.kind) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
		if _, ok := errors.AsType[*inspect.Error](err); !ok {
			t.Errorf("%s: %T", name, err)
		}
	}
}

func TestHeads(t *testing.T) {
	for name, h := range map[string]*l7.RequestHead{
		"a form":     head("POST", "content-type", "application/x-www-form-urlencoded"),
		"a text":     head("POST", "content-type", "text/plain"),
		"two types":  post("content-type", "application/json"),
		"two in one": head("POST", "content-type", "application/json, text/plain"),
		"UTF-16":     head("POST", "content-type", "application/json; charset=utf-16"),
	} {
		r, _ := Protocol{}.Request(h)
		if _, err := r.Write([]byte(rpc("ping", ""))); !errors.Is(err, inspect.ErrUnreadable) || !errors.Is(r.End(), inspect.ErrUnreadable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, h := range map[string]*l7.RequestHead{
		"no type": head("POST"), "a charset": head("POST", "content-type", "Application/JSON; charset=UTF-8"), "another JSON": head("POST", "content-type", "application/vnd.x+json"),
	} {
		if got, err := asksOf(t, h, rpc("ping", "")); err != nil || len(got) != 1 {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}

// s1 are the first digits of what sha256sum says of the text "s1".
const s1 = "e8bc163c82eee187"

func TestNoContent(t *testing.T) {
	for _, tt := range []struct {
		head *l7.RequestHead
		want inspect.Ask
	}{
		{head("GET", "accept", "text/event-stream"), inspect.Ask{Operation: Listen, Streamed: inspect.Yes, MaxTokens: -1}},
		{head("GET", "mcp-session-id", "s1"), inspect.Ask{Operation: Listen, Streamed: inspect.Yes, MaxTokens: -1, Session: s1}},
		{head("DELETE", "mcp-session-id", "s1"), inspect.Ask{Operation: EndSession, MaxTokens: -1, Session: s1}},
		{head("OPTIONS"), inspect.Ask{MaxTokens: -1}},
	} {
		r, got := Protocol{}.Request(tt.head)
		if diff := cmp.Diff(tt.want, got); diff != "" || r != nil {
			t.Errorf("%s: %v (-want +got):\n%s", tt.head.Method, r, diff)
		}
	}
}

func TestSession(t *testing.T) {
	r, early := Protocol{}.Request(post("mcp-session-id", "s1"))
	r.Write([]byte(rpc("ping", "")))
	if got := r.Asks()[0].Session; got != s1 || early.Session != s1 {
		t.Errorf("session %q, %q", got, early.Session)
	}
	if _, two := (Protocol{}).Request(post("mcp-session-id", "s1", "mcp-session-id", "s2")); two.Session == s1 {
		t.Error("two sessions are as one")
	}
}

// What is told before a request has ended, and when.
func TestTold(t *testing.T) {
	for _, tt := range []struct {
		before, after string // what is told once the last byte of before is read
		want          string
	}{
		{`{"method":"tools/call","params":{"name":"add"`, `,"arguments":{}},"jsonrpc":"2.0","id":3}`, "call_tool add"},
		{`{"id":3,"params":{"name":"add"},"method":"tools/call"`, `,"jsonrpc":"2.0"}`, "call_tool add 3"},
		{`{"method":"tools/list"`, `,"jsonrpc":"2.0","id":3}`, "list_tools"},
		{`{"method":"x/y","id":"3"`, `,"jsonrpc":"2.0"}`, `x/y  "3"`},
		{`{"method":"x/y","jsonrpc":"2.0"}`, ``, "notify"},
		{`{"method":"notifications/progress"`, `,"jsonrpc":"2.0"}`, "notify"},
		{`{"id":3,"result":{`, `},"jsonrpc":"2.0"}`, "respond"},
	} {
		r, _ := Protocol{}.Request(post())
		last := len(tt.before) - 1
		r.Write([]byte(tt.before[:last]))
		if asks := r.Asks(); len(asks) > 0 || r.Settled() {
			t.Errorf("%s: told too early: %+v", tt.before, asks)
		}
		r.Write([]byte(tt.before[last:]))
		if got := found(r.Asks()); len(got) != 1 || got[0] != tt.want || !r.Settled() {
			t.Errorf("%s: %q, want %q", tt.before, got, tt.want)
		}
		if _, err := r.Write([]byte(tt.after)); err != nil || r.End() != nil {
			t.Errorf("%s: %v", tt.before, err)
		}
	}
}

func BenchmarkRequest(b *testing.B) {
	for name, content := range map[string]string{
		"call":  `{"method":"tools/call","params":{"name":"add","arguments":{"a":1,"b":2},"_meta":{"progressToken":1}},"jsonrpc":"2.0","id":3}`,
		"image": rpc("tools/call", `{"name":"see","arguments":{"image":"`+strings.Repeat("iVBORw0KGgo", 100_000)+`"}}`),
	} {
		b.Run(name, func(b *testing.B) {
			h, p := post(), []byte(content)
			b.SetBytes(int64(len(p)))
			b.ReportAllocs()
			for b.Loop() {
				r, _ := Protocol{}.Request(h)
				for rest := p; len(rest) > 0; {
					n := min(len(rest), 32<<10)
					r.Write(rest[:n])
					rest = rest[n:]
				}
				if err := r.End(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
