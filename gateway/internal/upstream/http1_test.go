package upstream

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

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

// TestRetry: a request whose connection is closed just as it is asked is asked
// again only if it may be: the destination may have done what was asked.
func TestRetry(t *testing.T) {
	for _, c := range []struct {
		name  string
		retry bool
		head  l7.RequestHead
		body  string
		tries int // 0 if it fails
	}{
		{"safe, and the caller says so", true, get(), "", 2},
		{"safe, but nobody says so", false, get(), "", 0},
		{"not safe", true, post(), "", 0},
		{"with content", true, get(), "hello", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			var asked atomic.Int32
			addr, _ := raw(t, func(n int, c net.Conn, br *bufio.Reader) {
				for i := 0; ; i++ {
					if _, ok := skip(br); !ok || n == 1 && i == 1 {
						return // the second request is read, and not answered
					}
					asked.Add(1)
					io.WriteString(c, fine)
				}
			})
			u := near(t, addr, Limits{})
			if _, _, err := ask(t, u, to(true), get(), ""); err != nil {
				t.Fatal(err)
			}
			r := &Request{Head: &c.head, Retry: c.retry}
			if c.body != "" {
				r.Body = &content{Reader: strings.NewReader(c.body), ready: true}
			}
			resp, _, err := exchange(t, u, to(true), r)
			if (err == nil) != (c.tries > 0) || err == nil && resp.Tries != c.tries {
				t.Errorf("%v, %v, want %d tries", resp, err, c.tries)
			}
			u.CloseIdle()
		})
	}
}

// TestNoRetryAfterAByte: once anything of an answer has come, it is the answer.
func TestNoRetryAfterAByte(t *testing.T) {
	addr, accepted := raw(t, func(n int, c net.Conn, br *bufio.Reader) {
		skip(br)
		io.WriteString(c, fine)
		skip(br)
		io.WriteString(c, "H")
	})
	u := near(t, addr, Limits{})
	head := get()
	if _, _, err := exchange(t, u, to(true), &Request{Head: &head, Retry: true}); err != nil {
		t.Fatal(err)
	}
	if resp, _, err := exchange(t, u, to(true), &Request{Head: &head, Retry: true}); err == nil || accepted.Load() != 1 {
		t.Errorf("%v, %v over %d connections, want an error over one", resp, err, accepted.Load())
	}
}

// TestStillComing: content that is not at hand is sent as it comes, and the
// answer may come beside it.
func TestStillComing(t *testing.T) {
	s := serve(t, nil, func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		if err := rc.EnableFullDuplex(); err != nil {
			t.Error(err)
		}
		io.WriteString(w, "begun ")
		rc.Flush()
		for {
			n, err := io.CopyN(w, r.Body, 5)
			rc.Flush()
			if n == 0 || err != nil {
				break
			}
		}
		io.WriteString(w, " "+r.Trailer.Get("X-Sum"))
	})
	u := near(t, s.addr, Limits{})
	for _, length := range []string{"", "10"} {
		pr, pw := io.Pipe()
		head := post()
		if length != "" {
			head.Fields = l7.Fields{{Name: "content-length", Value: length}}
		} else {
			head.Fields = l7.Fields{{Name: "trailer", Value: "x-sum"}}
		}
		r := &Request{Head: &head, Body: &content{Reader: pr, trailers: l7.Fields{{Name: "x-sum", Value: "7"}}}}
		resp, err := u.RoundTrip(t.Context(), to(true), r) // before there is any content
		if err != nil {
			t.Fatal(err)
		}
		if got := make([]byte, 6); !reads(resp.Body, got) || string(got) != "begun " {
			t.Errorf("read %q", got)
		}
		for range 2 {
			io.WriteString(pw, "hello")
			if got := make([]byte, 5); !reads(resp.Body, got) || string(got) != "hello" {
				t.Errorf("read %q", got)
			}
		}
		pw.Close()
		want := " 7"
		if length != "" {
			want = " " // no trailers where content is counted
		}
		if rest, err := io.ReadAll(resp.Body); string(rest) != want || err != nil {
			t.Errorf("the rest is %q, %v, want %q", rest, err, want)
		}
		resp.Body.Close()
		r.Wait()
	}
}

func reads(r io.Reader, p []byte) bool {
	_, err := io.ReadFull(r, p)
	return err == nil
}

// TestAnswerBeforeTheContent: a destination may answer without reading. Then the
// rest is not sent, and the connection carries nothing else.
func TestAnswerBeforeTheContent(t *testing.T) {
	addr, accepted := raw(t, func(_ int, c net.Conn, br *bufio.Reader) {
		http.ReadRequest(br)
		io.WriteString(c, "HTTP/1.1 413 Content Too Large\r\ncontent-length: 2\r\n\r\nok")
		io.Copy(io.Discard, br)
	})
	u := near(t, addr, Limits{})
	for range 2 {
		pr, pw := io.Pipe()
		head := post()
		r := &Request{Head: &head, Body: &content{Reader: pr}}
		resp, err := u.RoundTrip(t.Context(), to(true), r)
		if err != nil || resp.Head.Status != 413 {
			t.Fatalf("%v, %v", resp, err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		pw.Close() // only then does the reader of the content come back
		r.Wait()
	}
	if n := accepted.Load(); n != 2 {
		t.Errorf("%d connections, want 2", n)
	}
}

// TestAnswerBesideAFailedWrite: a destination that answers and closes while it is
// still being written to has answered.
func TestAnswerBesideAFailedWrite(t *testing.T) {
	addr, _ := raw(t, func(_ int, c net.Conn, br *bufio.Reader) {
		http.ReadRequest(br)
		io.WriteString(c, "HTTP/1.1 413 Content Too Large\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok")
		c.(*net.TCPConn).CloseWrite()
		io.Copy(io.Discard, br)
	})
	head := post()
	u := near(t, addr, Limits{})
	r := &Request{Head: &head, Body: &content{Reader: io.LimitReader(zeros{}, 8<<20), ready: true}}
	if resp, body, err := exchange(t, u, to(true), r); err != nil || resp.Head.Status != 413 || body != "ok" {
		t.Errorf("%v %q, %v", resp, body, err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// TestContentBreaksOff: the destination must not take half a request for a whole
// one, whether some of it was sent already or not.
func TestContentBreaksOff(t *testing.T) {
	whole := make(chan bool, 1)
	addr, _ := raw(t, func(_ int, _ net.Conn, br *bufio.Reader) {
		_, ok := skip(br)
		whole <- ok
	})
	for _, fields := range []l7.Fields{nil, {{Name: "content-length", Value: "100"}}} {
		for _, ready := range []bool{true, false} {
			u := near(t, addr, Limits{})
			head := post()
			head.Fields = fields
			broken := io.MultiReader(strings.NewReader("half"), failing{})
			r := &Request{Head: &head, Body: &content{Reader: broken, ready: ready}}
			if _, _, err := exchange(t, u, to(true), r); err == nil {
				t.Error("it was answered")
			}
			if <-whole {
				t.Errorf("ready %t: the destination has a whole request", ready)
			}
		}
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// TestContentOfAnotherLength than the head says is not sent as if it were.
func TestContentOfAnotherLength(t *testing.T) {
	addr, _ := raw(t, answering(fine))
	u := near(t, addr, Limits{})
	for _, body := range []string{"", "hell", "hello!"} {
		for _, ready := range []bool{true, false} {
			head := post()
			head.Fields = l7.Fields{{Name: "content-length", Value: "5"}}
			r := &Request{Head: &head}
			if body != "" {
				r.Body = &content{Reader: strings.NewReader(body), ready: ready}
			}
			if resp, _, err := exchange(t, u, to(true), r); err == nil {
				t.Errorf("%q, ready %t: %v", body, ready, resp)
			}
		}
	}
}

// TestCancel: whatever a request waits for, Cancel ends it, and it is not asked
// elsewhere.
func TestCancel(t *testing.T) {
	waits := make(chan struct{}) // the destination does nothing more
	silent, accepted := raw(t, func(int, net.Conn, *bufio.Reader) {
		waits <- struct{}{}
		<-t.Context().Done()
	})
	stalled, _ := raw(t, func(_ int, c net.Conn, _ *bufio.Reader) {
		io.WriteString(c, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n")
		<-t.Context().Done()
	})
	far := certstest.Mesh(t, "far.test")["far.test"]
	gw := far.Source("/sallyport/gateway/far-1")
	for _, c := range []struct {
		name      string
		addr      string
		plaintext bool
		body      io.Reader
	}{
		{"the handshake", silent, false, nil},
		{"the answer's head", silent, true, nil},
		{"a write", silent, true, zeros{}},
		{"the answer's content", stalled, true, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			u := New(gw, places{c.addr, c.addr}, Limits{})
			head := post()
			r := &Request{Head: &head}
			if c.body != nil {
				r.Body = &content{Reader: c.body, ready: true}
			}
			before := accepted.Load()
			done := make(chan error)
			go func() {
				resp, err := u.RoundTrip(t.Context(), to(c.plaintext), r)
				if err == nil {
					waits <- struct{}{}
					_, err = io.ReadAll(resp.Body)
					resp.Body.Close()
				}
				done <- err
			}()
			<-waits
			r.Cancel()
			r.Cancel()
			if err := <-done; err == nil || c.addr == silent && !errors.Is(err, errCancelled) {
				t.Errorf("%v, want %v", err, errCancelled)
			}
			r.Wait()
			if n := accepted.Load() - before; c.addr == silent && n != 1 {
				t.Errorf("%d connections, want one", n)
			}
		})
	}
	head, u := post(), New(gw, places{silent}, Limits{})
	r := &Request{Head: &head}
	r.Cancel()
	if _, err := u.RoundTrip(t.Context(), to(true), r); !errors.Is(err, errCancelled) {
		t.Errorf("cancelled before it was asked: %v", err)
	}
}

// TestCancelAfterwards: who is late cancels nobody else's exchange.
func TestCancelAfterwards(t *testing.T) {
	addr, accepted := raw(t, answering(fine))
	u := near(t, addr, Limits{})
	for range 3 {
		head := post()
		r := &Request{Head: &head}
		if _, _, err := exchange(t, u, to(true), r); err != nil {
			t.Fatal(err)
		}
		r.Cancel()
	}
	if n := accepted.Load(); n != 1 {
		t.Errorf("%d connections, want one", n)
	}
	u.CloseIdle()
}

func TestLimits(t *testing.T) {
	addr, _ := raw(t, func(_ int, c net.Conn, br *bufio.Reader) {
		if r, _ := skip(br); r != nil && r.Method == "GET" {
			io.WriteString(c, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\no")
		}
		br.ReadByte()
	})
	u := near(t, addr, Limits{FirstByte: 20 * time.Millisecond, Idle: 20 * time.Millisecond})
	if _, _, err := ask(t, u, to(true), post(), "hello"); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("no answer: %v", err)
	}
	if _, body, err := ask(t, u, to(true), get(), ""); !errors.Is(err, os.ErrDeadlineExceeded) || body != "o" {
		t.Errorf("an answer that stops: %q, %v", body, err)
	}
}

// TestSlowContent: the wait for the answer begins with the request's end.
func TestSlowContent(t *testing.T) {
	addr, _ := raw(t, func(_ int, c net.Conn, br *bufio.Reader) {
		for {
			if r, ok := skip(br); !ok || r.Header.Get("Never") != "" {
				br.ReadByte()
				return
			}
			io.WriteString(c, fine)
		}
	})
	u := near(t, addr, Limits{FirstByte: 30 * time.Millisecond})
	for range 2 { // the second in the connection of the first
		pr, pw := io.Pipe()
		time.AfterFunc(60*time.Millisecond, func() { pw.Close() })
		head := post()
		if _, body, err := exchange(t, u, to(true), &Request{Head: &head, Body: &content{Reader: pr}}); err != nil || body != "ok" {
			t.Errorf("%q, %v", body, err)
		}
	}
	head := post()
	head.Fields = l7.Fields{{Name: "never", Value: "1"}}
	r := &Request{Head: &head, Body: &content{Reader: strings.NewReader("hello")}}
	if _, _, err := exchange(t, u, to(true), r); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("no answer: %v", err)
	}
}

// TestLimitsEndWithTheirExchange: an idle connection outlives them.
func TestLimitsEndWithTheirExchange(t *testing.T) {
	addr, accepted := raw(t, answering(fine))
	u := near(t, addr, Limits{FirstByte: 50 * time.Millisecond})
	for range 2 {
		if _, _, err := ask(t, u, to(true), post(), "hello"); err != nil {
			t.Fatal(err)
		}
		<-time.After(60 * time.Millisecond)
	}
	if n := accepted.Load(); n != 1 {
		t.Errorf("%d connections, want one", n)
	}
	u.CloseIdle()
}
