package http2

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"runtime"
	"strconv"
	"testing"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
)

const concurrency = 128

var (
	asked    = bytes.Repeat([]byte("q"), 100)
	answered = bytes.Repeat([]byte("a"), 112)
)

// answerShort is a server's side of a unary exchange.
func answerShort(s *Stream) {
	var buf [512]byte
	for {
		if _, err := s.Read(buf[:]); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return
		}
	}
	if s.WriteHead(shortAnswer, false) == nil {
		_, _ = s.Write(answered)
		_ = s.End(nil)
	}
}

var shortAnswer = &l7.ResponseHead{Status: 200, Fields: l7.Fields{
	{Name: "content-type", Value: "application/json"},
	{Name: "content-length", Value: strconv.Itoa(len(answered))},
	{Name: "server", Value: "test"},
}}

var shortQuestion = &l7.RequestHead{Method: "POST", Authority: "llm.azure.mesh", Path: "/v1/chat/completions", Fields: l7.Fields{
	{Name: "content-type", Value: "application/json"},
	{Name: "content-length", Value: strconv.Itoa(len(asked))},
	{Name: "user-agent", Value: "bench/1"},
	{Name: "accept", Value: "application/json"},
}}

// pair is both ends, over loopback TCP.
func pair(b testing.TB, serve func(*Stream)) (client, server *Conn) {
	b.Helper()
	x, y := tcpPair(b)
	server, client = Server(y, y, Config{}, serve), Client(x, Config{})
	ended := make(chan error, 2)
	go func() { ended <- server.Run() }()
	go func() { ended <- client.Run() }()
	b.Cleanup(func() {
		client.Close()
		<-ended
		<-ended
	})
	return client, server
}

// peers are the other implementation: net/http's server and client.
func peers(b *testing.B, h http.HandlerFunc) *http.Client {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	protos := new(http.Protocols)
	protos.SetUnencryptedHTTP2(true)
	hs := &http.Server{Handler: h, Protocols: protos}
	go func() { _ = hs.Serve(l) }()
	tr := cleartext(l.Addr().String())
	b.Cleanup(func() { tr.CloseIdleConnections(); hs.Close() })
	return &http.Client{Transport: tr}
}

// cleartext is net/http's client with prior knowledge of HTTP/2, of one address.
func cleartext(addr string) *http.Transport {
	protos := new(http.Protocols)
	protos.SetUnencryptedHTTP2(true)
	return &http.Transport{Protocols: protos, DisableCompression: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", addr)
	}}
}

// What does a unary exchange cost at both ends, 128 at a time on one connection?
func BenchmarkUnary(b *testing.B) {
	b.Run("ours", func(b *testing.B) {
		client, _ := pair(b, answerShort)
		parallel(b, func() error {
			s, err := client.Open(shortQuestion, false)
			if err != nil {
				return err
			}
			if _, err := s.Write(asked); err != nil {
				return err
			}
			if err := s.End(nil); err != nil {
				return err
			}
			if _, _, err := s.Response(); err != nil {
				return err
			}
			var buf [512]byte
			for {
				if _, err := s.Read(buf[:]); errors.Is(err, io.EOF) {
					return nil
				} else if err != nil {
					return err
				}
			}
		})
	})
	b.Run("net-http", func(b *testing.B) {
		c := peers(b, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Server", "test")
			w.Header()["Date"] = nil
			_, _ = w.Write(answered)
		})
		parallel(b, func() error {
			r, _ := http.NewRequest("POST", "http://llm.azure.mesh/v1/chat/completions", bytes.NewReader(asked))
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("User-Agent", "bench/1")
			r.Header.Set("Accept", "application/json")
			resp, err := c.Do(r)
			if err != nil {
				return err
			}
			_, err = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			return err
		})
	})
}

func parallel(b *testing.B, exchange func() error) {
	if err := exchange(); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.SetParallelism((concurrency + runtime.GOMAXPROCS(0) - 1) / runtime.GOMAXPROCS(0))
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := exchange(); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// What does a message of 100 bytes each way cost on a stream that is open?
func BenchmarkPingPong(b *testing.B) {
	b.Run("ours", func(b *testing.B) {
		client, _ := pair(b, echo)
		s, err := client.Open(&l7.RequestHead{Method: "POST", Authority: "h", Path: "/"}, false)
		if err != nil {
			b.Fatal(err)
		}
		pingPong(b, s, s)
	})
	b.Run("net-http", func(b *testing.B) {
		c := peers(b, func(w http.ResponseWriter, r *http.Request) {
			flush := http.NewResponseController(w)
			_ = flush.Flush()
			buf := make([]byte, 32<<10)
			for {
				n, err := r.Body.Read(buf)
				if _, werr := w.Write(buf[:n]); werr != nil || err != nil {
					return
				}
				_ = flush.Flush()
			}
		})
		r, w := io.Pipe()
		req, _ := http.NewRequest("POST", "http://h/", r)
		resp, err := c.Do(req)
		if err != nil {
			b.Fatal(err)
		}
		pingPong(b, w, resp.Body)
	})
}

func pingPong(b *testing.B, w io.Writer, r io.Reader) {
	buf := make([]byte, len(asked))
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		if _, err := w.Write(asked); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(r, buf); err != nil {
			b.Fatal(err)
		}
	}
}

// How fast does one stream carry much?
func BenchmarkBulk(b *testing.B) {
	client, _ := pair(b, func(s *Stream) {
		if s.WriteHead(&l7.ResponseHead{Status: 200}, false) != nil {
			return
		}
		buf := make([]byte, 32<<10)
		for {
			if _, err := s.Write(buf); err != nil {
				return
			}
		}
	})
	s, err := client.Open(&l7.RequestHead{Method: "GET", Authority: "h", Path: "/"}, true)
	if err != nil {
		b.Fatal(err)
	}
	buf := make([]byte, 32<<10)
	b.SetBytes(int64(len(buf)))
	b.ReportAllocs()
	for range b.N {
		if _, err := io.ReadFull(s, buf); err != nil {
			b.Fatal(err)
		}
	}
}

func newGet(t testing.TB, url string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
