package upstream

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"runtime"
	"strconv"
	"testing"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/certs/certstest"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/http2"
)

// swiftH2 answers each call of 512 bytes with 512 bytes and a status, and costs
// little.
func swiftH2(b *testing.B, config *tls.Config) string {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	if config != nil {
		l = tls.NewListener(l, config)
	}
	b.Cleanup(func() { l.Close() })
	text := bytes.Repeat([]byte("x"), benchContent)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go http2.Server(c, c, http2.Config{Secure: config != nil}, func(s *http2.Stream) {
				var in [benchContent + 1]byte
				io.ReadFull(s, in[:])
				s.WriteHead(&l7.ResponseHead{Status: 200, Fields: l7.Fields{{Name: "content-type", Value: "application/grpc"}}}, false)
				s.Hold(text)
				s.End(l7.Fields{{Name: "grpc-status", Value: "0"}})
			}).Run()
		}
	}()
	return l.Addr().String()
}

// BenchmarkRoundTripH2 is what a unary call costs beside one by http.Transport,
// alone and among others.
func BenchmarkRoundTripH2(b *testing.B) {
	far := certstest.Mesh(b, "far.test")["far.test"]
	source := far.Source("/sallyport/gateway/far-1")
	secure := certs.ServerTLS(far.Source("/ai/llm"), certs.AuthorizeAny(), "h2")
	for _, way := range []struct {
		name   string
		config *tls.Config
	}{{"plaintext", nil}, {"TLS", secure}} {
		addr := swiftH2(b, way.config)
		for _, at := range []int{1, 128} {
			name := way.name + "/" + strconv.Itoa(at) + " at a time"
			b.Run(name+"/own", func(b *testing.B) {
				benchOwnH2(b, New(source, places{addr}, Limits{}), way.config == nil, true, at)
			})
			b.Run(name+"/own, still coming", func(b *testing.B) {
				benchOwnH2(b, New(source, places{addr}, Limits{}), way.config == nil, false, at)
			})
			b.Run(name+"/http.Transport", func(b *testing.B) {
				protocols := new(http.Protocols)
				protocols.SetUnencryptedHTTP2(way.config == nil)
				protocols.SetHTTP2(way.config != nil)
				url := "http://" + addr + "/t/unary"
				if way.config != nil {
					url = "https://" + addr + "/t/unary"
				}
				benchTransportH2(b, url, &http.Transport{
					TLSClientConfig: certs.ClientTLS(source, certs.AuthorizeID(llm), "h2"), Protocols: protocols, DisableCompression: true,
				}, at)
			})
		}
	}
}

// atATime runs f in n goroutines until b has enough.
func atATime(b *testing.B, n int, f func(pb *testing.PB)) {
	b.ReportAllocs()
	b.SetParallelism((n + runtime.GOMAXPROCS(0) - 1) / runtime.GOMAXPROCS(0))
	if n == 1 { // whatever the number of processors
		f1 := f
		taken := make(chan struct{}, 1)
		f = func(pb *testing.PB) {
			select {
			case taken <- struct{}{}:
				f1(pb)
			default:
			}
		}
	}
	defer reportCPU(b)()
	b.RunParallel(f)
}

func benchOwnH2(b *testing.B, u *Upstream, plaintext, ready bool, n int) {
	d := to(plaintext)
	atATime(b, n, func(pb *testing.PB) {
		text, buf := make([]byte, benchContent), make([]byte, 4<<10)
		body := &again{ready: ready}
		for pb.Next() {
			body.Reset(text)
			head := grpcHead("unary")
			r := &Request{Head: &head, Body: body}
			resp, err := u.RoundTrip(b.Context(), d, r)
			if err != nil {
				b.Error(err)
				return
			}
			for err == nil {
				_, err = resp.Body.Read(buf)
			}
			resp.Body.Close()
			r.Wait()
		}
	})
	u.CloseIdle()
}

func benchTransportH2(b *testing.B, url string, t *http.Transport, n int) {
	atATime(b, n, func(pb *testing.PB) {
		text, buf := make([]byte, benchContent), make([]byte, 4<<10)
		for pb.Next() {
			req, err := http.NewRequestWithContext(b.Context(), http.MethodPost, url, bytes.NewReader(text))
			if err != nil {
				b.Error(err)
				return
			}
			req.Header.Set("Content-Type", "application/grpc")
			req.Header.Set("Te", "trailers")
			resp, err := t.RoundTrip(req)
			if err != nil {
				b.Error(err)
				return
			}
			for err == nil {
				_, err = resp.Body.Read(buf)
			}
			resp.Body.Close()
		}
	})
	t.CloseIdleConnections()
}
