package provider

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// post asks a provider, and gives the answer and its content.
func post(t *testing.T, p *Provider, path, body string, fields ...string) (*http.Response, []byte, error) {
	t.Helper()
	srv := httptest.NewServer(p)
	t.Cleanup(srv.Close)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, srv.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(fields); i += 2 {
		req.Header.Set(fields[i], fields[i+1])
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp, text, err
}

// usage reads what an answer reports, in either API's words. Later words of a stream
// replace earlier ones, and none stands for two things.
type usage struct {
	PromptTokens     int64 `json:"prompt_tokens"`
	CompletionTokens int64 `json:"completion_tokens"`
	PromptDetails    struct {
		Cached int64 `json:"cached_tokens"`
	} `json:"prompt_tokens_details"`
	CompletionDetails struct {
		Reasoning int64 `json:"reasoning_tokens"`
	} `json:"completion_tokens_details"`
	InputTokens  int64 `json:"input_tokens"`
	OutputTokens int64 `json:"output_tokens"`
	InputDetails struct {
		Cached int64 `json:"cached_tokens"`
	} `json:"input_tokens_details"`
	OutputDetails struct {
		Reasoning int64 `json:"reasoning_tokens"`
	} `json:"output_tokens_details"`
	CacheRead    int64 `json:"cache_read_input_tokens"`
	CacheWritten int64 `json:"cache_creation_input_tokens"`
}

func (u *usage) sum() Usage {
	return Usage{
		Input:        u.PromptTokens + u.InputTokens + u.CacheRead + u.CacheWritten,
		Output:       u.CompletionTokens + u.OutputTokens,
		CacheRead:    u.PromptDetails.Cached + u.InputDetails.Cached + u.CacheRead,
		CacheWritten: u.CacheWritten,
		Reasoning:    u.CompletionDetails.Reasoning + u.OutputDetails.Reasoning,
	}
}

// TestReported: the answers report what Reported says.
func TestReported(t *testing.T) {
	const metered = `,"stream":true,"stream_options":{"include_usage":true}`
	for _, c := range []struct{ path, model, more string }{
		{"/v1/chat/completions", Text, ""},
		{"/v1/chat/completions", Text, metered},
		{"/v1/chat/completions", Slow, metered},
		{"/v1/chat/completions", Tools, ""},
		{"/v1/chat/completions", Tools, metered},
		{"/v1/chat/completions", OtherServer, `,"stream":true`},
		{"/v1/responses", Text, ""},
		{"/v1/responses", Text, `,"stream":true`},
		{"/v1/responses", CutShort, `,"stream":true`},
		{"/v1/embeddings", Embedding, ""},
		{"/v1/embeddings", Embedding, `,"encoding_format":"base64"`},
		{"/v1/messages", Text, ""},
		{"/v1/messages", Text, `,"stream":true`},
		{"/v1/messages", Tools, ""},
		{"/v1/messages", Tools, `,"stream":true`},
	} {
		_, text, err := post(t, New(), c.path, `{"model":"`+c.model+`"`+c.more+`}`)
		if err != nil {
			t.Errorf("%s %s: %v", c.path, c.model, err)
			continue
		}
		var u usage
		for _, object := range objects(t, text) {
			var answer struct {
				Usage             *usage
				Response, Message struct{ Usage *usage }
			}
			answer.Usage, answer.Response.Usage, answer.Message.Usage = &u, &u, &u
			if err := json.Unmarshal(object, &answer); err != nil {
				t.Errorf("%s %s: %v: %s", c.path, c.model, err, object)
			}
		}
		if got, want := u.sum(), Reported(c.path, c.model); got != want {
			t.Errorf("%s %s%s reports %+v, want %+v", c.path, c.model, c.more, got, want)
		}
	}
}

// objects are the JSON objects of an answer: itself, or those of its events.
func objects(t *testing.T, text []byte) (all [][]byte) {
	t.Helper()
	if text[0] == '{' {
		return [][]byte{text}
	}
	for event := range Events(text) {
		var data []byte
		for line := range bytes.Lines(event) {
			if d, ok := bytes.CutPrefix(line, []byte("data:")); ok {
				data = append(data, bytes.TrimSpace(d)...)
			}
		}
		if len(data) > 0 && string(data) != "[DONE]" {
			all = append(all, data)
		}
	}
	if len(all) < 3 {
		t.Errorf("few events in %q", text)
	}
	return all
}

// TestUnmetered: a stream reports nothing where nobody asked for it.
func TestUnmetered(t *testing.T) {
	for _, model := range []string{Text, Tools} {
		if _, text, _ := post(t, New(), "/v1/chat/completions", `{"model":"`+model+`","stream":true}`); bytes.Contains(text, []byte("usage")) {
			t.Errorf("%s: %s", model, text)
		}
	}
}

// TestEvents: cut at empty lines, and nothing is lost.
func TestEvents(t *testing.T) {
	for _, c := range []struct {
		text string
		want []string
	}{
		{"", nil},
		{"data: a\n\ndata: b\n\n", []string{"data: a\n\n", "data: b\n\n"}},
		{": c\r\n\r\ndata:a\r\n\r\n", []string{": c\r\n\r\n", "data:a\r\n\r\n"}},
		{": c\n\ndata:a\r\n\r\n", []string{": c\n\n", "data:a\r\n\r\n"}},
		{"data: a", []string{"data: a"}},
	} {
		var got []string
		for event := range Events([]byte(c.text)) {
			got = append(got, string(event))
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%q: %s", c.text, diff)
		}
	}
}

// TestFaults: each API's own form, and a second try is answered where it is to be.
func TestFaults(t *testing.T) {
	for _, c := range []struct {
		model, path string
		fields      []string
		status      int
		want        string
	}{
		{BadRequest, "/v1/chat/completions", nil, 400, `"code": "invalid_request_error"`},
		{BadRequest, "/v1/messages", []string{"Anthropic-Version", "2026-10-21"}, 400, `"request_id": "req_scripted"`},
		{Overloaded, "/v1/messages", []string{"Anthropic-Version", "2026-10-21"}, 529, "overloaded_error"},
		{BusyOnce, "/v1/chat/completions", nil, 429, "rate_limit_error"},
		{BusyOnce, "/v1/chat/completions", []string{"X-Stainless-Retry-Count", "1"}, 200, "chatcmpl-text"},
		{Busy, "/v1/chat/completions", []string{"X-Stainless-Retry-Count", "1"}, 429, "rate_limit_error"},
		{Text, "/v1/files", nil, 404, "not_found_error"},
	} {
		resp, text, err := post(t, New(), c.path, `{"model":"`+c.model+`"}`, c.fields...)
		if err != nil || resp.StatusCode != c.status || !bytes.Contains(text, []byte(c.want)) {
			t.Errorf("%s %s: %d, %v: %s", c.path, c.model, resp.StatusCode, err, text)
		}
	}
}

// TestCut: a broken stream is no whole one, though it has begun.
func TestCut(t *testing.T) {
	for _, model := range []string{Cut, CutAtOnce} {
		_, text, err := post(t, New(), "/v1/messages", `{"model":"`+model+`","stream":true}`)
		if err == nil || !bytes.Contains(text, []byte("content_block_delta")) || bytes.Contains(text, []byte("message_stop")) {
			t.Errorf("%s: %v: %s", model, err, text)
		}
	}
}

// TestZipped: in gzip for who takes it, and otherwise not.
func TestZipped(t *testing.T) {
	const ask = `{"model":"` + Zipped + `","stream":true}`
	_, plain, _ := post(t, New(), "/v1/messages", ask, "Accept-Encoding", "identity")
	resp, packed, _ := post(t, New(), "/v1/messages", ask, "Accept-Encoding", "gzip, deflate")
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil || resp.Header.Get("Content-Encoding") != "gzip" {
		t.Fatalf("%v: %v", err, resp.Header)
	}
	if text, err := io.ReadAll(z); err != nil || !bytes.Equal(text, plain) || !bytes.Contains(plain, []byte("message_stop")) {
		t.Errorf("%v: %q, want %q", err, text, plain)
	}
}

// TestCalls: each call is told once, with its body and its try.
func TestCalls(t *testing.T) {
	p := New()
	post(t, p, "/v1/messages?beta=true", `{"model":"a"}`)
	post(t, p, "/v1/messages", `{"model":"b"}`, "X-Stainless-Retry-Count", "2")
	calls := p.Calls()
	if len(calls) != 2 || calls[0].Target != "/v1/messages?beta=true" || calls[0].Retry() != -1 || calls[1].Body != `{"model":"b"}` || calls[1].Retry() != 2 {
		t.Errorf("%+v", calls)
	}
	if again := p.Calls(); len(again) != 0 {
		t.Errorf("told twice: %+v", again)
	}
}
