package http1

import (
	"bufio"
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
)

// ordinary is a head as an SDK sends it.
var ordinary = head("POST /v1/chat/completions HTTP/1.1", "Host: llm.azure.mesh:8000", "Content-Type: application/json",
	"Content-Length: 512", "Accept: */*", "User-Agent: OpenAI/Python 1.2.3", "Authorization: Bearer sk-0123456789abcdef0123456789abcdef",
	"Connection: keep-alive", "Accept-Encoding: gzip, deflate", "Traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")

func BenchmarkReadHead(b *testing.B) {
	src := strings.NewReader(ordinary)
	br := bufio.NewReaderSize(src, 16<<10)
	var r Request
	b.ReportAllocs()
	for b.Loop() {
		src.Reset(ordinary)
		br.Reset(src)
		if err := ReadHead(br, &r); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkReadResponse(b *testing.B) {
	raw := head("HTTP/1.1 200 OK", "Content-Type: application/json", "Content-Length: 512", "Date: Thu, 26 Nov 2026 10:00:00 GMT")
	src := strings.NewReader(raw)
	br := bufio.NewReaderSize(src, 16<<10)
	var a Answer
	b.ReportAllocs()
	for b.Loop() {
		src.Reset(raw)
		br.Reset(src)
		if err := ReadResponse(br, "POST", &a); err != nil {
			b.Fatal(err)
		}
	}
}

// content is what BenchmarkAnswer and BenchmarkAsk send.
var content = bytes.Repeat([]byte("x"), 512)

func BenchmarkAnswer(b *testing.B) {
	h := &l7.ResponseHead{Status: 200, Fields: l7.Fields{
		{Name: "content-type", Value: "application/json"},
		{Name: "content-length", Value: "512"},
		{Name: "date", Value: "Thu, 26 Nov 2026 10:00:00 GMT"},
		{Name: "sallyport-crossing", Value: "01abc"},
	}}
	var r Request
	var resp Response
	b.ReportAllocs()
	for b.Loop() {
		resp.Reset(io.Discard, &r, false)
		_ = resp.WriteHead(h, false)
		_, _ = resp.Write(content)
		if err := resp.End(nil); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAsk(b *testing.B) {
	h := asking("POST", l7.Field{Name: "content-type", Value: "application/json"}, l7.Field{Name: "content-length", Value: "512"})
	var w RequestWriter
	b.ReportAllocs()
	for b.Loop() {
		w.Reset(io.Discard)
		_ = w.WriteHead(h, false)
		_, _ = w.Write(content)
		_ = w.End(nil)
		if err := w.Flush(); err != nil {
			b.Fatal(err)
		}
	}
}
