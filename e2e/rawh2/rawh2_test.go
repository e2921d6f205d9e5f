package rawh2

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// serve is a server of another hand, and a connection to it.
func serve(t *testing.T, h http.HandlerFunc) *Conn {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	protos := new(http.Protocols)
	protos.SetUnencryptedHTTP2(true)
	srv := &http.Server{Handler: h, Protocols: protos, ReadHeaderTimeout: time.Minute}
	go srv.Serve(l)
	t.Cleanup(func() { srv.Close() })
	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	if err := nc.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	c, err := New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func request(more ...string) []string {
	return append([]string{":method", "POST", ":scheme", "http", ":authority", "x", ":path", "/"}, more...)
}

func TestExchange(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Trailer", "x-after")
		w.WriteHeader(http.StatusTeapot)
		io.WriteString(w, strings.Repeat("a", 300<<10)) // beyond every first window
		w.Header().Set("x-after", string(body)+r.Trailer.Get("x-last"))
	})
	if err := c.Headers(1, false, request("x-long", strings.Repeat("b", 40<<10), "trailer", "x-last")...); err != nil {
		t.Fatal(err)
	}
	if err := c.Data(1, false, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if err := c.Headers(1, true, "x-last", "you"); err != nil {
		t.Fatal(err)
	}
	answers, end := c.Await(1)
	a := answers[1]
	if end.Err != nil || a.Status != http.StatusTeapot || len(a.Body) != 300<<10 || a.Trailer.Get("x-after") != "helloyou" || !a.Ended {
		t.Errorf("status %d, %d bytes, trailers %v, ended %t; %v", a.Status, len(a.Body), a.Trailer, a.Ended, end.Err)
	}
}

func TestIllegal(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	if err := c.Headers(1, true, request("a:b\r\n", "c")...); err != nil {
		t.Fatal(err)
	}
	if err := c.Headers(3, true, request()...); err != nil {
		t.Fatal(err)
	}
	answers, end := c.Await(1, 3)
	if answers[1].Reset == nil || *answers[1].Reset != http2.ErrCodeProtocol || answers[3].Status != http.StatusNoContent {
		t.Errorf("answers %+v %+v; %v", answers[1], answers[3], end)
	}
	if err := c.Frame(func(f *http2.Framer) error { return f.WriteRawFrame(http2.FramePing, 0, 0, []byte("short")) }); err != nil {
		t.Fatal(err)
	}
	if _, end := c.Await(); end.GoAway == nil || *end.GoAway != http2.ErrCodeFrameSize {
		t.Errorf("a short ping ended in %v", end)
	}
}
