package l7

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"
)

// ordinary is a head as an SDK sends it.
func ordinary() *RequestHead {
	return &RequestHead{Method: "POST", Authority: "llm.azure.mesh:8000", Path: "/v1/chat/completions?x=1", Fields: Fields{
		{"content-type", "application/json"},
		{"content-length", "512"},
		{"accept", "*/*"},
		{"user-agent", "OpenAI/Python 1.2.3"},
		{"authorization", "Bearer sk-0123456789abcdef0123456789abcdef"},
		{"connection", "keep-alive"},
		{"accept-encoding", "gzip, deflate"},
		{"traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"},
	}}
}

func BenchmarkCheck(b *testing.B) {
	h := ordinary()
	b.ReportAllocs()
	for b.Loop() {
		if err := h.Check(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkStripIncoming(b *testing.B) {
	h := ordinary()
	fields := slices.Clone(h.Fields)
	b.ReportAllocs()
	for b.Loop() {
		h.Fields = append(h.Fields[:0], fields...)
		StripIncoming(&h.Fields)
	}
}

// A head that is well formed costs no memory.
func TestChecksDoNotAllocate(t *testing.T) {
	h := ordinary()
	h.Path = "/v1/org%2Fname/..x;y=1?q"
	fields := slices.Clone(h.Fields)
	if n := testing.AllocsPerRun(100, func() {
		h.Fields = append(h.Fields[:0], fields...)
		if err := h.Check(); err != nil {
			t.Fatal(err)
		}
		StripIncoming(&h.Fields)
	}); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

// A direction costs nothing, once its reader and writer have served one like it.
func TestFramesAllocateNothing(t *testing.T) {
	var (
		wire     bytes.Buffer
		w        FrameWriter
		r        FrameReader
		trailers Fields
		head     = ordinary()
		buf      = make([]byte, 1024)
	)
	n := testing.AllocsPerRun(100, func() {
		wire.Reset()
		w.Reset(&wire)
		r.Reset(&wire)
		w.Hold()
		if err := errors.Join(w.RequestHead(head, false), w.Data(buf[:512]), w.Trailers(head.Fields), w.Flush()); err != nil {
			t.Fatal(err)
		}
		f, err := r.Next()
		if err != nil || len(f.Request.Fields) != len(head.Fields) {
			t.Fatalf("%v, %v", f, err)
		}
		f.Request.Fields.Set("sallyport-crossing", "1")
		for err == nil {
			_, err = r.ReadData(buf, &trailers)
		}
		if !errors.Is(err, io.EOF) || len(trailers) != len(head.Fields) {
			t.Fatalf("%d trailers, %v", len(trailers), err)
		}
	})
	if n > 0 {
		t.Errorf("%v allocations, want none of what is said again", n)
	}
}
