package http2

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
)

// Whatever the windows and the sizes of pieces, each stream carries what it was
// given, both ways at once, byte for byte, and no window is lost in the end.
func TestCarriesExactly(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			window := func() uint32 { return 1000 + uint32(r.IntN(100_000)) }
			x, y := tcpPair(t)
			server := Server(y, y, Config{StreamWindow: window(), ConnWindow: firstWindow + window()}, echo)
			client := Client(x, Config{StreamWindow: window(), ConnWindow: firstWindow + window()})
			ended := make(chan error, 2)
			go func() { ended <- server.Run() }()
			go func() { ended <- client.Run() }()
			var streams sync.WaitGroup
			for i := range 16 {
				streams.Go(func() { carry(t, client, rand.New(rand.NewPCG(seed, uint64(i)))) })
			}
			streams.Wait()
			for _, c := range [...]*Conn{client, server} {
				c.mu.Lock()
				if left := c.recv.credit + c.recv.consumed; left != c.recv.size || len(c.streams) > 0 {
					t.Errorf("%d bytes of the window of %d are left, %d streams", left, c.recv.size, len(c.streams))
				}
				c.mu.Unlock()
			}
			client.Close()
			<-ended
			<-ended
		})
	}
}

// carry sends random content in random pieces and reads it back so.
func carry(t *testing.T, c *Conn, r *rand.Rand) {
	content := make([]byte, r.IntN(200_000))
	for i := range content {
		content[i] = byte(r.Uint32())
	}
	s, err := c.Open(&l7.RequestHead{Method: "POST", Authority: "h", Path: "/"}, false)
	if err != nil {
		t.Error(err)
		return
	}
	readSize := 1 + r.IntN(50_000)
	sizes := rand.New(rand.NewPCG(r.Uint64(), 2))
	go func() {
		for rest := content; ; {
			n := min(len(rest), sizes.IntN(70_000))
			write := s.Write
			if sizes.IntN(2) == 0 {
				write = s.Hold
			}
			if _, err := write(rest[:n]); err != nil {
				t.Error(err)
				return
			}
			if rest = rest[n:]; len(rest) == 0 {
				break
			}
		}
		if err := s.End(l7.Fields{{Name: "x-end", Value: "1"}}); err != nil {
			t.Error(err)
		}
	}()
	var got bytes.Buffer
	for buf := make([]byte, readSize); ; {
		n, err := s.Read(buf)
		got.Write(buf[:n])
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Error(err)
			return
		}
	}
	if !bytes.Equal(got.Bytes(), content) || s.Trailers().Get("x-end") != "1" {
		t.Errorf("got %d bytes of %d, or others; trailers %v", got.Len(), len(content), s.Trailers())
	}
}

// Streams are reset at random by either end while others carry; those carry
// exactly, and no window is lost.
func TestResetsLoseNoWindow(t *testing.T) {
	x, y := tcpPair(t)
	server := Server(y, y, Config{StreamWindow: 20_000, ConnWindow: 100_000, Resets: Budget{1 << 20, 0}}, func(s *Stream) {
		if s.Request().Path == "/reset" {
			_, _ = s.Read(make([]byte, 1000))
			s.Reset(Cancel)
			return
		}
		echo(s)
	})
	client := Client(x, Config{StreamWindow: 20_000, ConnWindow: 100_000})
	ended := make(chan error, 2)
	go func() { ended <- server.Run() }()
	go func() { ended <- client.Run() }()
	var streams sync.WaitGroup
	for i := range 8 {
		streams.Go(func() {
			r := rand.New(rand.NewPCG(7, uint64(i)))
			for range 20 {
				s, err := client.Open(&l7.RequestHead{Method: "POST", Authority: "h", Path: []string{"/reset", "/"}[r.IntN(2)]}, false)
				if err != nil {
					t.Error(err)
					return
				}
				_, err = s.Write(make([]byte, r.IntN(40_000)%30_000))
				if err != nil && !errors.Is(err, net.ErrClosed) {
					t.Error(err)
				}
				s.Reset(Cancel)
			}
		})
		streams.Go(func() { carry(t, client, rand.New(rand.NewPCG(8, uint64(i)))) })
	}
	streams.Wait()
	// A last exchange comes behind all resets.
	carry(t, client, rand.New(rand.NewPCG(9, 9)))
	client.mu.Lock()
	if left := client.recv.credit + client.recv.consumed; left != client.recv.size {
		t.Errorf("%d bytes of the client's window of %d are left", left, client.recv.size)
	}
	client.mu.Unlock()
	client.Close()
	<-ended
	<-ended
}

// A client of another's: net/http's, with and without TLS.
func TestAgainstNetClient(t *testing.T) {
	for _, secure := range [...]bool{false, true} {
		addr := serveTCP(t, secure, Config{Secure: secure, Refuse: refuseAll}, echo)
		tr := cleartext(addr)
		if secure {
			tr.Protocols = new(http.Protocols)
			tr.Protocols.SetHTTP2(true)
			tr.TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
		}
		t.Cleanup(tr.CloseIdleConnections)
		scheme := map[bool]string{true: "https", false: "http"}[secure]
		var exchanges sync.WaitGroup
		for i := range 20 {
			exchanges.Go(func() {
				body := strings.Repeat("x", i*i*1000)
				r, _ := http.NewRequestWithContext(t.Context(), "POST", scheme+"://h/a?b", io.MultiReader(strings.NewReader(body)))
				r.Trailer = http.Header{"X-Sum": {"7"}}
				resp, err := tr.RoundTrip(r)
				if err != nil {
					t.Error(err)
					return
				}
				got, err := io.ReadAll(resp.Body)
				if string(got) != body || err != nil || resp.Header.Get("X-Path") != "/a?b" || resp.Trailer.Get("X-Sum") != "7" {
					t.Errorf("%d bytes of %d, %v, %v, %v", len(got), len(body), err, resp.Header, resp.Trailer)
				}
			})
		}
		exchanges.Wait()
		r, _ := http.NewRequestWithContext(t.Context(), "GET", scheme+"://h/", nil)
		r.URL.Opaque = "/a/../b"
		if resp, err := tr.RoundTrip(r); err != nil || resp.StatusCode != 400 {
			t.Errorf("dot segments: %v, %v", resp, err)
		}
	}
}

// serveTCP serves on a port until the test ends.
func serveTCP(t testing.TB, secure bool, cfg Config, serve func(*Stream)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if secure {
		l = tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{selfSigned(t)}, NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS12})
	}
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			c := Server(nc, nc, cfg, serve)
			t.Cleanup(c.Close)
			conns.Go(func() { _ = c.Run() })
		}
	})
	t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}

// A server of another's: net/http.
func TestAgainstNetServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	protos := new(http.Protocols)
	protos.SetUnencryptedHTTP2(true)
	hs := &http.Server{Protocols: protos, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/early" {
			w.WriteHeader(http.StatusTeapot) // and reads nothing
			return
		}
		w.Header().Set("X-Method", r.Method)
		w.Header().Set("Trailer", "X-Sum")
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		_, _ = io.Copy(w, r.Body)
		w.Header().Set("X-Sum", r.Trailer.Get("X-Sum"))
	})}
	go func() { _ = hs.Serve(l) }()
	t.Cleanup(func() { hs.Close() })
	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c := Client(nc, Config{})
	ended := make(chan error, 1)
	go func() { ended <- c.Run() }()
	var exchanges sync.WaitGroup
	for i := range 20 {
		exchanges.Go(func() { exchange(t, c, strings.Repeat("y", i*i*1000)) })
	}
	exchanges.Wait()
	early(t, c)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_ = hs.Shutdown(ctx) // says GOAWAY
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Run = %v", err)
	}
}

func exchange(t *testing.T, c *Conn, body string) {
	s, err := c.Open(&l7.RequestHead{Method: "PUT", Authority: "h", Path: "/", Fields: l7.Fields{{Name: "trailer", Value: "x-sum"}}}, false)
	if err != nil {
		t.Error(err)
		return
	}
	go func() {
		_, _ = io.WriteString(s, body)
		_ = s.End(l7.Fields{{Name: "x-sum", Value: "7"}})
	}()
	h, _, err := s.Response()
	if err != nil {
		t.Error(err)
		return
	}
	got, err := io.ReadAll(s)
	if string(got) != body || err != nil || h.Fields.Get("x-method") != "PUT" || s.Trailers().Get("x-sum") != "7" {
		t.Errorf("%d bytes of %d, %v, %v, %v", len(got), len(body), err, h, s.Trailers())
	}
}

// early asks what is answered before it was all said.
func early(t *testing.T, c *Conn) {
	s, err := c.Open(&l7.RequestHead{Method: "POST", Authority: "h", Path: "/early"}, false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Write([]byte("much")); err != nil {
		t.Fatal(err)
	}
	h, ended, err := s.Response()
	if err != nil || h.Status != http.StatusTeapot || !ended {
		t.Errorf("Response = %v, %v, %v", h, ended, err)
	}
	if _, err := s.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("Read = %v, want io.EOF", err)
	}
	s.Reset(Cancel)
}
