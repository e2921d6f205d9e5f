package http2

import (
	"errors"
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
		if errors.Is(err, io.EOF) {
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
