package openai

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/inspect"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/jsonscan"
)

// post is a head of a request with JSON.
func post(path string) *l7.RequestHead {
	return &l7.RequestHead{Method: "POST", Path: path, Fields: l7.Fields{{Name: "content-type", Value: "application/json"}}}
}

// asked reads a request in pieces that end where the bytes of at say.
func asked(head *l7.RequestHead, content string, at ...byte) (inspect.Ask, error) {
	r, ask := Protocol{}.Request(head)
	if r == nil {
		return ask, nil
	}
	for i := 0; len(content) > 0; i++ {
		n := len(content)
		if i < len(at) {
			n = min(n, int(at[i]))
		}
		if _, err := r.Write([]byte(content[:n])); err != nil {
			return r.Asks()[0], err
		}
		content = content[n:]
	}
	err := r.End()
	if !r.Settled() {
		panic("not settled at the end")
	}
	return r.Asks()[0], err
}

const (
	chatPath       = "/v1/chat/completions"
	responsesPath  = "/v1/responses"
	completionPath = "/v1/completions"
	embeddingsPath = "/v1/embeddings"
)

func TestRequests(t *testing.T) {
	for _, tt := range []struct {
		name, path, content string
		want                inspect.Ask
	}{
		{
			"a chat", chatPath, `{"model":"gpt-5","messages":[{"role":"user","content":"Hi"}]}`,
			inspect.Ask{Operation: Chat, Model: "gpt-5", Streamed: inspect.No, MaxTokens: -1},
		},
		{
			"a chat with everything", chatPath,
			`{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:,"}}]}],
			"tools":[{"type":"function","function":{"name":"look_up","parameters":{"type":"object","properties":{"name":{"type":"string"}}}}},
			{"type":"custom","custom":{"name":"run"}},{"type":"odd"}],"functions":[{"name":"old"},{"parameters":{}}],
			"stream":true,"stream_options":{"include_usage":true},"max_completion_tokens":100,"n":3,"model":"gpt-5"}`,
			inspect.Ask{Operation: Chat, Model: "gpt-5", Streamed: inspect.Yes, MaxTokens: 300, Offered: []string{"look_up", "run", "old"}},
		},
		{
			"two limits that agree", chatPath, `{"max_tokens":7,"max_completion_tokens":7,"model":"m","stream":false}`,
			inspect.Ask{Operation: Chat, Model: "m", Streamed: inspect.No, MaxTokens: 7},
		},
		{
			"nulls", chatPath, `{"max_tokens":null,"max_completion_tokens":5,"model":"m","stream":null,"n":null,"tools":null}`,
			inspect.Ask{Operation: Chat, Model: "m", Streamed: inspect.No, MaxTokens: 5},
		},
		{"a limit of zero", chatPath, `{"max_tokens":0}`, inspect.Ask{Operation: Chat, Streamed: inspect.No, MaxTokens: 0}},
		{"a limit below zero is none", chatPath, `{"max_tokens":-1,"n":2}`, inspect.Ask{Operation: Chat, Streamed: inspect.No, MaxTokens: -1}},
		{"more than there is", chatPath, `{"max_tokens":9223372036854775807,"n":9}`, inspect.Ask{Operation: Chat, Streamed: inspect.No, MaxTokens: math.MaxInt64}},
		{"escapes", chatPath, `{"mod\u0065l":"gpt\u002d5","str\u0065am":true}`, inspect.Ask{Operation: Chat, Model: "gpt-5", Streamed: inspect.Yes, MaxTokens: -1}},
		{"names elsewhere", chatPath, `{"metadata":{"model":"no","stream":1,"Model":2},"model":"m"}`, inspect.Ask{Operation: Chat, Model: "m", Streamed: inspect.No, MaxTokens: -1}},
		{"a limit of another operation", chatPath, `{"max_output_tokens":"x"}`, inspect.Ask{Operation: Chat, Streamed: inspect.No, MaxTokens: -1}},
		{"space around", chatPath, " \n{}\r\n\t", inspect.Ask{Operation: Chat, Streamed: inspect.No, MaxTokens: -1}},
		{
			"a name that is too long to be told", chatPath, `{"tools":[{"function":{"name":"` + strings.Repeat("x", 300) + `"}},{"function":{"name":"f"}},{"function":{"name":1}}]}`,
			inspect.Ask{Operation: Chat, Streamed: inspect.No, MaxTokens: -1, Offered: []string{"f"}},
		},
		{
			"a response", responsesPath,
			`{"model":"gpt-5","input":"Hi","max_output_tokens":64,"stream":true,"tools":[{"type":"function","name":"look_up"},{"type":"web_search"},
			{"name":"first","type":"custom"},{"type":"mcp","server_label":"x"},{}]}`,
			inspect.Ask{Operation: Responses, Model: "gpt-5", Streamed: inspect.Yes, MaxTokens: 64, Offered: []string{"look_up", "web_search", "first", "mcp"}},
		},
		{"a response of a stored prompt", responsesPath, `{"prompt":{"id":"pmpt_1"}}`, inspect.Ask{Operation: Responses, Streamed: inspect.No, MaxTokens: -1}},
		{"a completion", completionPath, `{"model":"m","prompt":"` + strings.Repeat("long ", 10_000) + `","max_tokens":16,"n":2,"best_of":3}`, inspect.Ask{Operation: TextCompletion, Model: "m", Streamed: inspect.No, MaxTokens: 48}},
		{"completions of prompts", completionPath, `{"prompt":["a","b",""],"max_tokens":16,"n":2}`, inspect.Ask{Operation: TextCompletion, Streamed: inspect.No, MaxTokens: 96}},
		{"a completion of tokens", completionPath, `{"prompt":[1,2,3],"max_tokens":16}`, inspect.Ask{Operation: TextCompletion, Streamed: inspect.No, MaxTokens: 16}},
		{"completions of tokens", completionPath, `{"prompt":[[1],[2,3]],"max_tokens":16}`, inspect.Ask{Operation: TextCompletion, Streamed: inspect.No, MaxTokens: 32}},
		{"embeddings", embeddingsPath, `{"model":"e","input":["a","b"],"encoding_format":"base64"}`, inspect.Ask{Operation: Embeddings, Model: "e", Streamed: inspect.No, MaxTokens: -1}},
		{"a deployment", "/openai/deployments/d/chat/completions", `{"messages":[]}`, inspect.Ask{Operation: Chat, Model: "d", Streamed: inspect.No, MaxTokens: -1}},
		{"a deployment of that name", "/openai/deployments/d/chat/completions", `{"model":"d"}`, inspect.Ask{Operation: Chat, Model: "d", Streamed: inspect.No, MaxTokens: -1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for at := range min(len(tt.content), 256) {
				got, err := asked(post(tt.path), tt.content, byte(at))
				if diff := cmp.Diff(tt.want, got); diff != "" || err != nil {
					t.Fatalf("split at %d: %v (-want +got):\n%s", at, err, diff)
				}
			}
		})
	}
}

func TestRequestsThatCannotBeUnderstood(t *testing.T) {
	const deployed = "/openai/deployments/d/chat/completions"
	for _, tt := range []struct {
		name, path, content string
		kind                error
	}{
		{"nothing", chatPath, "", inspect.ErrUnreadable},
		{"space", chatPath, " ", inspect.ErrUnreadable},
		{"an array", chatPath, `[{"model":"m"}]`, inspect.ErrUnreadable},
		{"a string", chatPath, `"model"`, inspect.ErrUnreadable},
		{"cut short", chatPath, `{"model":"m"`, inspect.ErrUnreadable},
		{"something behind", chatPath, `{"model":"m"} {}`, inspect.ErrUnreadable},
		{"a byte order mark", chatPath, "\ufeff" + `{"model":"m"}`, inspect.ErrUnreadable},
		{"UTF-16", chatPath, "{\x00\"\x00m\x00", inspect.ErrUnreadable},
		{"no UTF-8", chatPath, "{\"model\":\"m\",\"x\":\"\xff\"}", inspect.ErrUnreadable},
		{"an overlong form", chatPath, "{\"model\":\"\xc0\xad\"}", inspect.ErrUnreadable},
		{"deep nesting", chatPath, `{"model":"m","x":` + strings.Repeat("[", jsonscan.MaxDepth) + strings.Repeat("]", jsonscan.MaxDepth) + "}", inspect.ErrUnreadable},
		{"a comment", chatPath, `{"model":"m"/*"model":"n"*/}`, inspect.ErrUnreadable},
		{"a comma too many", chatPath, `{"model":"m",}`, inspect.ErrUnreadable},
		{"a number as a model", chatPath, `{"model":5}`, inspect.ErrUnreadable},
		{"null as a model", chatPath, `{"model":null}`, inspect.ErrUnreadable},
		{"a long model", chatPath, `{"model":"` + strings.Repeat("m", inspect.MaxText+1) + `"}`, inspect.ErrUnreadable},
		{"a model that is a text of lines", chatPath, `{"model":"a\nb"}`, inspect.ErrUnreadable},
		{"a string as stream", chatPath, `{"stream":"true"}`, inspect.ErrUnreadable},
		{"a number as stream", chatPath, `{"stream":1}`, inspect.ErrUnreadable},
		{"a limit that is a string", chatPath, `{"max_tokens":"5"}`, inspect.ErrUnreadable},
		{"a limit that is not whole", chatPath, `{"max_tokens":5.0}`, inspect.ErrUnreadable},
		{"a limit in powers", chatPath, `{"max_tokens":1e3}`, inspect.ErrUnreadable},
		{"a limit that is too much", chatPath, `{"max_tokens":9223372036854775808}`, inspect.ErrUnreadable},
		{"no choices", chatPath, `{"n":0}`, inspect.ErrUnreadable},
		{"choices that are no number", chatPath, `{"n":"2"}`, inspect.ErrUnreadable},
		{"no limit at all in a response", responsesPath, `{"max_output_tokens":true}`, inspect.ErrUnreadable},

		{"two limits", chatPath, `{"max_tokens":7,"max_completion_tokens":8}`, inspect.ErrAmbiguous},
		{"a limit and none", chatPath, `{"max_tokens":7,"max_completion_tokens":-1}`, inspect.ErrAmbiguous},
		{"a model twice", chatPath, `{"model":"a","model":"b"}`, inspect.ErrAmbiguous},
		{"the same model twice", chatPath, `{"model":"a","model":"a"}`, inspect.ErrAmbiguous},
		{"a model twice with an escape", chatPath, `{"model":"a","mod\u0065l":"b"}`, inspect.ErrAmbiguous},
		{"a model twice at the end", chatPath, `{"model":"a","messages":["` + strings.Repeat("x", 10_000) + `"],"model":"b"}`, inspect.ErrAmbiguous},
		{"a model in another case", chatPath, `{"Model":"a"}`, inspect.ErrAmbiguous},
		{"a model in both cases", chatPath, `{"model":"a","MODEL":"b"}`, inspect.ErrAmbiguous},
		{"a stream in a case that folds", chatPath, `{"ſtream":true}`, inspect.ErrAmbiguous},
		{"a stream twice", chatPath, `{"stream":false,"stream":true}`, inspect.ErrAmbiguous},
		{"a name of a tool twice", chatPath, `{"tools":[{"function":{"name":"a","name":"b"}}]}`, inspect.ErrAmbiguous},
		{"a model with U+0000", chatPath, `{"model":"a\u0000b"}`, inspect.ErrAmbiguous},
		{"half a surrogate pair", chatPath, `{"model":"\ud83d"}`, inspect.ErrAmbiguous},
		{"another model than the path", deployed, `{"model":"m"}`, inspect.ErrAmbiguous},
		{"no model where the path has one", deployed, `{"model":""}`, inspect.ErrAmbiguous},
		{"another model than the query", chatPath + "?model=d", `{"model":"m"}`, inspect.ErrAmbiguous},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, whole := asked(post(tt.path), tt.content)
			if told, ok := errors.AsType[*inspect.Error](whole); !ok || !errors.Is(whole, tt.kind) || told.What == "" {
				t.Fatalf("%v, want %v", whole, tt.kind)
			}
			for at := range min(len(tt.content), 256) {
				if _, err := asked(post(tt.path), tt.content, byte(at)); fmt.Sprint(err) != fmt.Sprint(whole) {
					t.Fatalf("split at %d: %v, want %v", at, err, whole)
				}
			}
		})
	}
}

// A content type that lies must not make a difference between who inspects a
// content and who gets it.
func TestContentIsToBeJSON(t *testing.T) {
	for _, contentType := range []string{"", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/json; charset=utf-16", "application/grpc"} {
		head := &l7.RequestHead{Method: "POST", Path: chatPath}
		if contentType != "" {
			head.Fields = l7.Fields{{Name: "content-type", Value: contentType}}
		}
		if _, err := asked(head, `{"model":"m"}`); !errors.Is(err, inspect.ErrUnreadable) {
			t.Errorf("%q: %v", contentType, err)
		}
		if _, err := asked(head, ""); !errors.Is(err, inspect.ErrUnreadable) {
			t.Errorf("%q and no content: %v", contentType, err)
		}
	}
}

// What is asked for is told as soon as it is seen, and only the end tells what is
// not there.
func TestAsksGrow(t *testing.T) {
	r, ask := Protocol{}.Request(post(chatPath))
	if ask.Operation != Chat || r.Asks()[0].Operation != Chat {
		t.Errorf("the operation is %q", ask.Operation)
	}
	for _, step := range []struct {
		piece   string
		want    inspect.Ask
		settled bool
	}{
		{`{"model":"m`, inspect.Ask{Operation: Chat, MaxTokens: -1}, false},
		{`"`, inspect.Ask{Operation: Chat, Model: "m", MaxTokens: -1}, false},
		{`,"max_tokens":5,`, inspect.Ask{Operation: Chat, Model: "m", MaxTokens: -1}, false}, // n may come
		{`"stream":true,"n":2`, inspect.Ask{Operation: Chat, Model: "m", Streamed: inspect.Yes, MaxTokens: -1}, false},
		{`}`, inspect.Ask{Operation: Chat, Model: "m", Streamed: inspect.Yes, MaxTokens: 10}, true},
	} {
		if n, err := r.Write([]byte(step.piece)); n != len(step.piece) || err != nil {
			t.Fatalf("Write(%q) = %d, %v", step.piece, n, err)
		}
		if diff := cmp.Diff([]inspect.Ask{step.want}, r.Asks()); diff != "" || r.Settled() != step.settled {
			t.Errorf("behind %q, settled: %v (-want +got):\n%s", step.piece, r.Settled(), diff)
		}
	}
	if _, err := r.Write([]byte("x")); !errors.Is(err, inspect.ErrUnreadable) {
		t.Errorf("something behind the end: %v", err)
	}
	if err := r.End(); !errors.Is(err, inspect.ErrUnreadable) {
		t.Errorf("End() = %v", err)
	}
}

func TestOfferedIsBounded(t *testing.T) {
	tools := strings.Repeat(`{"type":"function","function":{"name":"f"}},`, 1000)
	ask, err := asked(post(chatPath), `{"tools":[`+tools+`{}]}`)
	if err != nil || len(ask.Offered) != inspect.MaxOffered {
		t.Errorf("%d are told, %v", len(ask.Offered), err)
	}
}
