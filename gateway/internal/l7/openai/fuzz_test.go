package openai

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/inspect"
)

// plainModel is a request as encoding/json reads it, and the others what each
// operation has beside.
type (
	plainModel struct {
		Model string `json:"model"`
	}
	plainText struct {
		plainModel
		Stream    bool   `json:"stream"`
		MaxTokens *int64 `json:"max_tokens"`
		N         *int64 `json:"n"`
	}
	plainChatRequest struct {
		plainText
		MaxCompletionTokens *int64 `json:"max_completion_tokens"`
	}
	plainResponse struct {
		plainModel
		Stream    bool   `json:"stream"`
		MaxTokens *int64 `json:"max_output_tokens"`
	}
)

// plainly is what encoding/json finds in a request, but for how often a limit
// counts.
func plainly(path string, content []byte) (model string, streamed bool, limit, n *int64, err error) {
	switch path {
	case chatPath:
		var p plainChatRequest
		err = json.Unmarshal(content, &p)
		if limit = p.MaxTokens; limit == nil {
			limit = p.MaxCompletionTokens
		}
		return p.Model, p.Stream, limit, p.N, err
	case responsesPath:
		var p plainResponse
		err = json.Unmarshal(content, &p)
		return p.Model, p.Stream, p.MaxTokens, nil, err
	case completionPath:
		var p plainText
		err = json.Unmarshal(content, &p)
		return p.Model, p.Stream, p.MaxTokens, p.N, err
	default:
		var p plainModel
		err = json.Unmarshal(content, &p)
		return p.Model, false, nil, nil, err
	}
}

// agrees says what of a request that was understood encoding/json finds otherwise.
func agrees(path string, content []byte, ask *inspect.Ask) string {
	model, streamed, limit, n, err := plainly(path, content)
	switch {
	case err != nil:
		return err.Error()
	case ask.Model != model:
		return "model " + model
	case (ask.Streamed == inspect.Yes) != streamed || ask.Streamed == inspect.Unknown:
		return fmt.Sprint("streamed: ", streamed)
	case limit == nil || *limit < 0:
		if ask.MaxTokens != -1 {
			return "no limit"
		}
		return ""
	}
	least := big.NewInt(*limit)
	if n != nil {
		least.Mul(least, big.NewInt(*n))
	}
	got := big.NewInt(ask.MaxTokens)
	switch of := got.Cmp(least); {
	case ask.MaxTokens == math.MaxInt64:
		return ""
	case of < 0, of > 0 && path != completionPath:
		return fmt.Sprint("a limit of ", least)
	}
	return ""
}

func FuzzRequest(f *testing.F) {
	for _, content := range []string{
		`{"model":"gpt-5","stream":true,"max_tokens":5,"n":2,"tools":[{"function":{"name":"f"}},{"type":"web_search","name":"x"}]}`,
		`{"model":"a","model":"b"}`, `{"mod\u0065l":"a","Model":"b"}`, `{"max_tokens":1,"max_completion_tokens":2}`, `{"prompt":["a","b"],"best_of":2,"max_tokens":3}`,
		`{"stream":null,"max_output_tokens":1e3}`, `{"ſtream":true}`, "\ufeff{}", `{"model":"\ud83d"}`, `{"model":"m"}{"model":"n"}`,
	} {
		for path := range 4 {
			f.Add(byte(path), []byte(content), []byte{1, 3, 0, 7})
		}
	}
	paths := []string{chatPath, responsesPath, completionPath, embeddingsPath}
	f.Fuzz(func(t *testing.T, which byte, content, at []byte) {
		path := paths[int(which)%len(paths)]
		ask, err := asked(post(path), string(content))
		got, errSplit := asked(post(path), string(content), at...)
		if fmt.Sprint(err) != fmt.Sprint(errSplit) {
			t.Fatalf("%q split at %v: %v, want %v", content, at, errSplit, err)
		}
		if err != nil {
			return
		}
		if diff := cmp.Diff(ask, got); diff != "" {
			t.Errorf("%q split at %v (-whole +split):\n%s", content, at, diff)
		}
		if why := agrees(path, content, &ask); why != "" {
			t.Errorf("%s %q is %+v, and encoding/json finds %s", path, content, ask, why)
		}
	})
}

// plainChat is an answer as encoding/json reads it.
type plainChat struct {
	ID    *string `json:"id"`
	Model *string `json:"model"`
	Usage *struct {
		Input  *int64 `json:"prompt_tokens"`
		Output *int64 `json:"completion_tokens"`
	} `json:"usage"`
}

// told is a number that can be told, or -1.
func told(n *int64) int64 {
	if n == nil || *n < 0 {
		return -1
	}
	return *n
}

func FuzzAnswer(f *testing.F) {
	for _, content := range []string{
		`{"id":"i","model":"m","choices":[{"index":0,"finish_reason":"stop","delta":{"content":"x"}}],"usage":{"prompt_tokens":1,"completion_tokens":2}}`,
		data(`{"id":"i","choices":[{"delta":{"content":"x"}}]}`, `{"choices":null,"usage":{"prompt_tokens":1}}`, "[DONE]"),
		"event: error\r\ndata: {\"type\":\"error\",\"code\":\"c\"}\r\n\r\n", responseStream("response.completed", `"status":"completed"`), `{"error":{"type":"t","code":1}}`,
	} {
		for which := range 6 {
			f.Add(byte(which), []byte(content), []byte{1, 3, 0, 7})
		}
	}
	operations := []string{Chat, Responses, Embeddings}
	f.Fuzz(func(t *testing.T, which byte, content, at []byte) {
		operation, contentType := operations[int(which)%3], jsonType
		if which/3%2 == 1 {
			contentType = streamType
		}
		status := 200 + int(which/6%2)*300
		begin := func() inspect.Answer {
			if a := answerTo(operation, status, contentType); a != nil {
				return a
			}
			return inspect.Unread(inspect.NewSaid())
		}
		whole := answered(t, begin(), string(content))
		if diff := cmp.Diff(whole, answered(t, begin(), string(content), at...)); diff != "" {
			t.Errorf("%q split at %v (-whole +split):\n%s", content, at, diff)
		}
		var plain plainChat
		if operation != Chat || contentType != jsonType || status != 200 || whole.ID == "" && whole.Tokens.Input < 0 || json.Unmarshal(content, &plain) != nil {
			return
		}
		if whole.ID != "" && (plain.ID == nil || *plain.ID != whole.ID) {
			t.Errorf("%q: id %q", content, whole.ID)
		}
		if u := plain.Usage; whole.Tokens.Input >= 0 && (u == nil || told(u.Input) != whole.Tokens.Input || told(u.Output) != whole.Tokens.Output) {
			t.Errorf("%q: %+v", content, whole.Tokens)
		}
	})
}

// An answer goes on as it came, whatever it is.
func FuzzPass(f *testing.F) {
	f.Add(byte(1), []byte("data: {}\n\n"))
	f.Fuzz(func(t *testing.T, which byte, content []byte) {
		a := answerTo([]string{Chat, Responses}[which%2], 200, []string{jsonType, streamType}[which/2%2])
		before := bytes.Clone(content)
		if out, err := a.Pass(content); !bytes.Equal(out, before) || err != nil {
			t.Errorf("%q became %q, %v", before, out, err)
		}
	})
}
