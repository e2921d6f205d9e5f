package anthropic

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/inspect"
)

// heard is a message as encoding/json reads it, which minds no case and takes the
// last of two keys.
type heard struct {
	Model     any               `json:"model"`
	Stream    any               `json:"stream"`
	MaxTokens json.Number       `json:"max_tokens"`
	Fallbacks any               `json:"fallbacks"`
	Tools     []json.RawMessage `json:"tools"`
	Messages  any               `json:"messages"`
}

// plain is it as a map, which minds case.
func (h *heard) plain(m map[string]any) {
	*h = heard{Model: m["model"], Stream: m["stream"], Fallbacks: m["fallbacks"], Messages: m["messages"]}
	if n, ok := m["max_tokens"].(json.Number); ok {
		h.MaxTokens = n
	}
}

// agrees holds what was told of a message against what a reader has.
func (h *heard) agrees(t *testing.T, content []byte, told inspect.Ask) {
	t.Helper()
	model, _ := h.Model.(string)
	stream, _ := h.Stream.(bool)
	if model != told.Model || stream != (told.Streamed == inspect.Yes) {
		t.Errorf("%q: %+v, but a reader has %+v", content, told, h)
	}
	most := fmt.Sprint(told.MaxTokens)
	if said := strings.TrimPrefix(h.MaxTokens.String(), "-"); said != "" && said != most || said == "" && told.MaxTokens >= 0 {
		t.Errorf("%q: at most %s, but a reader has %q", content, most, h.MaxTokens)
	}
	if _, other := h.Fallbacks.(string); other && h.Fallbacks != Default {
		t.Errorf("%q: fallbacks %v were accepted", content, h.Fallbacks)
	}
}

// compare holds a request that was understood against two readers, and both against
// every split.
func compare(t *testing.T, path string, content []byte, n int) {
	t.Helper()
	head := asked("POST", path)
	whole, err := read(t, head, string(content), max(1, len(content)))
	split, splitErr := read(t, head, string(content), max(1, n))
	if diff := cmp.Diff(whole, split); diff != "" || fmt.Sprint(err) != fmt.Sprint(splitErr) {
		t.Errorf("%q in pieces of %d (-whole +split): %s\n%v, %v", content, n, diff, err, splitErr)
	}
	if err != nil || path != "/v1/messages" {
		return
	}
	var byMap map[string]any
	d := json.NewDecoder(strings.NewReader(string(content)))
	d.UseNumber()
	if err := d.Decode(&byMap); err != nil {
		t.Fatalf("%q was accepted: %v", content, err)
	}
	var h heard
	h.plain(byMap)
	h.agrees(t, content, whole[0])
	if json.Unmarshal(content, &h) == nil {
		h.agrees(t, content, whole[0])
	}
}

var paths = []string{"/v1/messages", "/v1/messages/count_tokens", "/v1/messages/batches"}

func FuzzRequest(f *testing.F) {
	for i := range paths {
		for _, content := range []string{
			`{"model":"m","max_tokens":5,"stream":true,"tools":[{"name":"t","model":"a"}],"fallbacks":[{"model":"b","max_tokens":7}]}`,
			`{"mod\u0065l":"m","fallbacks":"default","messages":[{"content":[{"tool":{"definition":{"name":"n","model":"x"}}}]}]}`,
			`{"requests":[{"params":{"model":"m","fallbacks":[{"model":"x"}]}},{"params":{}}]}`, `{"Model":"a","model":"b"}`, `{"stream":null,"max_tokens":-0}`, `[]`,
		} {
			f.Add(uint8(i), []byte(content), 3)
		}
	}
	f.Fuzz(func(t *testing.T, i uint8, content []byte, n int) {
		compare(t, paths[int(i)%len(paths)], content, n%100)
	})
}

func FuzzAnswer(f *testing.F) {
	f.Add(true, []byte(usual(ends("end_turn", `"input_tokens":3,"output_tokens":15`), typed("error", `"error":{"type":"api_error"}`))), 7)
	f.Add(true, []byte("event: message_delta\r\ndata: {\"type\":\"message_delta\",\r\ndata: \"usage\":{\"output_tokens\":1}}\r\n\r\n"), 1)
	f.Add(false, []byte(`{"id":"a","type":"error","error":{"type":"x"},"usage":{"input_tokens":1},"input_tokens":2}`), 2)
	f.Fuzz(func(t *testing.T, streams bool, content []byte, n int) {
		media := "application/json"
		if streams {
			media = "text/event-stream"
		}
		head := answered(200, media)
		whole := hear(t, Chat, head, string(content), func(rest int) int { return rest })
		split := hear(t, Chat, head, string(content), func(int) int { return 1 + max(n, 0)%50 })
		if diff := cmp.Diff(whole, split); diff != "" {
			t.Errorf("%q in pieces of %d (-whole +split):\n%s", content, n, diff)
		}
		if !streams {
			heardWhole(t, content, whole)
		}
	})
}

// heardWhole holds what was told of a JSON text against encoding/json.
func heardWhole(t *testing.T, content []byte, said *inspect.Said) {
	t.Helper()
	if cmp.Diff(says(func(*inspect.Said) {}), said) == "" {
		return
	}
	var m struct {
		ID         any `json:"id"`
		Model      any `json:"model"`
		StopReason any `json:"stop_reason"`
		Type       any `json:"type"`
	}
	if err := json.Unmarshal(content, &m); err != nil {
		t.Fatalf("%q says %+v: %v", content, said, err)
	}
	for _, x := range []struct {
		said string
		has  any
	}{{said.ID, m.ID}, {said.Model, m.Model}, {said.Finish, m.StopReason}} {
		if x.said != "" && x.said != x.has {
			t.Errorf("%q says %q, a reader has %v", content, x.said, x.has)
		}
	}
	if said.Failed != (m.Type == "error") {
		t.Errorf("%q: failed is %t", content, said.Failed)
	}
}

// TestRandomCounts: of all usages in a stream, each count is the last that was said.
func TestRandomCounts(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	names := []string{"input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "output_tokens"}
	for range 300 {
		last := [4]int64{-1, -1, -1, -1}
		var all strings.Builder
		for i := range 1 + r.IntN(6) {
			var members []string
			for at, name := range names {
				switch n := r.Int64N(1000); r.IntN(3) {
				case 0:
					members = append(members, fmt.Sprintf("%q:%d", name, n))
					last[at] = n
				case 1:
					members = append(members, fmt.Sprintf("%q:null", name))
				}
			}
			usage := `"usage":{` + strings.Join(members, ",") + `}`
			if i == 0 {
				last[3] = -1 // of an answer that has only begun
				all.WriteString(typed("message_start", `"message":{`+usage+`}`))
			} else {
				all.WriteString(typed("message_delta", usage) + word("text_delta") + typed("ping", ""))
			}
		}
		said := hear(t, Chat, answered(200, "text/event-stream"), all.String(), func(int) int { return 1 + r.IntN(60) })
		want := inspect.Tokens{Input: last[0], CacheRead: last[1], CacheWritten: last[2], Output: last[3], Reasoning: -1, Counted: said.Pieces}
		if last[0] >= 0 {
			want.Input += max(last[1], 0) + max(last[2], 0)
		}
		if diff := cmp.Diff(want, said.Tokens); diff != "" {
			t.Fatalf("%s (-want +got):\n%s", all.String(), diff)
		}
	}
}

// TestRandomRequests makes messages of members that are good and bad, in any order.
func TestRandomRequests(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	members := []string{
		`"model":"a"`, `"model":"b"`, `"Model":"c"`, `"mod\u0065l":"d"`, `"stream":true`, `"stream":false`, `"stream":null`, `"STREAM":true`, `"stream":1`,
		`"max_tokens":5`, `"max_tokens":0`, `"max_tokens":-0`, `"max_tokens":1e1`, `"max_tokens":null`, `"x":{"model":"y"}`, `"tools":[{"name":"t"}]`,
		`"tools":[{"model":"z"}]`, `"fallbacks":"default"`, `"fallbacks":[{"model":"w"}]`, `"messages":[{"role":"user","content":"x"}]`, `"system":"\ud800"`,
	}
	understood := 0
	for range 4000 {
		var some []string
		for range r.IntN(5) {
			some = append(some, members[r.IntN(len(members))])
		}
		content := []byte("{" + strings.Join(some, ",") + "}")
		compare(t, "/v1/messages", content, 1+r.IntN(9))
		if _, err := read(t, asked("POST", "/v1/messages"), string(content), len(content)); err == nil {
			understood++
		}
	}
	if understood < 800 || understood > 3200 {
		t.Errorf("%d were understood: the test looks at one side only", understood)
	}
}

// FuzzRoute: whatever a head has, what is told of it is text that may be told.
func FuzzRoute(f *testing.F) {
	for _, path := range []string{"/v1/messages?model=a", "/v1/models/%61?x", "/v1/messages/batches/b/results", "/v1/../v1/messages"} {
		f.Add("GET", path, "application/json; charset=utf-8")
		f.Add("POST", path, "")
	}
	f.Fuzz(func(t *testing.T, method, path, media string) {
		head := &l7.RequestHead{Method: method, Path: path, Fields: l7.Fields{{Name: "content-type", Value: media}}}
		r, ask := Protocol{}.Request(head)
		if !inspect.Nameable(ask.Model) || ask.Operation == "" && (r != nil || ask.Model != "") {
			t.Errorf("%s %s: %+v", method, path, ask)
		}
	})
}
