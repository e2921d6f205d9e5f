package quictunnel

import (
	"io"
	"syscall"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel/carrier"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel/tunneltest"
	"github.com/sallyport-mesh/sallyport/gateway/mux"
)

// processorTime is what this process has used.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// transfer measures bytes through one stream, in writes of 32 KiB, with the
// processor time of both ends.
func transfer(b *testing.B, out io.WriteCloser, in io.Reader) {
	b.Helper()
	data := make([]byte, 32<<10)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	done := make(chan struct{})
	go func() {
		defer close(done)
		io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{in}, make([]byte, 64<<10))
	}()
	begin := processorTime(b)
	n := 0
	for b.Loop() {
		if _, err := out.Write(data); err != nil {
			b.Fatal(err)
		}
		n += len(data)
	}
	out.Close()
	<-done
	b.ReportMetric((processorTime(b)-begin).Seconds()/(float64(n)/(1<<30)), "cpu-s/GiB")
}

type writer struct {
	io.Writer
	end func() error
}

func (w writer) Close() error { return w.end() }

// BenchmarkBulk asks what bytes cost in one stream of a tunnel; compare
// BenchmarkBareBulk.
func BenchmarkBulk(b *testing.B) {
	near, far := configs(b, carrier.Limits{})
	x, y := systemPair(b, near, far)
	out, in := tunneltest.Streams(b, x, y)
	transfer(b, writer{out, out.CloseWrite}, in)
}

// BenchmarkBareBulk is the same with the QUIC library alone.
func BenchmarkBareBulk(b *testing.B) {
	x, y := barePair(b)
	out, err := x.OpenStream()
	if err != nil {
		b.Fatal(err)
	}
	out.Write([]byte{0})
	in, err := y.AcceptStream(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	io.ReadFull(in, make([]byte, 1))
	transfer(b, out, in)
}

// barePair is a connection of the library's with our configurations and no code
// of ours around it.
func barePair(b testing.TB) (x, y *quic.Conn) {
	b.Helper()
	near, far := configs(b, carrier.Limits{})
	limits := carrier.Limits{}.WithDefaults()
	l, err := quic.ListenAddr("127.0.0.1:0", certs.ServerTLS(far.Source, certs.AuthorizeAny(), ALPN), quicConfig(limits, mux.Acceptor))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { l.Close() })
	x, err = quic.DialAddr(b.Context(), l.Addr().String(), certs.ClientTLS(near.Source, certs.AuthorizeAny(), ALPN), quicConfig(limits, mux.Dialler))
	if err != nil {
		b.Fatal(err)
	}
	if y, err = l.Accept(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { x.CloseWithError(0, "") })
	return x, y
}

// BenchmarkOpenAndEcho asks what one crossing costs in a tunnel that is there:
// open, 1 KiB there and back, end; compare BenchmarkBareOpenAndEcho.
func BenchmarkOpenAndEcho(b *testing.B) {
	near, far := configs(b, carrier.Limits{})
	x, y := systemPair(b, near, far)
	go func() {
		for {
			s, err := y.Accept(b.Context())
			if err != nil {
				return
			}
			go func() {
				io.Copy(s, struct{ io.Reader }{s})
				s.CloseWrite()
			}()
		}
	}()
	echoes(b, func() (io.ReadWriter, func() error, error) {
		s, err := x.Open(b.Context(), tunneltest.Header("x"))
		return s, func() error { return s.CloseWrite() }, err
	})
}

// BenchmarkBareOpenAndEcho is the same with the QUIC library alone.
func BenchmarkBareOpenAndEcho(b *testing.B) {
	x, y := barePair(b)
	go func() {
		for {
			s, err := y.AcceptStream(b.Context())
			if err != nil {
				return
			}
			go func() {
				io.ReadFull(s, make([]byte, 5))
				io.Copy(s, struct{ io.Reader }{s})
				s.Close()
			}()
		}
	}()
	echoes(b, func() (io.ReadWriter, func() error, error) {
		s, err := x.OpenStream()
		if err == nil {
			_, err = s.Write(make([]byte, 5))
		}
		return s, func() error { return s.Close() }, err
	})
}

func echoes(b *testing.B, open func() (io.ReadWriter, func() error, error)) {
	b.Helper()
	question := make([]byte, 1<<10)
	b.ReportAllocs()
	b.SetParallelism(16)
	begin := processorTime(b)
	b.RunParallel(func(pb *testing.PB) {
		answer := make([]byte, 1<<10)
		for pb.Next() {
			s, end, err := open()
			if err != nil {
				b.Error(err)
				return
			}
			s.Write(question)
			end()
			if _, err := io.ReadFull(s, answer); err != nil {
				b.Error(err)
				return
			}
			tunneltest.WantEOF(b, s)
		}
	})
	b.ReportMetric(float64((processorTime(b)-begin).Microseconds())/float64(b.N), "cpu-us/op")
}
