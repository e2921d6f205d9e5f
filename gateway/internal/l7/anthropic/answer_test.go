package anthropic

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/inspect"
)

func answered(status int, media string) *l7.ResponseHead {
	return &l7.ResponseHead{Status: status, Fields: l7.Fields{{Name: "content-type", Value: media}}}
}

// hear passes an answer to an operation in pieces that cut gives the lengths of, and
// holds that it passes as it is.
func hear(t *testing.T, operation string, head *l7.ResponseHead, content string, cut func(rest int) int) *inspect.Said {
	t.Helper()
	a := Protocol{}.Answer([]inspect.Ask{{Operation: operation}}, head, nil)
	if a == nil {
		return nil
	}
	var out bytes.Buffer
	for rest := content; rest != ""; {
		n := min(cut(len(rest)), len(rest))
		p, err := a.Pass([]byte(rest[:n]))
		if err != nil {
			t.Fatal(err)
		}
		out.Write(p)
		rest = rest[n:]
	}
	p, err := a.End()
	if err != nil {
		t.Fatal(err)
	}
	if out.Write(p); out.String() != content {
		t.Fatalf("%q became %q", content, out.String())
	}
	return a.Said()
}

// hearEvery passes an answer whole, byte by byte, and in two pieces of every length,
// and wants the same each time.
func hearEvery(t *testing.T, operation string, head *l7.ResponseHead, content string) *inspect.Said {
	t.Helper()
	want := hear(t, operation, head, content, func(rest int) int { return rest })
	check := func(name string, got *inspect.Said) {
		t.Helper()
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s of %.100q (-whole +split):\n%s", name, content, diff)
		}
	}
	check("bytewise", hear(t, operation, head, content, func(int) int { return 1 }))
	for i := range content {
		first := true
		check(fmt.Sprint("split at ", i), hear(t, operation, head, content, func(rest int) int {
			if first && i > 0 {
				first = false
				return i
			}
			return rest
		}))
	}
	return want
}

// says is a Said of what a test names.
func says(with func(s *inspect.Said)) *inspect.Said {
	s := inspect.NewSaid()
	with(&s)
	return &s
}

// event is one of a stream.
func event(name, data string) string { return "event: " + name + "\ndata: " + data + "\n\n" }

// typed is an event whose data has its type.
func typed(name, members string) string {
	if members != "" {
		members = "," + members
	}
	return event(name, `{"type":"`+name+`"`+members+`}`)
}

const starts = `"message":{"id":"msg_1","type":"message","role":"assistant","model":"claude-opus-5-5","content":[],"stop_reason":null,"stop_sequence":null,` +
	`"usage":{"input_tokens":25,"cache_creation_input_tokens":3,"cache_read_input_tokens":100,"output_tokens":1,"service_tier":"standard"}}`

func word(kind string) string {
	return typed("content_block_delta", `"index":0,"delta":{"type":"`+kind+`","text":"x","partial_json":"{","thinking":"y"}`)
}

func ends(reason, usage string) string {
	return typed("message_delta", `"delta":{"stop_reason":"`+reason+`","stop_sequence":null},"usage":{`+usage+`}`)
}

// usual is what a stream begins with, and more.
func usual(more ...string) string {
	return typed("message_start", starts) + typed("content_block_start", `"index":0,"content_block":{"type":"text","text":""}`) + typed("ping", "") +
		word("text_delta") + word("text_delta") + typed("content_block_stop", `"index":0`) + strings.Join(more, "")
}

// streamSays is what usual says by itself.
func streamSays(with func(s *inspect.Said)) *inspect.Said {
	return says(func(s *inspect.Said) {
		s.ID, s.Model, s.Pieces = "msg_1", "claude-opus-5-5", 2
		s.Tokens = inspect.Tokens{Input: 128, Output: -1, CacheRead: 100, CacheWritten: 3, Reasoning: -1, Counted: 2}
		with(s)
	})
}

func TestStream(t *testing.T) {
	forgotten := func(s *inspect.Said) {
		s.Tokens = inspect.Tokens{Input: -1, Output: -1, CacheRead: -1, CacheWritten: -1, Reasoning: -1, Counted: 2}
	}
	for _, tt := range []struct {
		name, content string
		want          *inspect.Said
	}{
		{"whole", usual(ends("end_turn", `"output_tokens":15`), typed("message_stop", "")), streamSays(func(s *inspect.Said) {
			s.Finish, s.Tokens.Output = "end_turn", 15
		})},
		{"broken off", usual(`event: message_delta` + "\n" + `data: {"type":"message_delta","usage":{"output_tokens":15}}` + "\n"), streamSays(func(*inspect.Said) {})},
		{"nothing", "", says(func(s *inspect.Said) { s.Tokens.Counted = 0 })},
		{"comments and CRLF", strings.ReplaceAll(": hello\n\n"+usual(ends("max_tokens", `"output_tokens":15`)), "\n", "\r\n"), streamSays(func(s *inspect.Said) {
			s.Finish, s.Tokens.Output = "max_tokens", 15
		})},
		{
			"several deltas, none of which is summed",
			usual(
				ends("tool_use", `"input_tokens":300,"cache_creation_input_tokens":0,"cache_read_input_tokens":null,"output_tokens":15`),
				ends("end_turn", `"input_tokens":400,"output_tokens":30,"output_tokens_details":{"thinking_tokens":4},"server_tool_use":{"web_search_requests":1}`),
			),
			streamSays(func(s *inspect.Said) {
				s.Finish = "end_turn"
				s.Tokens = inspect.Tokens{Input: 500, Output: 30, CacheRead: 100, CacheWritten: 0, Reasoning: 4, Counted: 2}
			}),
		},
		{"nulls keep what was", usual(typed("message_delta", `"delta":{"stop_reason":null},"usage":{"input_tokens":null,"output_tokens":null,"output_tokens_details":null}`), typed("message_delta", `"usage":null`)), streamSays(func(*inspect.Said) {})},
		{"zero is a value", typed("message_start", `"message":{"usage":{"input_tokens":0,"output_tokens":9}}`) + typed("message_delta", `"usage":{"output_tokens":0}`), says(func(s *inspect.Said) {
			s.Tokens.Input, s.Tokens.Output, s.Tokens.Counted = 0, 0, 0
		})},
		{"odd counts are none", usual(ends("end_turn", `"input_tokens":1.5,"output_tokens":-4,"cache_read_input_tokens":"7","cache_creation_input_tokens":99999999999999999999`)), streamSays(func(s *inspect.Said) { s.Finish = "end_turn" })},
		{"deltas of all kinds", word("text_delta") + word("input_json_delta") + word("thinking_delta") + word("signature_delta") + word("citations_delta"), says(func(s *inspect.Said) {
			s.Pieces, s.Tokens.Counted = 3, 3
		})},
		{"another model goes on", usual(typed("content_block_start", `"index":1,"content_block":{"type":"fallback","from":{"model":"claude-opus-5-5"},"to":{"model":"claude-opus-5"}}`)), streamSays(func(s *inspect.Said) { s.Model = "claude-opus-5" })},
		{"an error", usual(typed("error", `"error":{"type":"overloaded_error","message":"Overloaded"},"request_id":"req_1"`)), streamSays(func(s *inspect.Said) {
			s.Failed, s.Fault = true, "overloaded_error"
		})},
		{"an error that is no JSON", usual(event("error", "Overloaded")), streamSays(func(s *inspect.Said) {
			s.Failed = true
			forgotten(s)
		})},
		{"type behind the rest, and a name behind the data", usual("data: {\"usage\":{\"output_tokens\":7},\ndata: \"type\":\"message_delta\"}\nevent: message_delta\n\n"), streamSays(func(s *inspect.Said) { s.Tokens.Output = 7 })},
		{"escapes", usual(`event:message_delta` + "\n" + `data:{"typ\u0065":"message\u005fdelta","usage":{"output_tokens":7}}` + "\n\n"), streamSays(func(s *inspect.Said) { s.Tokens.Output = 7 })},
		{"without a name", usual(`data: {"type":"message_delta","usage":{"output_tokens":7}}` + "\n\n"), streamSays(func(*inspect.Said) {})},
		{"unknown", usual(typed("thing", `"usage":{"output_tokens":7},"message":{"id":"x","usage":{"output_tokens":8}},"delta":{"stop_reason":"x"},"error":{"type":"x"}`)), streamSays(func(*inspect.Said) {})},
		{"a ping that says something", usual(event("ping", `{"type":"message_delta","usage":{"output_tokens":7}}`)), streamSays(func(*inspect.Said) {})},
		{"values elsewhere", usual(typed("message_stop", `"usage":{"output_tokens":7},"message":{"usage":{"output_tokens":9}}`), typed("message_delta", `"message":{"id":"x","usage":{"input_tokens":9}}`), typed("content_block_delta", `"usage":{"output_tokens":7}`)), streamSays(func(*inspect.Said) {})},
		{"another name than type", usual(event("message_stop", `{"type":"message_delta","usage":{"output_tokens":7}}`)), streamSays(forgotten)},
		{"another type than name", usual(event("message_delta", `{"type":"message_stop","usage":{"output_tokens":7}}`)), streamSays(forgotten)},
		{"counts twice", usual(typed("message_delta", `"usage":{"output_tokens":7,"output_tokens":8}`)), streamSays(forgotten)},
		{"counts in another case", usual(typed("message_delta", `"usage":{"Output_Tokens":7}`)), streamSays(forgotten)},
		{"no data", usual("event: message_delta\ndata\n\n"), streamSays(forgotten)},
		{"not UTF-8", usual(typed("message_delta", "\"x\":\"\xff\"")), streamSays(forgotten)},
		{"and said again", usual(event("message_delta", "{"), ends("end_turn", `"input_tokens":9,"output_tokens":8`)), streamSays(func(s *inspect.Said) {
			forgotten(s)
			s.Finish, s.Tokens.Input, s.Tokens.Output = "end_turn", 9, 8
		})},
		{"names that are too long", typed("message_start", `"message":{"id":"`+strings.Repeat("x", inspect.MaxText+1)+`","model":"m"}`), says(func(s *inspect.Said) {
			s.Model, s.Tokens.Counted = "m", 0
		})},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := hearEvery(t, Chat, answered(200, "text/event-stream; charset=utf-8"), tt.content)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("%s\n(-want +got):\n%s", tt.content, diff)
			}
		})
	}
}

func TestWhole(t *testing.T) {
	const usage = `"usage":{"input_tokens":2095,"cache_read_input_tokens":5,"cache_creation_input_tokens":null,"output_tokens":503,"output_tokens_details":{"thinking_tokens":9}}`
	for _, tt := range []struct {
		name, operation string
		status          int
		content         string
		want            *inspect.Said
	}{
		{
			"message", Chat, 200,
			`{"id":"msg_1","type":"message","role":"assistant","model":"claude-opus-5-5","content":[{"type":"tool_use","id":"x","input":{"usage":{"output_tokens":1},"usage":2}}],"stop_reason":"tool_use",` + usage + `}`,
			says(func(s *inspect.Said) {
				s.ID, s.Model, s.Finish = "msg_1", "claude-opus-5-5", "tool_use"
				s.Tokens = inspect.Tokens{Input: 2100, Output: 503, CacheRead: 5, CacheWritten: -1, Reasoning: 9, Counted: -1}
			}),
		},
		{"count", CountTokens, 200, `{"input_tokens":14}`, says(func(s *inspect.Said) { s.Tokens.Input = 14 })},
		{"count of none", CountTokens, 200, `{"input_tokens":0}`, says(func(s *inspect.Said) { s.Tokens.Input = 0 })},
		{"batch", CreateBatch, 200, `{"id":"msgbatch_1","type":"message_batch","processing_status":"in_progress"}`, says(func(s *inspect.Said) { s.ID = "msgbatch_1" })},
		{"error", Chat, 529, `{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},"request_id":"req_1"}`, says(func(s *inspect.Said) {
			s.Failed, s.Fault = true, "overloaded_error"
		})},
		{"error of a list", ListModels, 401, `{"type":"error","error":{"type":"authentication_error"}}`, says(func(s *inspect.Said) { s.Failed, s.Fault = true, "authentication_error" })},
		{"error that says nothing", Chat, 500, `{}`, says(func(s *inspect.Said) { s.Failed = true })},
		{"error with status 200", Chat, 200, `{"error":{"type":"api_error"},"type":"error"}`, says(func(s *inspect.Said) { s.Failed, s.Fault = true, "api_error" })},
		{"no error", Chat, 200, `{"type":"message","error":{"type":"x"}}`, says(func(*inspect.Said) {})},
		{"cut", Chat, 200, `{"id":"msg_1",` + usage, says(func(*inspect.Said) {})},
		{"more", Chat, 200, `{"id":"msg_1"}x`, says(func(*inspect.Said) {})},
		{"id twice", Chat, 200, `{"id":"msg_1","id":"msg_1"}`, says(func(*inspect.Said) {})},
		{"no object", Chat, 200, `["id"]`, says(func(*inspect.Said) {})},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := hearEvery(t, tt.operation, answered(tt.status, "application/json"), tt.content)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("%s\n(-want +got):\n%s", tt.content, diff)
			}
		})
	}
}

// TestAnswerOf: what is read, by operation, status and type.
func TestAnswerOf(t *testing.T) {
	for _, tt := range []struct {
		operation string
		status    int
		media     string
		reads     bool
	}{
		{Chat, 200, "application/json", true},
		{Chat, 200, "text/event-stream", true},
		{Chat, 200, "text/html", false},
		{Chat, 200, "", false},
		{Chat, 502, "text/html", true},
		{CountTokens, 200, "text/event-stream", false},
		{GetBatch, 200, "application/json", true},
		{ListModels, 200, "application/json", false},
		{ListModels, 404, "application/json", true},
		{BatchResults, 200, "application/x-jsonl", true},
		{BatchResults, 200, "application/json", true},
		{BatchResults, 302, "text/html", false},
		{BatchResults, 404, "application/json", true},
		{"", 500, "application/json", false},
	} {
		said := hear(t, tt.operation, answered(tt.status, tt.media), "<html>", func(rest int) int { return rest })
		if (said != nil) != tt.reads {
			t.Errorf("%s, %d, %s: %+v", tt.operation, tt.status, tt.media, said)
		}
		if said != nil && said.Failed != (tt.status >= 400) {
			t.Errorf("%s, %d: failed is %t", tt.operation, tt.status, said.Failed)
		}
	}
	if a := (Protocol{}).Answer(nil, answered(200, "application/json"), nil); a != nil {
		t.Errorf("an answer to nothing is read: %v", a)
	}
}

// TestPiecesInTime: each piece is told of in the call that ends it.
func TestPiecesInTime(t *testing.T) {
	a := Protocol{}.Answer([]inspect.Ask{{Operation: Chat}}, answered(200, "text/event-stream"), nil)
	for i := range int64(5) {
		if _, err := a.Pass([]byte(word("text_delta"))); err != nil || a.Said().Pieces != i+1 || a.Said().Tokens.Counted != i+1 {
			t.Fatalf("after %d: %+v, %v", i+1, a.Said(), err)
		}
	}
}
