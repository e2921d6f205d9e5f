package openai

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// members of requests, and values of them, well formed and not.
var (
	keys   = []string{`"model"`, `"mod\u0065l"`, `"Model"`, `"stream"`, `"max_tokens"`, `"max_completion_tokens"`, `"max_output_tokens"`, `"n"`, `"best_of"`, `"tools"`, `"x"`, `"prompt"`}
	values = []string{
		`"m"`, `"\u006d"`, `"m"`, `"other"`, `null`, `true`, `false`, `0`, `1`, `2`, `3`, `-1`, `1e2`, `5.0`, `9223372036854775807`, `{"model":"no"}`,
		`["a","b"]`, `[[1],[2]]`, `[{"function":{"name":"f"},"name":"g","type":"t"},{"type":"web_search"}]`, `""`, `"\ud83d"`,
	}
)

func randomRequest(r *rand.Rand) string {
	var b strings.Builder
	b.WriteString("{")
	for i := range r.IntN(6) {
		if i > 0 {
			b.WriteString(",")
		}
		key := keys[r.IntN(len(keys))]
		b.WriteString(key + ":")
		switch {
		case r.IntN(6) == 0:
			b.WriteString(values[r.IntN(len(values))])
		case strings.Contains(key, "mod"), strings.Contains(key, "Mod"):
			b.WriteString(values[r.IntN(4)])
		case key == `"stream"`:
			b.WriteString(values[4+r.IntN(3)])
		default:
			b.WriteString(values[7+r.IntN(5)])
		}
	}
	b.WriteString("}")
	return b.String()
}

// What is understood of a request, encoding/json finds as well.
func TestRandomRequests(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	const requests = 30_000
	understood := 0
	for i := range requests {
		path, content := []string{chatPath, responsesPath, completionPath, embeddingsPath}[i%4], randomRequest(r)
		ask, err := asked(post(path), content)
		if err != nil {
			continue
		}
		understood++
		if why := agrees(path, []byte(content), &ask); why != "" {
			t.Fatalf("%s %s is %+v, and encoding/json finds %s", path, content, ask, why)
		}
	}
	if understood < requests/10 || understood > requests*9/10 {
		t.Errorf("%d of %d requests were understood: the test looks at one side only", understood, requests)
	}
}

// A stream says what its chunks say, however they are cut.
func TestRandomStreams(t *testing.T) {
	chunks := []struct {
		text   string
		pieces int64
		usage  int64 // of output; -1 for none
		finish string
		ends   bool
	}{
		{`{"choices":[{"index":0,"delta":{"content":"a"}}],"usage":null}`, 1, -1, "", false},
		{`{"choices":[{"index":0,"delta":{"content":"a"}},{"index":1,"delta":{"reasoning":"b"}}]}`, 2, -1, "", false},
		{`{"choices":[{"index":0,"delta":{"content":""}}]}`, 0, -1, "", false},
		{`{"choices":[{"index":0,"finish_reason":"stop"}]}`, 0, -1, "stop", false},
		{`{"choices":[],"usage":{"completion_tokens":7}}`, 0, 7, "", false},
		{`{"usage":{"completion_tokens":9},"choices":null}`, 0, 9, "", false},
		{`{"choices":[{"index":0,"delta":{"content":"a"}}]`, 0, -1, "", false}, // no JSON
		{`[DONE]`, 0, -1, "", true},
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		var b strings.Builder
		pieces, usage, finish, over := int64(0), int64(-1), "", false
		for range r.IntN(12) {
			c := chunks[r.IntN(len(chunks))]
			end := []string{"\n", "\r\n", "\r"}[r.IntN(3)]
			b.WriteString([]string{"", ": ping" + end + end, "id: 1" + end}[r.IntN(3)] + "data: " + c.text + end + end)
			if over = over || c.ends; over {
				continue
			}
			pieces += c.pieces
			if c.usage >= 0 {
				usage = c.usage
			}
			if c.finish != "" {
				finish = c.finish
			}
		}
		at := make([]byte, r.IntN(60))
		for i := range at {
			at[i] = byte(r.IntN(20))
		}
		got := answered(t, answerTo(Chat, 200, streamType), b.String(), at...)
		type told struct {
			pieces, counted, output int64
			finish                  string
		}
		want := told{pieces, pieces, usage, finish}
		if diff := cmp.Diff(want, told{got.Pieces, got.Tokens.Counted, got.Tokens.Output, got.Finish}, cmp.AllowUnexported(told{})); diff != "" {
			t.Fatalf("%q cut at %v (-want +got):\n%s", b.String(), at, diff)
		}
	}
}
