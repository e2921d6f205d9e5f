package http2

import (
	"io"
	"net"
	"testing"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
)

// echo answers with what it is sent.
func echo(s *Stream) {
	if err := s.WriteHead(&l7.ResponseHead{Status: 200, Fields: l7.Fields{{Name: "x-path", Value: s.Request().Path}}}, false); err != nil {
		return
	}
	buf := make([]byte, 32<<10)
	for {
		n, err := s.Read(buf)
		if n > 0 {
			if _, err := s.Write(buf[:n]); err != nil {
				return
			}
		}
		if err == io.EOF {
			_ = s.End(s.Trailers())
			return
		}
		if err != nil {
			return
		}
	}
}

func tcpPair(t testing.TB) (a, b net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	got := make(chan net.Conn, 1)
	go func() {
		nc, err := l.Accept()
		if err != nil {
			nc = nil
		}
		got <- nc
	}()
	if a, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	return a, <-got
}

func TestSmoke(t *testing.T) {
	a, b := tcpPair(t)
	server := Server(b, b, Config{}, echo)
	client := Client(a, Config{})
	ends := make(chan error, 2)
	go func() { ends <- server.Run() }()
	go func() { ends <- client.Run() }()
	for range 3 {
		s, err := client.Open(&l7.RequestHead{Method: "POST", Authority: "h", Path: "/x"}, false)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		if err := s.End(l7.Fields{{Name: "x-sum", Value: "1"}}); err != nil {
			t.Fatal(err)
		}
		h, ended, err := s.Response()
		if err != nil || ended || h.Fields.Get("x-path") != "/x" {
			t.Fatal(h, ended, err)
		}
		body, err := io.ReadAll(s)
		if string(body) != "hello" || err != nil || s.Trailers().Get("x-sum") != "1" {
			t.Fatal(string(body), err, s.Trailers())
		}
	}
	server.Drain()
	t.Log(<-ends)
	t.Log(<-ends)
}
