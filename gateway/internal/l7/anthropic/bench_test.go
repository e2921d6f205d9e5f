package anthropic

import (
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/inspect"
)

const token = "event: content_block_delta\ndata: " + `{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":" capital"}}` + "\n\n"

func listen() inspect.Answer {
	return Protocol{}.Answer([]inspect.Ask{{Operation: Chat}}, answered(200, "text/event-stream"), nil)
}

// How long one token of a stream takes.
func BenchmarkToken(b *testing.B) {
	a, p := listen(), []byte(token)
	b.SetBytes(int64(len(p)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := a.Pass(p); err != nil {
			b.Fatal(err)
		}
	}
}

// How long a usage takes, which comes once or a few times.
func BenchmarkUsage(b *testing.B) {
	a, p := listen(), []byte(ends("end_turn", `"input_tokens":10,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":15`))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := a.Pass(p); err != nil {
			b.Fatal(err)
		}
	}
}

func conversation(n int) []byte {
	var b strings.Builder
	b.WriteString(`{"model":"claude-opus-5-5","max_tokens":4096,"stream":true,"tools":[{"name":"look_up","input_schema":{"type":"object"}}],"messages":[`)
	for i := 0; b.Len() < n; i++ {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"role":"user","content":[{"type":"text","text":"%s"}]}`, strings.Repeat("What is the capital of \\\"France\\\"?\\n", 20))
	}
	b.WriteString("]}")
	return []byte(b.String())
}

// How fast a request streams by.
func BenchmarkRequest(b *testing.B) {
	content := conversation(1 << 20)
	b.SetBytes(int64(len(content)))
	b.ReportAllocs()
	for b.Loop() {
		r, _ := Protocol{}.Request(asked("POST", "/v1/messages"))
		for rest := content; len(rest) > 0; {
			n := min(len(rest), 16<<10)
			if _, err := r.Write(rest[:n]); err != nil {
				b.Fatal(err)
			}
			rest = rest[n:]
		}
		if err := r.End(); err != nil {
			b.Fatal(err)
		}
	}
}

// TestTokensDoNotAllocate: nor do usages that say a reason again.
func TestTokensDoNotAllocate(t *testing.T) {
	a := listen()
	stream := []byte(usual(ends("end_turn", `"output_tokens":15`)))
	a.Pass(stream)
	for _, p := range [][]byte{[]byte(token), stream} {
		if n := testing.AllocsPerRun(100, func() { a.Pass(p) }); n != 0 {
			t.Errorf("%.40q allocates %v times", p, n)
		}
	}
	half := []byte(token)
	if n := testing.AllocsPerRun(100, func() { a.Pass(half[:50]); a.Pass(half[50:]) }); n != 0 {
		t.Errorf("a token in two pieces allocates %v times", n)
	}
}

// TestMemory holds what a stream and a request keep, however long they are.
func TestMemory(t *testing.T) {
	const most = 32 << 10
	long := event("content_block_delta", `{"type":"content_block_delta","delta":{"type":"text_delta","text":"`+strings.Repeat("x", 1<<20)+`"}}`)
	var answers [32]inspect.Answer
	before := heap()
	for i := range answers {
		answers[i] = listen()
		answers[i].Pass([]byte(usual()))
		answers[i].Pass([]byte(long))
		answers[i].Pass([]byte("event: " + strings.Repeat("x", 1<<16)))
	}
	if each := (heap() - before) / int64(len(answers)); each > most {
		t.Errorf("a stream keeps %d bytes", each)
	} else {
		t.Logf("a stream keeps %d bytes", each)
	}
	runtime.KeepAlive(&answers)
	runtime.KeepAlive(long)

	content := conversation(1 << 20)
	var requests [32]inspect.Request
	before = heap()
	for i := range requests {
		requests[i], _ = Protocol{}.Request(asked("POST", "/v1/messages"))
		if _, err := requests[i].Write(content[:len(content)-1]); err != nil {
			t.Fatal(err)
		}
	}
	if each := (heap() - before) / int64(len(requests)); each > most {
		t.Errorf("a request keeps %d bytes", each)
	} else {
		t.Logf("a request keeps %d bytes", each)
	}
	runtime.KeepAlive(&requests)
	runtime.KeepAlive(content)
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestHugeMessage: a message far longer than memory for it is read to its end.
func TestHugeMessage(t *testing.T) {
	r, _ := Protocol{}.Request(asked("POST", "/v1/messages"))
	piece := []byte(strings.Repeat("iVBORw0KGgo", 5958))
	io.WriteString(r, `{"messages":[{"content":"`)
	for range 150 { // 10 MB
		if _, err := r.Write(piece); err != nil {
			t.Fatal(err)
		}
	}
	io.WriteString(r, `"}],"model":"m"}`)
	if err := r.End(); err != nil || r.Asks()[0].Model != "m" {
		t.Errorf("%+v, %v", r.Asks(), err)
	}
}
