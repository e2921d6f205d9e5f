package upstream

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/certs/certstest"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
)

// raw is a server in plaintext whose connections are each served by f, with the
// number of the connection.
func raw(t *testing.T, f func(n int, c net.Conn, br *bufio.Reader)) (addr string, accepted *atomic.Int32) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	accepted = new(atomic.Int32)
	var serving sync.WaitGroup
	t.Cleanup(func() { l.Close(); serving.Wait() })
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			n := int(accepted.Add(1))
			serving.Go(func() {
				defer c.Close()
				f(n, c, bufio.NewReader(c))
			})
		}
	})
	return l.Addr().String(), accepted
}

// skip reads a request and its content.
func skip(br *bufio.Reader) (*http.Request, bool) {
	r, err := http.ReadRequest(br)
	if err != nil {
		return nil, false
	}
	_, err = io.Copy(io.Discard, r.Body)
	return r, err == nil
}

// answering answers each request with the text.
func answering(text string) func(int, net.Conn, *bufio.Reader) {
	return func(_ int, c net.Conn, br *bufio.Reader) {
		for {
			if _, ok := skip(br); !ok {
				return
			}
			io.WriteString(c, text)
		}
	}
}

// near is an upstream of one plaintext endpoint.
func near(t *testing.T, addr string, limits Limits) *Upstream {
	t.Helper()
	far := certstest.Mesh(t, "far.test")["far.test"]
	u := New(far.Source("/sallyport/gateway/far-1"), places{addr}, limits)
	t.Cleanup(u.CloseIdle)
	return u
}

func get() l7.RequestHead {
	return l7.RequestHead{Method: "GET", Authority: "llm.far.mesh:8000", Path: "/v1/models"}
}

const fine = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"

// TestMisbehaving: what is no answer is an error, and a connection that may hold
// anything of one exchange carries no other.
func TestMisbehaving(t *testing.T) {
	cut := func(text string) func(int, net.Conn, *bufio.Reader) {
		return func(_ int, c net.Conn, br *bufio.Reader) {
			skip(br)
			io.WriteString(c, text)
		}
	}
	for _, c := range []struct {
		name  string
		serve func(int, net.Conn, *bufio.Reader)
		ok    bool // whether there is an answer; it is "ok"
		conns int32
	}{
		{"in order", answering(fine), true, 1},
		{"chunked, in order", answering("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-sum: 1\r\n\r\n"), true, 1},
		{"interim answers", answering("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + fine), true, 1},
		{"bad status line", answering("ICY 200 OK\r\n\r\n"), false, 3},
		{"both lengths", answering("HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"), false, 3},
		{"LF only", answering("HTTP/1.1 200 OK\ncontent-length: 2\n\nok"), false, 3},
		{"obs-fold", answering("HTTP/1.1 200 OK\r\na: b\r\n c\r\ncontent-length: 2\r\n\r\nok"), false, 3},
		{"another protocol", answering("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n"), false, 3},
		{"head without end", answering("HTTP/1.1 200 OK\r\na: " + strings.Repeat("x", 70<<10)), false, 3},
		{"bad chunk", answering("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\nok\r\n0\r\n\r\n"), false, 3},
		{"closed without an answer", cut(""), false, 3},
		{"closed in the head", cut("HTTP/1.1 200 OK\r\ncontent-le"), false, 3},
		{"closed in the content", cut("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok"), false, 3},
		{"closed in chunked content", cut("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n"), false, 3},
		{"until close", cut("HTTP/1.1 200 OK\r\n\r\nok"), true, 3},
		{"HTTP/1.0", cut("HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nok"), true, 3},
		{"closing", answering("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok"), true, 3},
		{"more than its answer", answering(fine + "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil"), true, 3},
		{"one byte more", answering(fine + "x"), true, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			addr, accepted := raw(t, c.serve)
			u := near(t, addr, Limits{})
			for range 3 {
				resp, body, err := ask(t, u, to(true), post(), "hello")
				if (err == nil) != c.ok || c.ok && (body != "ok" || resp.Tries != 1) {
					t.Fatalf("%v %q, %v, want an answer: %t", resp, body, err, c.ok)
				}
			}
			if n := accepted.Load(); n != c.conns {
				t.Errorf("%d connections, want %d", n, c.conns)
			}
			u.CloseIdle()
		})
	}
}

// TestMoreThanItsAnswerOverTLS: in TLS what is too much may already be out of
// the socket.
func TestMoreThanItsAnswerOverTLS(t *testing.T) {
	far := certstest.Mesh(t, "far.test")["far.test"]
	config := certs.ServerTLS(far.Source("/ai/llm"), certs.AuthorizeAny(), "http/1.1")
	big := strings.Repeat("x", 15<<10)
	s := serve(t, config, func(w http.ResponseWriter, _ *http.Request) {
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		rw.WriteString("HTTP/1.1 200 OK\r\ncontent-length: 15360\r\n\r\n")
		rw.Flush()
		io.WriteString(c, big+"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil")
		defer c.Close()
		io.Copy(io.Discard, rw)
	})
	u := New(far.Source("/sallyport/gateway/far-1"), places{s.addr}, Limits{})
	for range 3 {
		_, body, err := ask(t, u, to(false), get(), "")
		if err != nil || body != big {
			t.Fatalf("%d bytes, %v", len(body), err)
		}
	}
	if n := s.reached.Load(); n != 3 {
		t.Errorf("%d connections, want 3", n)
	}
}

// TestSaidWhileIdle: what a destination says unasked is the answer to nobody.
func TestSaidWhileIdle(t *testing.T) {
	said := make(chan struct{})
	addr, accepted := raw(t, func(n int, c net.Conn, br *bufio.Reader) {
		skip(br)
		io.WriteString(c, fine)
		if n == 1 {
			<-said
			io.WriteString(c, "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil")
			said <- struct{}{}
		}
		br.ReadByte()
	})
	u := near(t, addr, Limits{})
	if _, _, err := ask(t, u, to(true), post(), "hello"); err != nil {
		t.Fatal(err)
	}
	said <- struct{}{}
	<-said
	resp, body, err := ask(t, u, to(true), post(), "hello")
	if err != nil || body != "ok" || resp.Tries != 1 || accepted.Load() != 2 {
		t.Errorf("%v %q, %v over %d connections", resp, body, err, accepted.Load())
	}
	u.CloseIdle()
}

// TestClosedWhileIdle: a connection that the destination closed is noticed
// before it is used, so that even what must not be repeated goes through.
func TestClosedWhileIdle(t *testing.T) {
	closed := make(chan struct{}, 1)
	addr, accepted := raw(t, func(_ int, c net.Conn, br *bufio.Reader) {
		skip(br)
		io.WriteString(c, fine)
		c.(*net.TCPConn).CloseWrite()
		closed <- struct{}{}
		br.ReadByte()
	})
	u := near(t, addr, Limits{})
	for range 3 {
		resp, body, err := ask(t, u, to(true), post(), "hello")
		if err != nil || body != "ok" || resp.Tries != 1 {
			t.Fatalf("%v %q, %v", resp, body, err)
		}
		<-closed
	}
	if n := accepted.Load(); n != 3 {
		t.Errorf("%d connections, want 3", n)
	}
}
