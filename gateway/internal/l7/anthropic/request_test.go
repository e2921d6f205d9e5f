package anthropic

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/inspect"
)

func asked(method, path string) *l7.RequestHead {
	return &l7.RequestHead{Method: method, Path: path, Fields: l7.Fields{{Name: "content-type", Value: "application/json"}}}
}

// ask is an Ask of what a test names.
func ask(operation, model string, streamed inspect.Truth, most int64, offered ...string) inspect.Ask {
	return inspect.Ask{Operation: operation, Model: model, Streamed: streamed, MaxTokens: most, Offered: offered}
}

// read gives a request its content in pieces of n bytes. It holds that what is told
// only gains.
func read(t *testing.T, head *l7.RequestHead, content string, n int) ([]inspect.Ask, error) {
	t.Helper()
	r, first := Protocol{}.Request(head)
	if r == nil {
		t.Fatalf("%s %s is not read", head.Method, head.Path)
	}
	if asks := r.Asks(); first.Operation != CreateBatch && (len(asks) != 1 || cmp.Diff(asks[0], first) != "") {
		t.Fatalf("at first it asks for %+v, not %+v", asks, first)
	}
	for rest := content; rest != ""; {
		piece := rest[:min(n, len(rest))]
		before, settled := append([]inspect.Ask(nil), r.Asks()...), r.Settled()
		if _, err := r.Write([]byte(piece)); err != nil {
			if _, again := r.Write(nil); again != err || r.End() != err { //nolint:errorlint // the same
				t.Fatalf("%v is not final", err)
			}
			return nil, err
		}
		if first.Operation == CreateBatch && (len(r.Asks()) > 0 || r.Settled()) {
			t.Fatalf("a batch asks for %+v before its end", r.Asks())
		}
		gains(t, before, r.Asks())
		if settled && cmp.Diff(before, r.Asks()) != "" {
			t.Fatalf("settled, %+v became %+v", before, r.Asks())
		}
		rest = rest[len(piece):]
	}
	err := r.End()
	if !r.Settled() {
		t.Fatal("not settled at the end")
	}
	if err != nil {
		if first.Operation == CreateBatch && len(r.Asks()) > 0 {
			t.Fatalf("a batch that failed asks for %+v", r.Asks())
		}
		return nil, err
	}
	return r.Asks(), nil
}

func gains(t *testing.T, before, after []inspect.Ask) {
	t.Helper()
	for i, b := range before {
		if len(after) <= i {
			t.Fatalf("%+v became %+v", before, after)
		}
		a := after[i]
		if b.Model != "" && a.Model != b.Model || b.MaxTokens >= 0 && a.MaxTokens != b.MaxTokens ||
			b.Streamed != inspect.Unknown && a.Streamed != b.Streamed || len(a.Offered) < len(b.Offered) {
			t.Fatalf("%+v became %+v", b, a)
		}
	}
}

// readEvery reads a content whole and byte by byte, and wants the same.
func readEvery(t *testing.T, head *l7.RequestHead, content string) ([]inspect.Ask, error) {
	t.Helper()
	asks, err := read(t, head, content, max(1, len(content)))
	bytewise, errBytewise := read(t, head, content, 1)
	if diff := cmp.Diff(asks, bytewise); diff != "" || fmt.Sprint(err) != fmt.Sprint(errBytewise) {
		t.Errorf("%.100q (-whole +bytewise): %s\n%v, %v", content, diff, err, errBytewise)
	}
	return asks, err
}

func TestRoute(t *testing.T) {
	const no = inspect.No
	for _, tt := range []struct {
		method, path string
		want         inspect.Ask
	}{
		{"POST", "/v1/messages", ask(Chat, "", inspect.Unknown, -1)},
		{"POST", "/v1/messages?beta=true", ask(Chat, "", inspect.Unknown, -1)},
		{"POST", "/v1/%6dessages", ask(Chat, "", inspect.Unknown, -1)},
		{"POST", "/v1/messages/count_tokens", ask(CountTokens, "", no, -1)},
		{"GET", "/v1/models", ask(ListModels, "", no, -1)},
		{"GET", "/v1/models?limit=20", ask(ListModels, "", no, -1)},
		{"GET", "/v1/models/claude-opus-5-5", ask(GetModel, "claude-opus-5-5", no, -1)},
		{"GET", "/v1/models/a%20b%3Fc", ask(GetModel, "a b?c", no, -1)},
		{"POST", "/v1/messages/batches", ask(CreateBatch, "", no, -1)},
		{"GET", "/v1/messages/batches?limit=1", ask(ListBatches, "", no, -1)},
		{"GET", "/v1/messages/batches/msgbatch_1", ask(GetBatch, "", no, -1)},
		{"DELETE", "/v1/messages/batches/msgbatch_1", ask(DeleteBatch, "", no, -1)},
		{"POST", "/v1/messages/batches/msgbatch_1/cancel", ask(CancelBatch, "", no, -1)},
		{"GET", "/v1/messages/batches/msgbatch_1/results", ask(BatchResults, "", no, -1)},
	} {
		r, got := Protocol{}.Request(asked(tt.method, tt.path))
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s %s (-want +got):\n%s", tt.method, tt.path, diff)
		}
		if reads := tt.want.Operation == Chat || tt.want.Operation == CountTokens || tt.want.Operation == CreateBatch; (r != nil) != reads {
			t.Errorf("%s %s: %v reads it", tt.method, tt.path, r)
		}
	}
}

func TestNoRoute(t *testing.T) {
	for _, line := range []string{
		"GET /v1/messages", "PUT /v1/messages", "post /v1/messages", "POST /v1/messages/", "POST //v1/messages", "POST /v1//messages",
		"POST /v1/./messages", "POST /v1/x/../messages", "POST /v1/%2e%2e/messages", "POST /v1/messages%2Fcount_tokens", "POST /V1/messages",
		"POST /v1/Messages", "POST /v1/complete", "POST /v1/messages/x", "GET /v1/models/", "GET /v1/models/a/b", "GET /v1/models/a%2Fb",
		"GET /v1/models/a%00b", "GET /v1/models/%ff", "GET /v1/models/%zz", "POST /v1/models/a", "HEAD /v1/models",
		"GET /v1/models/" + strings.Repeat("m", inspect.MaxText+1), "PUT /v1/messages/batches", "POST /v1/messages/batches/b",
		"GET /v1/messages/batches/b/cancel", "POST /v1/messages/batches/b/results", "GET /v1/messages/batches/b/results/c", "GET /", "GET ",
		"OPTIONS *", "POST /v1", "POST /v1/", "CONNECT ", "GET /v1/files", "POST /anthropic/v1/messages",
	} {
		method, path, _ := strings.Cut(line, " ")
		if r, got := (Protocol{}).Request(asked(method, path)); r != nil || cmp.Diff(inspect.NewAsk(), got) != "" {
			t.Errorf("%s: %+v", line, got)
		}
	}
}

func TestRequest(t *testing.T) {
	const chat, count, batch = "/v1/messages", "/v1/messages/count_tokens", "/v1/messages/batches"
	const yes, no = inspect.Yes, inspect.No
	for _, tt := range []struct {
		name, path, content string
		want                []inspect.Ask
	}{
		{"message", chat, `{"model":"claude-opus-5-5","max_tokens":1024,"messages":[{"role":"user","content":"Hi"}]}`, []inspect.Ask{ask(Chat, "claude-opus-5-5", no, 1024)}},
		{"stream", chat, `{"stream":true,"max_tokens":0,"model":"m"}`, []inspect.Ask{ask(Chat, "m", yes, 0)}},
		{"no stream", chat, `{"stream":false,"model":"m"}`, []inspect.Ask{ask(Chat, "m", no, -1)}},
		{"nulls", chat, `{"stream":null,"model":"m","max_tokens":null,"tools":null,"fallbacks":null,"messages":null}`, []inspect.Ask{ask(Chat, "m", no, -1)}},
		{"nothing", chat, ` {} `, []inspect.Ask{ask(Chat, "", no, -1)}},
		{"escapes", chat, `{"mod\u0065l":"\u006d\ud83d\ude00","\u0073tream":true}`, []inspect.Ask{ask(Chat, "m😀", yes, -1)}},
		{"elsewhere", chat, `{"messages":[{"model":"x","stream":true,"content":[{"model":"x","tools":[{"name":"t"}]}]}],"metadata":{"model":"x","model":"y"},"model":"m"}`, []inspect.Ask{ask(Chat, "m", no, -1)}},
		{"halves where nobody asks", chat, `{"system":"\ud83d","model":"m"}`, []inspect.Ask{ask(Chat, "m", no, -1)}},
		{
			"tools", chat, `{"model":"m","tools":[{"name":"look_up","input_schema":{"name":"no"}},{"type":"bash_20250124","name":"bash"},{"type":"mcp_toolset"},{"name":null},{"name":"` + strings.Repeat("n", inspect.MaxText+1) + `"}]}`,
			[]inspect.Ask{ask(Chat, "m", no, -1, "look_up", "bash")},
		},
		{"query", chat + "?beta=true&model=m", `{"model":"m"}`, []inspect.Ask{ask(Chat, "m", no, -1)}},
		{"query twice", chat + "?model=%6d&model=m", `{"model":"m"}`, []inspect.Ask{ask(Chat, "m", no, -1)}},
		{
			"fallbacks", chat, `{"fallbacks":[{"model":"b"},{"max_tokens":7,"model":"c"},{"model":"d","max_tokens":null}],"max_tokens":5,"stream":true,"model":"a"}`,
			[]inspect.Ask{ask(Chat, "a", yes, 5), ask(Chat, "b", yes, 5), ask(Chat, "c", yes, 7), ask(Chat, "d", yes, 5)},
		},
		{"a fallback of the service's", chat, `{"model":"a","fallbacks":"default"}`, []inspect.Ask{ask(Chat, "a", no, -1), ask(Chat, Default, no, -1)}},
		{
			"advisor", chat, `{"model":"a","max_tokens":5,"tools":[{"name":"t"},{"type":"advisor_20260301","name":"advisor","model":"b"},{"name":"u","model":null},{"max_tokens":3,"model":"c"}]}`,
			[]inspect.Ask{ask(Chat, "a", no, 5, "t", "advisor", "u"), ask(Chat, "b", no, -1), ask(Chat, "c", no, 3)},
		},
		{
			"tools that messages add", chat,
			`{"model":"a","messages":[{"content":"x"},{"content":[{"type":"text","text":"x"},{"type":"tool_addition","tool":{"type":"tool_definition","definition":{"name":"advisor","model":"b"}}}]},{"content":[{"tool":{"definition":{"name":"t"}}}]}]}`,
			[]inspect.Ask{ask(Chat, "a", no, -1, "advisor", "t"), ask(Chat, "b", no, -1)},
		},
		{"count", count, `{"model":"m","messages":[],"stream":true,"max_tokens":3,"tools":[{"name":"t"}]}`, []inspect.Ask{ask(CountTokens, "m", no, -1, "t")}},
		{
			"batch", batch, `{"requests":[{"custom_id":"1","params":{"model":"a","max_tokens":1}},{"params":{"max_tokens":2,"model":"b","stream":true,"tools":[{"name":"t"}]},"custom_id":"2"},{"custom_id":"3"}]}`,
			[]inspect.Ask{ask(CreateBatch, "a", no, 1), ask(CreateBatch, "b", no, 2, "t"), ask(CreateBatch, "", no, -1)},
		},
		{
			"batch with other models", batch, `{"requests":[{"params":{"model":"a","fallbacks":[{"model":"x"}]}},{"params":{"model":"b","tools":[{"model":"y"}]}}]}`,
			[]inspect.Ask{ask(CreateBatch, "a", no, -1), ask(CreateBatch, "x", no, -1), ask(CreateBatch, "b", no, -1), ask(CreateBatch, "y", no, -1)},
		},
		{"batch of nothing", batch, `{"requests":[]}`, []inspect.Ask{ask(CreateBatch, "", no, -1)}},
		{"no batch", batch, `{}`, []inspect.Ask{ask(CreateBatch, "", no, -1)}},
		{"batch with a query", batch + "?model=m", `{"requests":[{"params":{"model":"m"}},{"params":{"model":"m"}}]}`, []inspect.Ask{ask(CreateBatch, "m", no, -1), ask(CreateBatch, "m", no, -1)}},
		{"deep", chat, `{"messages":` + strings.Repeat("[", 250) + strings.Repeat("]", 250) + `,"model":"m"}`, []inspect.Ask{ask(Chat, "m", no, -1)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := readEvery(t, asked("POST", tt.path), tt.content)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tt.content, diff)
			}
		})
	}
}

func TestRequestRefused(t *testing.T) {
	const chat, batch = "/v1/messages", "/v1/messages/batches"
	items := func(n int, item string) string {
		return `{"requests":[` + strings.TrimSuffix(strings.Repeat(item+",", n), ",") + `]}`
	}
	for _, tt := range []struct {
		name, path, content string
		want                error
	}{
		{"empty", chat, ``, inspect.ErrUnreadable},
		{"cut", chat, `{"model":"m"`, inspect.ErrUnreadable},
		{"more", chat, `{"model":"m"}{}`, inspect.ErrUnreadable},
		{"array", chat, `[{"model":"m"}]`, inspect.ErrUnreadable},
		{"string", chat, `"m"`, inspect.ErrUnreadable},
		{"byte order mark", chat, "\ufeff{\"model\":\"m\"}", inspect.ErrUnreadable},
		{"UTF-16", chat, "{\x00\"\x00", inspect.ErrUnreadable},
		{"not UTF-8", chat, "{\"model\":\"m\",\"x\":\"\xff\"}", inspect.ErrUnreadable},
		{"comment", chat, `{"model":"m"/**/}`, inspect.ErrUnreadable},
		{"model twice", chat, `{"model":"a","model":"b"}`, inspect.ErrAmbiguous},
		{"model twice, once escaped", chat, `{"model":"a","m\u006fdel":"a"}`, inspect.ErrAmbiguous},
		{"model in another case", chat, `{"model":"a","Model":"b"}`, inspect.ErrAmbiguous},
		{"stream in another case", chat, `{"STREAM":true}`, inspect.ErrAmbiguous},
		{"max_tokens with a long s", chat, `{"max_token\u017f":1}`, inspect.ErrAmbiguous},
		{"tools twice", chat, `{"tools":[],"tools":[{"model":"x"}]}`, inspect.ErrAmbiguous},
		{"messages twice", chat, `{"messages":[],"messages":[]}`, inspect.ErrAmbiguous},
		{"U+0000 in a model", chat, `{"model":"a\u0000b"}`, inspect.ErrAmbiguous},
		{"half a pair in a model", chat, `{"model":"\ud83d"}`, inspect.ErrAmbiguous},
		{"control character in a model", chat, `{"model":"a\nb"}`, inspect.ErrUnreadable},
		{"model is null", chat, `{"model":null}`, inspect.ErrUnreadable},
		{"model is an array", chat, `{"model":["m"]}`, inspect.ErrUnreadable},
		{"model is long", chat, `{"model":"` + strings.Repeat("m", inspect.MaxText+1) + `"}`, inspect.ErrUnreadable},
		{"model is very long", chat, `{"model":"` + strings.Repeat("m", 10_000) + `"}`, inspect.ErrUnreadable},
		{"stream is a word", chat, `{"stream":"true"}`, inspect.ErrUnreadable},
		{"stream is a number", chat, `{"stream":1}`, inspect.ErrUnreadable},
		{"max_tokens is a fraction", chat, `{"max_tokens":1.5}`, inspect.ErrUnreadable},
		{"max_tokens is a power", chat, `{"max_tokens":1e3}`, inspect.ErrUnreadable},
		{"max_tokens is negative", chat, `{"max_tokens":-1}`, inspect.ErrUnreadable},
		{"max_tokens is a string", chat, `{"max_tokens":"5"}`, inspect.ErrUnreadable},
		{"max_tokens is too much", chat, `{"max_tokens":9223372036854775808}`, inspect.ErrUnreadable},
		{"too deep", chat, `{"x":` + strings.Repeat("[", 300), inspect.ErrUnreadable},
		{"fallbacks in another word", chat, `{"fallbacks":"other"}`, inspect.ErrUnreadable},
		{"a fallback that is a word", chat, `{"fallbacks":["m"]}`, inspect.ErrUnreadable},
		{"a fallback's model twice", chat, `{"fallbacks":[{"model":"a","model":"b"}]}`, inspect.ErrAmbiguous},
		{"a tool's model is a number", chat, `{"tools":[{"model":1}]}`, inspect.ErrUnreadable},
		{"too many fallbacks", chat, `{"fallbacks":[` + strings.Repeat(`{"model":"m"},`, inspect.MaxAsks) + `{}]}`, inspect.ErrUnreadable},
		{"another model in the query", chat + "?model=a", `{"model":"b"}`, inspect.ErrAmbiguous},
		{"a model in the query alone", chat + "?model=a", `{}`, inspect.ErrAmbiguous},
		{"two models in the query", chat + "?model=a&model=b", `{"model":"a"}`, inspect.ErrAmbiguous},
		{"another case in the query", chat + "?Model=a", `{"model":"a"}`, inspect.ErrAmbiguous},
		{"an escape in the query", chat + "?mod%65l=b", `{"model":"a"}`, inspect.ErrAmbiguous},
		{"a semicolon in the query", chat + "?x=1;model=a", `{"model":"a"}`, inspect.ErrAmbiguous},
		{"no model in the query", chat + "?model=", `{"model":"a"}`, inspect.ErrAmbiguous},
		{"a bad escape in the query", chat + "?%zz=a", `{"model":"a"}`, inspect.ErrUnreadable},
		{"requests is an object", batch, `{"requests":{"params":{"model":"m"}}}`, inspect.ErrUnreadable},
		{"a request is a string", batch, `{"requests":["m"]}`, inspect.ErrUnreadable},
		{"params is an array", batch, `{"requests":[{"params":[{"model":"m"}]}]}`, inspect.ErrUnreadable},
		{"params twice", batch, `{"requests":[{"params":{},"params":{}}]}`, inspect.ErrAmbiguous},
		{"a batch that is too long", batch, items(inspect.MaxAsks+1, `{"params":{"model":"m"}}`), inspect.ErrUnreadable},
		{"a batch of too many models", batch, items(inspect.MaxAsks/2+1, `{"params":{"model":"m","fallbacks":"default"}}`), inspect.ErrUnreadable},
		{"another model in a batch's query", batch + "?model=a", `{"requests":[{"params":{"model":"a"}},{"params":{"model":"b"}}]}`, inspect.ErrAmbiguous},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := readEvery(t, asked("POST", tt.path), tt.content)
			if !errors.Is(err, tt.want) {
				t.Errorf("%.100s: %v, want %v", tt.content, err, tt.want)
			}
			if _, ok := errors.AsType[*inspect.Error](err); !ok {
				t.Errorf("%T", err)
			}
		})
	}
	if asks, err := readEvery(t, asked("POST", batch), items(inspect.MaxAsks, `{"params":{"model":"m"}}`)); err != nil || len(asks) != inspect.MaxAsks {
		t.Errorf("a batch that is not too long: %d, %v", len(asks), err)
	}
}

func TestContentType(t *testing.T) {
	for _, tt := range []struct {
		fields []string
		ok     bool
	}{
		{[]string{"application/json"}, true},
		{[]string{"Application/JSON; charset=UTF-8"}, true},
		{[]string{`application/json;charset="utf-8"; x=y`}, true},
		{[]string{"application/vnd.x+json"}, true},
		{nil, false},
		{[]string{""}, false},
		{[]string{"text/plain"}, false},
		{[]string{"text/json"}, false},
		{[]string{"application/jsonp"}, false},
		{[]string{"application/json, text/plain"}, false},
		{[]string{"application/json; charset=utf-16"}, false},
		{[]string{"application/json; charset=utf-8; charset=utf-16"}, false},
		{[]string{"application/json", "application/json"}, false},
		{[]string{"text/event-stream"}, false},
	} {
		head := &l7.RequestHead{Method: "POST", Path: "/v1/messages"}
		for _, value := range tt.fields {
			head.Fields = append(head.Fields, l7.Field{Name: "content-type", Value: value})
		}
		_, err := readEvery(t, head, `{"model":"m"}`)
		if tt.ok != (err == nil) || err != nil && !errors.Is(err, inspect.ErrUnreadable) {
			t.Errorf("%q: %v", tt.fields, err)
		}
	}
}

// TestOffered: of more tools than can be told, the first are.
func TestOffered(t *testing.T) {
	content := `{"model":"m","tools":[` + strings.Repeat(`{"name":"t"},`, inspect.MaxOffered) + `{"name":"one too many"}]}`
	asks, err := readEvery(t, asked("POST", "/v1/messages"), content)
	if err != nil || len(asks[0].Offered) != inspect.MaxOffered || asks[0].Offered[inspect.MaxOffered-1] != "t" {
		t.Errorf("%+v, %v", asks, err)
	}
}
