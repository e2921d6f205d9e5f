package openai

import (
	"bytes"
	"runtime"
	"strings"
	"testing"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/inspect"
)

// Chunks of a token each, as services send them.
const (
	chatChunk     = `data: {"id":"chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT","object":"chat.completion.chunk","created":1741569952,"model":"gpt-5.4","service_tier":"default","system_fingerprint":null,"choices":[{"index":0,"delta":{"content":" word"},"logprobs":null,"finish_reason":null}],"usage":null,"obfuscation":"Xy12"}` + "\n\n"
	plainChunk    = `data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1741569952,"model":"llama","choices":[{"index":0,"delta":{"content":" word"},"finish_reason":null}]}` + "\n\n"
	responseChunk = "event: response.output_text.delta\n" + `data: {"type":"response.output_text.delta","sequence_number":12,"item_id":"msg_67c9fdcf37fc8190ba82116e33fb28c507b8b0ad4e5eb654","output_index":0,"content_index":0,"delta":" word","logprobs":[],"obfuscation":"Xy12"}` + "\n\n"
)

func answerTo(operation string, status int, contentType string) inspect.Answer {
	ask := inspect.NewAsk()
	ask.Operation = operation
	return Protocol{}.Answer([]inspect.Ask{ask}, &l7.ResponseHead{Status: status, Fields: l7.Fields{{Name: "content-type", Value: contentType}}}, nil)
}

// What a token costs.
func BenchmarkToken(b *testing.B) {
	for _, bb := range []struct{ name, operation, chunk string }{
		{"chat", Chat, chatChunk},
		{"plain", Chat, plainChunk},
		{"responses", Responses, responseChunk},
	} {
		b.Run(bb.name, func(b *testing.B) {
			a, chunk := answerTo(bb.operation, 200, "text/event-stream"), []byte(bb.chunk)
			b.SetBytes(int64(len(chunk)))
			b.ReportAllocs()
			for b.Loop() {
				_, _ = a.Pass(chunk)
			}
			if a.Said().Pieces < int64(b.N) {
				b.Errorf("%d pieces of %d", a.Said().Pieces, b.N)
			}
		})
	}
}

// How fast a request streams by, and an answer that is one JSON text.
func BenchmarkWhole(b *testing.B) {
	message := `{"role":"user","content":"` + strings.Repeat(`What is the capital of \"France\"?\n`, 30) + `"}`
	content := []byte(`{"model":"m","messages":[` + strings.Repeat(message+",", 100) + message + `],"stream":true}`)
	b.Run("request", func(b *testing.B) {
		b.SetBytes(int64(len(content)))
		b.ReportAllocs()
		for b.Loop() {
			r, _ := Protocol{}.Request(chatHead())
			if _, err := r.Write(content); err != nil {
				b.Fatal(err)
			}
			if err := r.End(); err != nil {
				b.Fatal(err)
			}
		}
	})
	vector := []byte(`{"object":"list","data":[{"embedding":[` + strings.Repeat("-0.0123456789,", 1535) + `1]}],"model":"m","usage":{"prompt_tokens":8,"total_tokens":8}}`)
	b.Run("vector", func(b *testing.B) {
		b.SetBytes(int64(len(vector)))
		b.ReportAllocs()
		for b.Loop() {
			a := answerTo(Embeddings, 200, "application/json")
			_, _ = a.Pass(vector)
			_, _ = a.End()
		}
	})
}

func chatHead() *l7.RequestHead {
	return &l7.RequestHead{Method: "POST", Path: "/v1/chat/completions", Fields: l7.Fields{{Name: "content-type", Value: "application/json"}}}
}

func TestTokensDoNotAllocate(t *testing.T) {
	for _, tt := range []struct{ operation, chunk string }{{Chat, chatChunk}, {Chat, plainChunk}, {Responses, responseChunk}} {
		a, chunk := answerTo(tt.operation, 200, "text/event-stream"), []byte(tt.chunk)
		_, _ = a.Pass(chunk) // learns the names, and makes the buffers
		if n := testing.AllocsPerRun(100, func() { _, _ = a.Pass(chunk) }); n != 0 {
			t.Errorf("%.60q allocates %v times", tt.chunk, n)
		}
		if got := a.Said().Pieces; got != 102 {
			t.Errorf("%d pieces, want 102", got)
		}
	}
}

// heap is what f leaves on the heap, which it returns so that it is not collected.
func heap(f func() any) uint64 {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.GC() // what the first one left to sweep
	runtime.ReadMemStats(&before)
	kept := f()
	runtime.GC()
	runtime.ReadMemStats(&after)
	runtime.KeepAlive(kept)
	return after.HeapAlloc - min(before.HeapAlloc, after.HeapAlloc)
}

// Whatever streams by, an inspector keeps little.
func TestMemoryIsBounded(t *testing.T) {
	const most = 32 << 10
	long := bytes.Repeat([]byte("x"), 8<<10)
	many := func(format string) []byte { return []byte(strings.Repeat(format, 1000)) }
	for name, chunks := range map[string][][]byte{
		"usual":         {[]byte(chatChunk)},
		"long names":    {[]byte(`data: {"id":"`), long[:8000], []byte(`","model":"`), long[:8000], []byte(`"}` + "\n\n")},
		"many reasons":  {[]byte(`data: {"choices":[`), many(`{"finish_reason":"` + strings.Repeat("r", maxReason) + `"},`), []byte("{}]}\n\n")},
		"a long event":  {[]byte("event: "), long, []byte("\ndata: "), long, []byte("\n\n")},
		"a long string": {[]byte(`data: {"choices":[{"delta":{"content":"`), bytes.Repeat(long, 100), []byte("\"}}]}\n\n")},
	} {
		const answers = 64
		got := heap(func() any {
			var all [answers]inspect.Answer
			for i := range all {
				all[i] = answerTo(Chat, 200, "text/event-stream")
				for range 3 {
					for _, c := range chunks {
						_, _ = all[i].Pass(c)
					}
				}
			}
			return &all
		}) / answers
		t.Logf("%s: %d bytes", name, got)
		if got > most {
			t.Errorf("%s: an answer keeps %d bytes, want at most %d", name, got, most)
		}
	}
}

// A message of 100 MB streams by, and the model that comes behind it is found.
func TestLongRequestsAreNotHeld(t *testing.T) {
	const pieces = 40 // of 1 MB each, in one string; then as many strings
	piece := bytes.Repeat([]byte("x"), 1<<20)
	r, _ := Protocol{}.Request(chatHead())
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	write := func(p []byte) {
		if _, err := r.Write(p); err != nil {
			t.Fatal(err)
		}
	}
	write([]byte(`{"messages":[{"role":"user","content":"`))
	for range pieces {
		write(piece)
	}
	for range pieces * 3 / 2 {
		write([]byte(`"},{"role":"user","content":"`))
		write(piece)
	}
	write([]byte(`"}],"model":"late"}`))
	if err := r.End(); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 32<<10 {
		t.Errorf("it allocates %d bytes", got)
	}
	if got := r.Asks()[0].Model; got != "late" {
		t.Errorf("model %q", got)
	}
}
