package tcptunnel

import (
	"io"
	"testing"

	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel/carrier"

	"github.com/sallyport-mesh/sallyport/certs/certstest"
)

// BenchmarkOpenAndEcho asks what one crossing costs in a tunnel that is there:
// open, 1 KiB there and back, end, over TCP and mTLS on loopback.
func BenchmarkOpenAndEcho(b *testing.B) {
	near, far := tlsPair(b, certstest.Mesh(b, "aws.demo", "azure.demo"), carrier.Limits{})
	go func() {
		for {
			s, err := far.Accept(b.Context())
			if err != nil {
				return
			}
			go func() {
				io.Copy(s, s)
				s.CloseWrite()
			}()
		}
	}()
	question := make([]byte, 1<<10)
	b.ReportAllocs()
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		answer := make([]byte, 1<<10)
		for pb.Next() {
			s, err := near.Open(b.Context(), header("x"))
			if err != nil {
				b.Error(err)
				return
			}
			s.Write(question)
			s.CloseWrite()
			if _, err := io.ReadFull(s, answer); err != nil {
				b.Error(err)
				return
			}
			wantEOF(b, s)
		}
	})
}

// BenchmarkBulk asks what bytes cost in one stream, in writes of 32 KiB.
func BenchmarkBulk(b *testing.B) {
	near, far := tlsPair(b, certstest.Mesh(b, "aws.demo", "azure.demo"), carrier.Limits{})
	out, err := near.Open(b.Context(), header("x"))
	if err != nil {
		b.Fatal(err)
	}
	in, err := far.Accept(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	data := make([]byte, 32<<10)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 64<<10)
		for {
			if _, err := in.Read(buf); err != nil {
				return
			}
		}
	}()
	for b.Loop() {
		if _, err := out.Write(data); err != nil {
			b.Fatal(err)
		}
	}
	out.CloseWrite()
	<-done
}
