package agree

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
)

// post is a request with fields given as names and values.
func post(fields ...string) *l7.RequestHead {
	h := &l7.RequestHead{Method: "POST", Scheme: "https", Authority: "a.b", Path: "/x"}
	for i := 0; i < len(fields); i += 2 {
		h.Fields = append(h.Fields, l7.Field{Name: fields[i], Value: fields[i+1]})
	}
	return h
}

func ofModel(fields ...string) *l7.RequestHead {
	return post(append([]string{"content-type", "application/json"}, fields...)...)
}

func ofMCP(fields ...string) *l7.RequestHead {
	return ofModel(append([]string{"mcp-protocol-version", "2026-07-28"}, fields...)...)
}

func call(fields ...string) *l7.RequestHead {
	return ofMCP(append([]string{"mcp-method", "tools/call"}, fields...)...)
}

// verdict is what a check comes to on content in pieces of n bytes.
func verdict(c *Check, content string, n int) error {
	for content != "" {
		piece := content[:min(n, len(content))]
		if _, err := c.Write([]byte(piece)); err != nil {
			return err
		}
		content = content[len(piece):]
	}
	return c.End()
}

// compared is the verdict on a request, which must be the same however its
// content is cut.
func compared(t *testing.T, head *l7.RequestHead, content string) (*Check, error) {
	t.Helper()
	c := New(head)
	if c == nil {
		t.Fatal("there is something to compare, and New is nil")
	}
	err := verdict(c, content, len(content))
	for n := 1; n < min(len(content), 40); n++ {
		again := New(head)
		if cut := verdict(again, content, n); text(cut) != text(err) {
			t.Errorf("in pieces of %d: %v, want %v", n, cut, err)
		}
		if got, want := said(again), said(c); got != want {
			t.Errorf("in pieces of %d: %q, want %q", n, got, want)
		}
	}
	return c, err
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func said(c *Check) [3]string { return [3]string{c.Model(), c.Method(), c.Name()} }

func TestNothingToCompare(t *testing.T) {
	for name, head := range map[string]*l7.RequestHead{
		"no claim":             ofModel(),
		"an older version":     ofModel("mcp-protocol-version", "2025-11-25"),
		"no version at all":    ofModel("mcp-protocol-version", "latest"),
		"nearly a version":     ofModel("mcp-protocol-version", "2026-07-28x"),
		"sorts as later":       ofModel("mcp-protocol-version", "2026-O7-28"),
		"slashes":              ofModel("mcp-protocol-version", "2026/07/28"),
		"a dash for a digit":   ofModel("mcp-protocol-version", "2026--7-28"),
		"a parameter alone":    ofModel("mcp-param-region", "us-west1"),
		"not a POST":           {Method: "GET", Path: "/", Fields: l7.Fields{{Name: "mcp-protocol-version", Value: "2026-07-28"}, {Name: "accept", Value: "text/event-stream"}}},
		"a CONNECT":            {Method: "CONNECT", Authority: "a:1", Fields: l7.Fields{{Name: "x-model", Value: "m"}}},
		"a form with a model":  post("content-type", "multipart/form-data; boundary=x", "x-model", "m"),
		"a gRPC call":          post("content-type", "application/grpc+json", "x-model", "m"),
		"lines of JSON":        post("content-type", "application/x-ndjson", "x-model", "m"),
		"compressed, no claim": ofModel("content-encoding", "gzip"),
		"a sound":              post("content-type", "audio/mp4", "x-model", "m"),
		"a compressed form":    post("content-type", "multipart/form-data; boundary=x", "content-encoding", "gzip", "x-model", "m"),
		"a model's override":   ofModel("x-gateway-model-name-rewrite", "m", "helicone-model-override", "m"),
	} {
		if New(head) != nil {
			t.Errorf("%s: New is not nil", name)
		}
	}
}

func TestAgree(t *testing.T) {
	const tool = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"add","arguments":{"name":"x","method":"y"}}}`
	for _, tt := range []struct {
		name    string
		head    *l7.RequestHead
		content string
		want    [3]string // model, method, name
	}{
		{"model", ofModel("x-model", "gpt-5"), `{"messages":[{"model":"x"}],"model":"gpt-5"}`, [3]string{"gpt-5"}},
		{"escaped", ofModel("x-model", "gpt-5"), `{"mod\u0065l":"gpt\u002d5"}`, [3]string{"gpt-5"}},
		{"model of several fields", ofModel("x-ai-eg-model", "m", "x-gateway-model-name", "m", "x-model", "m"), `{"model":"m"}`, [3]string{"m"}},
		{"model in the head alone", ofModel("x-model", "gpt-5"), `{"input":"x"}`, [3]string{}},
		{"model of no object", ofModel("x-model", "gpt-5"), `[{"model":"x"}]`, [3]string{}},
		{"no content", ofModel("x-model", "gpt-5"), ``, [3]string{}},
		{"no type", post("x-model", "m"), `{"model":"m"}`, [3]string{"m"}},
		{"charset", post("content-type", `Application/JSON; v=1; Charset="UTF-8"`, "x-model", "m"), `{"model":"m"}`, [3]string{"m"}},
		{"suffix", post("content-type", `application/vnd.x+json`, "x-model", "m"), `{"model":"m"}`, [3]string{"m"}},
		{"id of two", ofModel("x-model", "m"), `{"id":1,"id":2,"model":"m","Method":1}`, [3]string{"m"}},
		{"tool", call("mcp-name", "add"), tool, [3]string{"", "tools/call", "add"}},
		{"later version", post("content-type", "application/json", "mcp-protocol-version", "2027-01-01", "mcp-method", "ping"), `{"method":"ping"}`, [3]string{"", "ping", ""}},
		{"method last", call("mcp-name", "add"), `{"params":{"name":"add"},"method":"tools/call"}`, [3]string{"", "tools/call", "add"}},
		{
			"name in Base64", call("mcp-name", "=?base64?"+base64.StdEncoding.EncodeToString([]byte("é\n"))+"?="),
			`{"method":"tools/call","params":{"name":"\u00e9\n"}}`,
			[3]string{"", "tools/call", "é\n"},
		},
		{"empty name", call("mcp-name", ""), `{"method":"tools/call","params":{"name":""}}`, [3]string{"", "tools/call", ""}},
		{"prompt", ofMCP("mcp-method", "prompts/get", "mcp-name", "p"), `{"method":"prompts/get","params":{"name":"p"}}`, [3]string{"", "prompts/get", "p"}},
		{
			"resource", ofMCP("mcp-method", "resources/read", "mcp-name", "file:///a"),
			`{"method":"resources/read","params":{"uri":"file:///a","name":"other"}}`,
			[3]string{"", "resources/read", "file:///a"},
		},
		{"task", ofMCP("mcp-method", "tasks/get", "mcp-name", "t1"), `{"method":"tasks/get","params":{"taskId":"t1"}}`, [3]string{"", "tasks/get", "t1"}},
		{"task unnamed", ofMCP("mcp-method", "tasks/get"), `{"method":"tasks/get","params":{"taskId":"t1"}}`, [3]string{"", "tasks/get", ""}},
		{"list", ofMCP("mcp-method", "tools/list"), `{"method":"tools/list"}`, [3]string{"", "tools/list", ""}},
		{
			"version in both", ofMCP("mcp-method", "tools/list"),
			`{"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}`,
			[3]string{"", "tools/list", ""},
		},
		{"older version", ofModel("mcp-protocol-version", "2025-11-25", "mcp-method", "tools/call", "mcp-name", "add"), tool, [3]string{"", "tools/call", "add"}},
		{"older version without a name", ofModel("mcp-method", "tools/call"), tool, [3]string{"", "tools/call", ""}},
		{"name alone", ofModel("mcp-name", "add"), tool, [3]string{"", "", "add"}},
		{"another method's name", ofMCP("mcp-method", "x/y", "mcp-name", "n"), `{"method":"x/y","params":{"name":"n"}}`, [3]string{"", "x/y", "n"}},
		{"another method's URI", ofMCP("mcp-method", "x/y", "mcp-name", "n"), `{"method":"x/y","params":{"uri":"n","name":"n"}}`, [3]string{"", "x/y", "n"}},
		{"tab in a name", call("mcp-name", "a\tb"), "{\"method\":\"tools/call\",\"params\":{\"name\":\"a\\tb\"}}", [3]string{"", "tools/call", "a\tb"}},
		{"notification", ofMCP(), `{"method":"notifications/x"}`, [3]string{}},
		{"notification that is repeated", ofMCP("mcp-method", "notifications/x"), `{"method":"notifications/x"}`, [3]string{"", "notifications/x", ""}},
		{"text", post("content-type", "text/plain", "x-model", "m"), `{"model":"m"}`, [3]string{"m"}},
		{"text that is no JSON", post("content-type", "text/plain; charset=utf-8", "x-model", "m"), `the model is "n"`, [3]string{}},
		{"text that is no JSON any more", post("content-type", "text/plain", "x-model", "m"), `{"model":"m"} or so`, [3]string{}},
		{"form", post("content-type", "application/x-www-form-urlencoded", "x-model", "m"), `model=n`, [3]string{}},
		{"both kinds", ofMCP("mcp-method", "x", "x-model", "m"), `{"method":"x","model":"m"}`, [3]string{"m", "x", ""}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := compared(t, tt.head, tt.content)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, said(c)); diff != "" {
				t.Errorf("model, method, name (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	const disagree, undecidable = "head and content disagree: ", "head and content cannot be compared: "
	const tool = `{"id":1,"method":"tools/call","params":{"name":"add"}}`
	for _, tt := range []struct {
		name    string
		head    *l7.RequestHead
		content string
		want    string // the error begins so
	}{
		{"model", ofModel("x-model", "small"), `{"model":"large"}`, disagree + `x-model is "small", /model is "large"`},
		{"model case", ofModel("x-model", "m"), `{"model":"M"}`, disagree + `x-model is "m", /model is "M"`},
		{"model null", ofModel("x-model", "m"), `{"model":null}`, disagree + `x-model is "m", /model is not a string`},
		{"model twice", ofModel("x-model", "m"), `{"model":"m","x":{},"model":"m"}`, disagree + "the content is ambiguous: a key that matters comes twice"},
		{"model twice at the last byte", ofModel("x-model", "m"), `{"model":"m","mode\u006c":"n"}`, disagree + "the content is ambiguous"},
		{"model in another case", ofModel("x-model", "m"), `{"Model":"n"}`, disagree + "the content is ambiguous: a key that matters is spelt in another case"},
		{"models", ofModel("x-model", "a", "x-ai-eg-model", "b"), `{"model":"a"}`, disagree + `x-ai-eg-model is "b", x-model is "a"`},
		{"not JSON", ofModel("x-model", "m"), `{"model":"m",}`, undecidable + "the content is not JSON: not a key at byte 13"},
		{"cut off", ofModel("x-model", "m"), `{"model":"m"`, undecidable + "the content is not JSON: it ends too early"},
		{"space alone", ofModel("x-model", "m"), ` `, undecidable + "the content is not JSON"},
		{"two documents", ofModel("x-model", "m"), `{"model":"m"}{"model":"n"}`, undecidable + "the content is not JSON"},
		{"too deep", ofModel("x-model", "m"), strings.Repeat("[", 1000), undecidable + "the content is beyond a bound: nested too deep"},
		{"compressed", ofModel("x-model", "m", "content-encoding", "gzip"), "", undecidable + "the content is compressed"},
		{"another charset", post("content-type", "application/json; a=b; charset=utf-16", "x-model", "m"), "", undecidable + "the content is not in UTF-8"},
		{"two charsets", post("content-type", "application/json; charset=utf-8; charset=utf-7", "x-model", "m"), "", undecidable + "the content is not in UTF-8"},
		{"two types", post("content-type", "text/plain", "content-type", "application/json", "x-model", "m"), "", undecidable + "the content has more than one type"},
		{"two types in one", post("content-type", "text/plain, application/json", "x-model", "m"), "", undecidable + "the content has more than one type"},

		{"method", call("mcp-name", "add"), `{"method":"tools/list"}`, disagree + `mcp-method is "tools/call", /method is "tools/list"`},
		{"method after the name", call("mcp-name", "add"), `{"params":{"name":"add"},"method":"tools/list"}`, disagree + `mcp-method`},
		{"name", call("mcp-name", "add"), `{"method":"tools/call","params":{"name":"rm"}}`, disagree + `mcp-name is "add", /params/name is "rm"`},
		{"name in another place", call("mcp-name", "add"), `{"method":"tools/call","params":{"uri":"add"}}`, disagree + `mcp-name is "add", /params/name is not there`},
		{"name as an argument", call("mcp-name", "add"), `{"method":"tools/call","params":{"arguments":{"name":"add"}}}`, disagree + `mcp-name`},
		{"uri", ofMCP("mcp-method", "resources/read", "mcp-name", "a:b"), `{"method":"resources/read","params":{"name":"a:b","uri":"a:c"}}`, disagree + `mcp-name is "a:b", /params/uri is "a:c"`},
		{"no method in the content", call("mcp-name", "add"), `{"result":{}}`, disagree + `mcp-method is "tools/call", /method is not there`},
		{"no name in the content", call("mcp-name", "add"), `{"method":"tools/call","params":["add"]}`, disagree + `mcp-name is "add", /params/name is not there`},
		{"no method in the head", ofMCP("mcp-name", "add"), tool, disagree + "mcp-method is missing"},
		{"no name in the head", call(), tool, disagree + "mcp-name is missing"},
		{"no method in the head, id null", ofMCP(), `{"method":"x","id":null}`, disagree + "mcp-method is missing"},
		{"a name without meaning", ofMCP("mcp-method", "tools/list", "mcp-name", "add"), `{"method":"tools/list"}`, disagree + `mcp-name is "add", /params/name is not there`},
		{"one of two names", ofMCP("mcp-method", "x/y", "mcp-name", "n"), `{"method":"x/y","params":{"uri":"m","name":"n"}}`, disagree + `mcp-name is "n", /params/uri is "m"`},
		{"method, older version", ofModel("mcp-protocol-version", "2025-11-25", "mcp-method", "tools/list"), tool, disagree + `mcp-method is "tools/list"`},
		{"name, no version", ofModel("mcp-method", "tools/call", "mcp-name", "rm"), tool, disagree + `mcp-name is "rm", /params/name is "add"`},
		{"name alone", ofModel("mcp-name", "rm"), tool, disagree + `mcp-name is "rm", /params/name is "add"`},
		{"older version in the content", ofModel("mcp-protocol-version", "2025-11-25", "mcp-method", "x"), `{"method":"x","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}`, disagree + `mcp-protocol-version is "2025-11-25"`},
		{"text", post("content-type", "text/plain", "x-model", "m"), `{"model":"n"} or so`, disagree + `x-model is "m", /model is "n"`},
		{"form", post("content-type", "application/x-www-form-urlencoded", "x-model", "m"), `{"model":"n"}`, disagree + `x-model is "m", /model is "n"`},
		{"text with a mark", post("content-type", "text/plain", "x-model", "m"), "\ufeff{\"model\":\"n\"}", undecidable + "the content is not in UTF-8"},
		{"text in UTF-16", post("content-type", "text/plain", "x-model", "m"), "\x00{\x00}", undecidable + "the content is not in UTF-8"},
		{"JSON with a mark", ofModel("x-model", "m"), "\ufeff{\"model\":\"m\"}", undecidable + "the content is not JSON"},
		{"two versions", call("mcp-protocol-version", "2025-11-25", "mcp-name", "add"), tool, disagree + "mcp-protocol-version comes more than once"},
		{"two methods", call("mcp-method", "tools/list", "mcp-name", "add"), tool, disagree + "mcp-method comes more than once"},
		{"two names", call("mcp-name", "add", "mcp-name", "add"), tool, disagree + "mcp-name comes more than once"},
		{"version", ofMCP("mcp-method", "x"), `{"method":"x","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2025-11-25"}}}`, disagree + `mcp-protocol-version is "2026-07-28"`},
		{"batch", call("mcp-name", "add"), "[" + tool + "]", disagree + "the content is a batch"},
		{"no message", call("mcp-name", "add"), `"x"`, disagree + "the content is no JSON-RPC message"},
		{"no content", call("mcp-name", "add"), ``, undecidable + "the content is not JSON: it ends too early"},
		{"params twice", call("mcp-name", "add"), `{"params":{"name":"add"},"method":"tools/call","params":{}}`, disagree + "the content is ambiguous"},
		{"no JSON type", post("content-type", "text/plain", "mcp-protocol-version", "2026-07-28", "mcp-method", "x"), `{"method":"x"}`, undecidable + "the content is of no JSON type"},
		{"broken Base64", call("mcp-name", "=?base64?YWRk"), tool, disagree + "mcp-name is not well formed in its Base64 form"},
		{"loose Base64", call("mcp-name", "=?base64?YWR=?="), tool, disagree + "mcp-name is not well formed in its Base64 form"},
		{"shouted Base64", call("mcp-name", "=?BASE64?YWRk?="), tool, disagree + "mcp-name is not well formed in its Base64 form"},
		{"bare UTF-8", call("mcp-name", "é"), `{"method":"tools/call","params":{"name":"é"}}`, disagree + "mcp-name is neither ASCII"},
		{"Base64 taken as it is", call("mcp-name", "=?base64?YWRk?="), `{"method":"tools/call","params":{"name":"=?base64?YWRk?="}}`, disagree + `mcp-name is "add"`},
		{"model beside a message", ofMCP("mcp-method", "x", "x-model", "m"), `{"method":"x","model":"n"}`, disagree + `x-model is "m"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := compared(t, tt.head, tt.content)
			if !strings.HasPrefix(text(err), tt.want) {
				t.Fatalf("got  %v\nwant %s", err, tt.want)
			}
			kind := ErrDisagree
			if strings.HasPrefix(tt.want, undecidable) {
				kind = ErrUndecidable
			}
			if !errors.Is(err, kind) {
				t.Errorf("%v is not %v", err, kind)
			}
			if said(c) != [3]string{} {
				t.Errorf("a check that failed says %q", said(c))
			}
			if again := c.End(); !errors.Is(again, err) || !errors.Is(c.Err(), err) {
				t.Errorf("the error changed from %v to %v", err, again)
			}
		})
	}
}

func TestEarlyAndLate(t *testing.T) {
	c := New(ofModel("x-model", "m"))
	if _, err := c.Write([]byte(`{"model":"n"`)); !errors.Is(err, ErrDisagree) {
		t.Errorf("a contradiction is known as soon as it is read: %v", err)
	}
	if n, err := c.Write([]byte(`}`)); n != 0 || !errors.Is(err, ErrDisagree) {
		t.Errorf("Write after that = %d, %v", n, err)
	}
	c = New(ofModel("x-model", "m"))
	if _, err := c.Write([]byte(`{"model":"m"`)); err != nil || c.Model() != "" {
		t.Errorf("before the end: %v, model %q; want neither", err, c.Model())
	}
	if _, err := c.Write([]byte(`,"model":"m"}`)); !errors.Is(err, ErrDisagree) {
		t.Errorf("the second of two keys: %v", err)
	}
	if c := New(call()); c == nil || c.Err() == nil {
		t.Error("what the head alone tells is not known at once")
	}
	c = New(call("mcp-name", "add"))
	if _, err := c.Write([]byte(`{"method":"tools/call"}`)); !errors.Is(err, ErrDisagree) {
		t.Errorf("what is missing is known where the document is whole: %v", err)
	}
}

func TestLongValuesAreCut(t *testing.T) {
	long := strings.Repeat("é\n", 2000)
	c := New(ofModel("x-model", strings.Repeat("h", 5000)))
	_, err := c.Write([]byte(`{"model":"` + strings.ReplaceAll(long, "\n", `\n`) + `"}`))
	e, ok := errors.AsType[*Error](err)
	if !ok {
		t.Fatalf("%v (%T), want an *Error", err, err)
	}
	if got := e.Error(); len(got) > 500 || strings.ContainsAny(got, "\né") {
		t.Errorf("%d bytes: %s", len(got), got)
	}
	if e.Field != "x-model" || e.Member != "/model" || len(e.Header) != 5000 {
		t.Errorf("Error = %+v", e)
	}
}

func FuzzCheck(f *testing.F) {
	f.Add("2026-07-28", "tools/call", "add", "m", `{"method":"tools/call","params":{"name":"add"},"model":"m"}`, 3)
	f.Add("2026-07-28", "resources/read", "=?base64?YQ==?=", "", `{"method":"resources/read","params":{"uri":"a"}}`, 1)
	f.Add("", "", "", "m", `{"model":"m"}`, 2)
	f.Fuzz(func(t *testing.T, version, method, name, model, content string, n int) {
		head := ofModel("mcp-protocol-version", version, "mcp-method", method, "mcp-name", name, "x-model", model)
		c, cut := New(head), New(head)
		if c == nil {
			t.Fatal("a model is named, and New is nil")
		}
		err := verdict(c, content, max(1, len(content)))
		if again := verdict(cut, content, max(1, n)); text(again) != text(err) {
			t.Fatalf("in pieces of %d: %v, want %v", n, again, err)
		}
		if err != nil {
			return
		}
		want := members(content)
		if c.Model() != "" && want["model"] != c.Model() || c.Method() != "" && want["method"] != c.Method() {
			t.Fatalf("%q: %q, but encoding/json reads %v", content, said(c), want)
		}
		var loose struct{ Model, Method any } // keys in any case, the last of several
		if json.Unmarshal([]byte(content), &loose); loose.Model != nil && loose.Model != model {
			t.Fatalf("%q agrees with model %q", content, model)
		}
		if c.Method() != "" && loose.Method != c.Method() {
			t.Fatalf("%q agrees with method %q", content, c.Method())
		}
		if want["model"] != nil && want["model"] != model {
			t.Fatalf("%q agrees with model %q", content, model)
		}
	})
}
