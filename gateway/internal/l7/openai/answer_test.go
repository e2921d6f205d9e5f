package openai

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/inspect"
)

const (
	jsonType   = "application/json"
	streamType = "text/event-stream; charset=utf-8"
)

// answered reads an answer in pieces that end where the bytes of at say, all of
// which it wants to get back.
func answered(t *testing.T, a inspect.Answer, content string, at ...byte) inspect.Said {
	t.Helper()
	for i := 0; len(content) > 0; i++ {
		n := len(content)
		if i < len(at) {
			n = min(n, int(at[i]))
		}
		if out, err := a.Pass([]byte(content[:n])); string(out) != content[:n] || err != nil {
			t.Fatalf("Pass(%q) = %q, %v", content[:n], out, err)
		}
		content = content[n:]
	}
	if out, err := a.End(); len(out) > 0 || err != nil {
		t.Fatalf("End() = %q, %v", out, err)
	}
	return *a.Said()
}

// says is a Said with those changes.
func says(change func(*inspect.Said)) inspect.Said {
	s := inspect.NewSaid()
	change(&s)
	return s
}

// cost are tokens of a stream of that many pieces, or of no stream: -1.
func cost(in, out, cached, thought, counted int64) inspect.Tokens {
	return inspect.Tokens{Input: in, Output: out, CacheRead: cached, CacheWritten: -1, Reasoning: thought, Counted: counted}
}

// data are events of a stream, each of one line.
func data(texts ...string) string {
	return "data: " + strings.Join(texts, "\n\ndata: ") + "\n\n"
}

func TestWholeAnswers(t *testing.T) {
	for _, tt := range []struct {
		name, operation string
		status          int
		content         string
		want            inspect.Said
	}{
		{
			"a chat", Chat, 200,
			`{"id":"chatcmpl-1","object":"chat.completion","created":1741569952,"model":"gpt-5-2025","choices":[{"index":0,"message":{"role":"assistant","content":"Hello!","refusal":null,"annotations":[]},"logprobs":null,"finish_reason":"stop"}],
			"usage":{"prompt_tokens":19,"completion_tokens":10,"total_tokens":29,"prompt_tokens_details":{"cached_tokens":3,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0}},"service_tier":"default"}`,
			says(func(s *inspect.Said) {
				s.ID, s.Model, s.Finish, s.Tokens = "chatcmpl-1", "gpt-5-2025", "stop", cost(19, 10, 3, 0, -1)
			}),
		},
		{
			"choices", Chat, 200, `{"choices":[{"finish_reason":"length","index":1},{"index":0,"finish_reason":"tool_calls"},{"index":2,"finish_reason":null}],"usage":{"prompt_tokens":0}}`,
			says(func(s *inspect.Said) { s.Finish, s.Tokens = "tool_calls,length", cost(0, -1, -1, -1, -1) }),
		},
		{
			"choices without numbers", Chat, 200, `{"choices":[{"finish_reason":"stop"},{"finish_reason":"length"}]}`,
			says(func(s *inspect.Said) { s.Finish = "stop,length" }),
		},
		{
			"a completion", TextCompletion, 200, `{"id":"cmpl-1","object":"text_completion","model":"m","choices":[{"text":"x","index":0,"finish_reason":"length"}],"usage":{"prompt_tokens":5,"completion_tokens":7,"total_tokens":12}}`,
			says(func(s *inspect.Said) {
				s.ID, s.Model, s.Finish, s.Tokens = "cmpl-1", "m", "length", cost(5, 7, -1, -1, -1)
			}),
		},
		{
			"a response", Responses, 200,
			`{"id":"resp_1","object":"response","status":"completed","error":null,"incomplete_details":null,"model":"gpt-5-2025","output":[{"type":"message","id":"msg_1","status":"completed","content":[{"type":"output_text","text":"x"}]}],
			"usage":{"input_tokens":36,"input_tokens_details":{"cached_tokens":4,"cache_write_tokens":2},"output_tokens":87,"output_tokens_details":{"reasoning_tokens":64},"total_tokens":123}}`,
			says(func(s *inspect.Said) {
				s.ID, s.Model, s.Finish, s.Tokens = "resp_1", "gpt-5-2025", "completed", cost(36, 87, 4, 64, -1)
				s.Tokens.CacheWritten = 2
			}),
		},
		{
			"a response that is not complete", GetResponse, 200, `{"incomplete_details":{"reason":"max_output_tokens"},"status":"incomplete","usage":{"output_tokens":5}}`,
			says(func(s *inspect.Said) { s.Finish, s.Tokens = "max_output_tokens", cost(-1, 5, -1, -1, -1) }),
		},
		{
			"a response that failed", GetResponse, 200, `{"id":"resp_1","status":"failed","error":{"code":"server_error","message":"x"},"usage":null}`,
			says(func(s *inspect.Said) { s.ID, s.Finish, s.Failed, s.Fault = "resp_1", "failed", true, "server_error" }),
		},
		{"a response in the background", Responses, 200, `{"id":"resp_1","status":"queued","error":null,"usage":null}`, says(func(s *inspect.Said) { s.ID = "resp_1" })},
		{"a response that is being made", GetResponse, 200, `{"id":"resp_1","status":"in_progress","background":true,"model":"m","usage":null}`, says(func(s *inspect.Said) { s.ID, s.Model = "resp_1", "m" })},
		{"a usage before there is one", Responses, 200, `{"id":"resp_1","status":"queued","background":true,"usage":{"input_tokens":0,"output_tokens":0}}`, says(func(s *inspect.Said) { s.ID = "resp_1" })},
		{
			"a response that was made in the background", GetResponse, 200, `{"id":"resp_1","status":"completed","background":true,"model":"m","usage":{"input_tokens":3,"output_tokens":4}}`,
			says(func(s *inspect.Said) {
				s.ID, s.Model, s.Finish, s.Tokens = "resp_1", "m", "completed", cost(3, 4, -1, -1, -1)
			}),
		},
		{"a response that was stopped", CancelResponse, 200, `{"id":"resp_1","status":"cancelled"}`, says(func(s *inspect.Said) { s.ID, s.Finish = "resp_1", "cancelled" })},
		{
			"embeddings", Embeddings, 200, `{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.1,-0.2]}],"model":"e","usage":{"prompt_tokens":8,"total_tokens":8}}`,
			says(func(s *inspect.Said) { s.Model, s.Tokens = "e", cost(8, -1, -1, -1, -1) }),
		},
		{
			"an error", Chat, 400, `{"error":{"message":"x","type":"invalid_request_error","param":"model","code":"model_not_found"}}`,
			says(func(s *inspect.Said) { s.Failed, s.Fault = true, "invalid_request_error" }),
		},
		{"an error with a code alone", Responses, 404, `{"error":{"code":"DeploymentNotFound","message":"x"}}`, says(func(s *inspect.Said) { s.Failed, s.Fault = true, "DeploymentNotFound" })},
		{"an error with a number", Chat, 400, `{"error":{"type":null,"code":400,"message":"x"}}`, says(func(s *inspect.Said) { s.Failed, s.Fault = true, "400" })},
		{"an error that is not wrapped", Chat, 404, `{"object":"error","message":"x","type":"NotFoundError","code":404}`, says(func(s *inspect.Said) { s.Failed, s.Fault = true, "NotFoundError" })},
		{"an error that is a text", Chat, 500, `{"error":"x"}`, says(func(s *inspect.Said) { s.Failed = true })},
		{"an error of any operation", ListModels, 401, `{"error":{"type":"t"}}`, says(func(s *inspect.Said) { s.Failed, s.Fault = true, "t" })},
		{"an error in spite of its status", Chat, 200, `{"error":{"type":"t","message":"x"}}`, says(func(s *inspect.Said) { s.Failed, s.Fault = true, "t" })},

		{"numbers that are none", Chat, 200, `{"usage":{"prompt_tokens":1.5,"completion_tokens":-1,"prompt_tokens_details":{"cached_tokens":"3"}}}`, inspect.NewSaid()},
		{"names that are too long", Chat, 200, `{"id":"` + strings.Repeat("i", inspect.MaxText+1) + `","model":"m"}`, says(func(s *inspect.Said) { s.Model = "m" })},
		{"what is cut short", Chat, 200, `{"id":"i","model":"m"`, inspect.NewSaid()},
		{"what comes twice", Chat, 200, `{"id":"i","usage":{"prompt_tokens":1},"usage":{"prompt_tokens":2}}`, inspect.NewSaid()},
		{"what is no JSON", Chat, 200, `<html>`, inspect.NewSaid()},
		{"nothing", Chat, 200, ``, inspect.NewSaid()},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for at := range min(len(tt.content)+1, 256) {
				got := answered(t, answerTo(tt.operation, tt.status, jsonType), tt.content, byte(at))
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Fatalf("split at %d (-want +got):\n%s", at, diff)
				}
			}
		})
	}
}

func TestStreams(t *testing.T) {
	const role = `{"id":"chatcmpl-1","object":"chat.completion.chunk","model":"gpt-5-2025","choices":[{"index":0,"delta":{"role":"assistant","content":"","refusal":null},"finish_reason":null}],"usage":null}`
	const word = `{"id":"chatcmpl-1","object":"chat.completion.chunk","model":"gpt-5-2025","choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}],"usage":null}`
	const stop = `{"id":"chatcmpl-1","object":"chat.completion.chunk","model":"gpt-5-2025","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":null}`
	const paid = `{"id":"chatcmpl-1","object":"chat.completion.chunk","model":"gpt-5-2025","choices":[],"usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11,"prompt_tokens_details":{"cached_tokens":0},"completion_tokens_details":{"reasoning_tokens":0}}}`
	chat := func(finish string, pieces int64, tokens inspect.Tokens) inspect.Said {
		return says(func(s *inspect.Said) {
			s.ID, s.Model, s.Finish, s.Pieces, s.Tokens = "chatcmpl-1", "gpt-5-2025", finish, pieces, tokens
		})
	}
	unpaid := func(counted int64) inspect.Tokens { return cost(-1, -1, -1, -1, counted) }
	for _, tt := range []struct {
		name, operation, content string
		want                     inspect.Said
	}{
		{"a chat", Chat, data(role, word, word, stop, paid, "[DONE]"), chat("stop", 2, cost(9, 2, 0, 0, 2))},
		{"a chat in CRLF with comments", Chat, strings.ReplaceAll(": ping\n\n"+data(role, word, stop, "[DONE]"), "\n", "\r\n"), chat("stop", 1, unpaid(1))},
		{"a chat that broke off", Chat, data(role, word, word) + "data: " + word, chat("", 2, unpaid(2))},
		{"a chat that broke off behind a line", Chat, data(role, word) + "data: " + word + "\n", chat("", 1, unpaid(1))},
		{"usage and choices of null", Chat, data(word, `{"choices":null,"usage":{"prompt_tokens":1,"completion_tokens":1}}`), chat("", 1, cost(1, 1, -1, -1, 1))},
		{"usage and no choices", Chat, data(word, `{"usage":{"prompt_tokens":1,"completion_tokens":1}}`), chat("", 1, cost(1, 1, -1, -1, 1))},
		{"usage that grows", Chat, data(`{"usage":{"prompt_tokens":1,"completion_tokens":1,"prompt_tokens_details":{"cached_tokens":1}}}`, `{"usage":{"prompt_tokens":1,"completion_tokens":2}}`, `{"usage":null}`, `{}`), says(func(s *inspect.Said) { s.Tokens = cost(1, 2, -1, -1, 0) })},
		{"what is behind the end", Chat, data(word, "[DONE]", word, paid), chat("", 1, unpaid(1))},
		{"an end that is long", Chat, data(word, "[DONE] and more", word), chat("", 1, unpaid(1))},
		{"an event of lines", Chat, "data: {\"id\":\ndata: \"i\"}\n\n", says(func(s *inspect.Said) { s.ID, s.Tokens.Counted = "i", 0 })},
		{"an event that is no JSON", Chat, data(word, "oops", `{"model":`, "", word), chat("", 2, unpaid(2))},
		{"a name that is there later", Chat, data(`{"id":"","model":"","choices":[],"prompt_filter_results":[]}`, word), chat("", 1, unpaid(1))},
		{
			"what is content", Chat, data(
				`{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"call_1","function":{"name":"f","arguments":""}}]}}]}`,
				`{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"a\""}}]}}]}`,
				`{"choices":[{"delta":{"tool_calls":[{"index":0,"custom":{"input":"x"}}]}}]}`,
				`{"choices":[{"delta":{"function_call":{"arguments":"{"}}}]}`,
				`{"choices":[{"delta":{"refusal":"No"}}]}`,
				`{"choices":[{"delta":{"reasoning_content":"Hm"}}]}`,
				`{"choices":[{"delta":{"reasoning":"Hm","reasoning_content":"Hm"}}]}`,
				`{"choices":[{"delta":{"content":"\ud83d"}}]}`,
				`{"choices":[{"delta":{"content":null}}]}`,
				`{"choices":[{"delta":{"content":"`+strings.Repeat("x", 20_000)+`"}}]}`,
				`{"choices":[{"index":1,"delta":{"content":"a"}},{"index":0,"delta":{"content":"b"}}]}`,
				`{"choices":[{"index":0,"delta":{"content":"a"}},{"index":1,"delta":{}}]}`,
			), says(func(s *inspect.Said) { s.Pieces, s.Tokens.Counted = 11, 11 }),
		},
		{
			"choices that end one by one", Chat, data(`{"choices":[{"index":2,"finish_reason":"length"}]}`, `{"choices":[{"index":0,"finish_reason":"stop"}]}`, `{"choices":[{"index":2,"finish_reason":"stop"}]}`),
			says(func(s *inspect.Said) { s.Finish, s.Tokens.Counted = "stop,stop", 0 }),
		},
		{"a completion", TextCompletion, data(`{"id":"cmpl-1","choices":[{"text":"","index":0}]}`, `{"choices":[{"text":"x","index":0,"finish_reason":"stop"}]}`), says(func(s *inspect.Said) {
			s.ID, s.Finish, s.Pieces, s.Tokens.Counted = "cmpl-1", "stop", 1, 1
		})},
		{
			"an error", Chat, data(word, `{"error":{"message":"x","type":"server_error","code":null}}`),
			says(func(s *inspect.Said) {
				s.ID, s.Model, s.Pieces, s.Tokens, s.Failed, s.Fault = "chatcmpl-1", "gpt-5-2025", 1, unpaid(1), true, "server_error"
			}),
		},
		{"an error by its name", Chat, "event: error\ndata: oops\n\n", says(func(s *inspect.Said) { s.Failed, s.Tokens.Counted = true, 0 })},
		{
			"a response", Responses, responseStream("response.completed", `"status":"completed","incomplete_details":null,"error":null`),
			says(func(s *inspect.Said) {
				s.ID, s.Model, s.Finish, s.Pieces, s.Tokens = "resp_1", "gpt-5-2025", "completed", 4, cost(37, 11, 5, 6, 4)
			}),
		},
		{
			"a response that is not complete", Responses, responseStream("response.incomplete", `"status":"incomplete","incomplete_details":{"reason":"content_filter"}`),
			says(func(s *inspect.Said) {
				s.ID, s.Model, s.Finish, s.Pieces, s.Tokens = "resp_1", "gpt-5-2025", "content_filter", 4, cost(37, 11, 5, 6, 4)
			}),
		},
		{
			"a response that failed", GetResponse, responseStream("response.failed", `"status":"failed","error":{"code":"rate_limit_exceeded","message":"x"}`),
			says(func(s *inspect.Said) {
				s.ID, s.Model, s.Finish, s.Pieces, s.Tokens = "resp_1", "gpt-5-2025", "failed", 4, cost(37, 11, 5, 6, 4)
				s.Failed, s.Fault = true, "rate_limit_exceeded"
			}),
		},
		{
			"a response in the background, broken off", Responses, "event: response.created\n" + data(`{"type":"response.created","response":{"id":"resp_1","status":"queued","background":true}}`, `{"type":"response.output_text.delta","delta":"x"}`),
			says(func(s *inspect.Said) { s.ID, s.Pieces = "resp_1", 1 }),
		},
		{
			"a response in the background", GetResponse, data(`{"type":"response.in_progress","response":{"id":"resp_1","status":"in_progress","background":true,"usage":{"output_tokens":0}}}`, `{"type":"response.completed","response":{"status":"completed","background":true,"usage":{"input_tokens":3,"output_tokens":4}}}`),
			says(func(s *inspect.Said) { s.ID, s.Finish, s.Tokens = "resp_1", "completed", cost(3, 4, -1, -1, -1) }),
		},
		{"a response that waits", Responses, data(`{"type":"response.created","response":{"status":"queued","background":false}}`), says(func(s *inspect.Said) { s.Tokens.Counted = 0 })},
		{
			"an error of responses", Responses, "event: error\n" + data(`{"type":"error","code":"ERR_SOMETHING","message":"x","param":null,"sequence_number":1}`),
			says(func(s *inspect.Said) { s.Failed, s.Fault, s.Tokens.Counted = true, "ERR_SOMETHING", 0 }),
		},
		{
			"an error and code that is none of it", Responses, "event: error\n" + data(`{}`, `{"type":"response.code_interpreter_call_code.done","code":"print(1)"}`),
			says(func(s *inspect.Said) { s.Failed, s.Tokens.Counted = true, 0 }),
		},
		{
			"an error of responses that is wrapped", Responses, data(`{"type":"error","error":{"type":"invalid_request_error","code":"context_length_exceeded"}}`),
			says(func(s *inspect.Said) { s.Failed, s.Fault, s.Tokens.Counted = true, "invalid_request_error", 0 }),
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for at := range min(len(tt.content)+1, 256) {
				got := answered(t, answerTo(tt.operation, 200, streamType), tt.content, byte(at), byte(at), 255)
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Fatalf("split at %d (-want +got):\n%s", at, diff)
				}
			}
		})
	}
}

// responseStream is the stream of a response (OpenAI's API, Streaming events) that
// ends with an event of that type.
func responseStream(last, end string) string {
	var b strings.Builder
	for _, e := range []struct{ name, rest string }{
		{"response.created", `"response":{"id":"resp_1","object":"response","status":"in_progress","model":"gpt-5-2025","output":[],"usage":null}`},
		{"response.in_progress", `"response":{"id":"resp_1","status":"in_progress","model":"gpt-5-2025","usage":null}`},
		{"response.output_item.added", `"output_index":0,"item":{"id":"msg_1","type":"message","status":"in_progress","content":[]}`},
		{"response.reasoning_summary_text.delta", `"item_id":"rs_1","delta":"Hm"`},
		{"response.output_text.delta", `"item_id":"msg_1","output_index":0,"content_index":0,"delta":"Hi","logprobs":[]`},
		{"response.output_text.delta", `"item_id":"msg_1","output_index":0,"content_index":0,"delta":""`},
		{"response.refusal.delta", `"item_id":"msg_1","delta":"No"`},
		{"response.function_call_arguments.delta", `"item_id":"fc_1","delta":"{\"a\""`},
		{"response.output_text.done", `"item_id":"msg_1","text":"Hi"`},
		{last, `"response":{"id":"resp_1","model":"gpt-5-2025",` + end + `,"usage":{"input_tokens":37,"output_tokens":11,"output_tokens_details":{"reasoning_tokens":6},"input_tokens_details":{"cached_tokens":5},"total_tokens":48}}`},
	} {
		b.WriteString("event: " + e.name + "\ndata: {\"type\":\"" + e.name + "\",\"sequence_number\":1," + e.rest + "}\n\n")
	}
	return b.String()
}

// Said tells of a stream while it goes on.
func TestSaidGrows(t *testing.T) {
	a := answerTo(Chat, 200, streamType)
	if s := a.Said(); s.Pieces != 0 || s.Tokens.Counted != 0 {
		t.Errorf("before: %+v", s)
	}
	for i := range int64(3) {
		_, _ = a.Pass([]byte(chatChunk))
		if s := a.Said(); s.Pieces != i+1 || s.Tokens.Counted != i+1 {
			t.Errorf("behind %d: %+v", i+1, s)
		}
	}
}

func TestWhatHasAnAnswer(t *testing.T) {
	for _, tt := range []struct {
		operation   string
		status      int
		contentType string
		reads       bool
	}{
		{Chat, 200, jsonType, true},
		{Chat, 200, streamType, true},
		{Chat, 200, "text/html", false},
		{Chat, 200, "", false},
		{Embeddings, 200, streamType, false},
		{ListModels, 200, jsonType, false},
		{DeleteResponse, 200, jsonType, false},
		{"", 200, jsonType, false},
		{"", 500, jsonType, true},
		{Chat, 502, "text/html", true},
		{ListModels, 500, "", true},
	} {
		a := answerTo(tt.operation, tt.status, tt.contentType)
		if (a != nil) != tt.reads {
			t.Errorf("%s, %d, %s: an answer: %v, want %v", tt.operation, tt.status, tt.contentType, a != nil, tt.reads)
		}
		if a == nil {
			continue
		}
		if got := answered(t, a, "<html>"); got.Failed != (tt.status >= 400) {
			t.Errorf("%s, %d, %s: failed: %v", tt.operation, tt.status, tt.contentType, got.Failed)
		}
	}
	if a := (Protocol{}).Answer(nil, &l7.ResponseHead{Status: 200}, nil); a != nil {
		t.Errorf("an answer to nothing")
	}
}

func TestFinishIsBounded(t *testing.T) {
	var content strings.Builder
	for i := range 1000 {
		content.WriteString(data(`{"choices":[{"index":` + string(rune('0'+i%10)) + strings.Repeat("0", i%7) + `,"finish_reason":"` + strings.Repeat("r", i%100) + `"}]}`))
	}
	got := answered(t, answerTo(Chat, 200, streamType), content.String())
	if n := strings.Count(got.Finish, ",") + 1; n != maxChoices || len(got.Finish) > maxChoices*(maxReason+1) {
		t.Errorf("%d reasons in %d bytes", n, len(got.Finish))
	}
}
