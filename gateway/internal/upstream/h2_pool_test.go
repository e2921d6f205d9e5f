package upstream

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/certs/certstest"
)

// connections counts those in HTTP/2 that take streams.
func connections(u *Upstream) (n int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, t := range u.transports {
		if p, ok := t.(*h2Pool); ok {
			p.mu.Lock()
			for _, st := range p.sites {
				n += len(st.conns)
			}
			p.mu.Unlock()
		}
	}
	return n
}

// TestGoingAway: a destination whose connections go away all the time loses no
// call.
func TestGoingAway(t *testing.T) {
	addr := serveGRPC(t, nil, grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionAge: 15 * time.Millisecond, MaxConnectionAgeGrace: time.Minute}))
	u := near(t, addr, Limits{})
	var asking sync.WaitGroup
	var again atomic.Int32
	end := time.Now().Add(400 * time.Millisecond)
	for i := range 16 {
		asking.Go(func() {
			for time.Now().Before(end) {
				head := grpcHead("unary")
				r := &Request{Head: &head, Body: &content{Reader: bytes.NewReader(message("hello")), ready: i%2 == 0}}
				resp, body, err := exchange(t, u, to(true), r)
				if err != nil || body != string(message("hello")) {
					t.Errorf("%v %q, %v", resp, body, err)
					return
				}
				again.Add(int32(resp.Tries - 1))
			}
		})
	}
	asking.Wait()
	t.Logf("%d were asked again", again.Load())
}

// scripted is a destination in HTTP/2 that says the same whatever it is asked: it
// takes the preface, and then f speaks in frames.
func scripted(t *testing.T, f func(n int, c net.Conn)) (addr string, accepted *atomic.Int32) {
	t.Helper()
	return raw(t, func(n int, c net.Conn, br *bufio.Reader) {
		io.WriteString(c, "\x00\x00\x00\x04\x00\x00\x00\x00\x00") // SETTINGS
		if _, err := io.ReadFull(br, make([]byte, 24)); err != nil {
			return
		}
		for {
			var h [9]byte
			if _, err := io.ReadFull(br, h[:]); err != nil {
				return
			}
			br.Discard(int(h[0])<<16 | int(h[1])<<8 | int(h[2]))
			if h[3] == 0 && h[4]&1 != 0 || h[3] == 1 && h[4]&1 != 0 { // a request's end
				f(n, c)
			}
		}
	})
}

const (
	refusedStream1 = "\x00\x00\x04\x03\x00\x00\x00\x00\x01\x00\x00\x00\x07"
	resetStream1   = "\x00\x00\x04\x03\x00\x00\x00\x00\x01\x00\x00\x00\x02"
	endedStream1   = "\x00\x00\x01\x01\x05\x00\x00\x00\x01\x88" // :status 200
	endedStream3   = "\x00\x00\x01\x01\x05\x00\x00\x00\x03\x88"
	passedOver     = "\x00\x00\x08\x07\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" // GOAWAY, no stream
)

// TestAskedAgain: what was certainly not processed is asked again with all of its
// content; what may have been is not.
func TestAskedAgain(t *testing.T) {
	for _, c := range []struct {
		name  string
		say   func(asked int, conn int) string
		tries int // 0 if it fails
		conns int32
	}{
		{"REFUSED_STREAM", func(asked, _ int) string { return []string{refusedStream1, endedStream3}[asked-1] }, 2, 1},
		{"GOAWAY", func(asked, _ int) string { return []string{passedOver, endedStream1}[asked-1] }, 2, 2},
		{"GOAWAY each time", func(int, int) string { return passedOver }, 0, maxAsked},
		{"another reset", func(int, int) string { return resetStream1 }, 0, 1},
	} {
		for _, ready := range []bool{true, false} {
			t.Run(c.name, func(t *testing.T) {
				var asked atomic.Int32
				addr, accepted := scripted(t, func(n int, conn net.Conn) {
					io.WriteString(conn, c.say(int(asked.Add(1)), n))
				})
				u := near(t, addr, Limits{})
				head := grpcHead("unary")
				r := &Request{Head: &head, Body: &content{Reader: bytes.NewReader(message("hello")), ready: ready}}
				resp, _, err := exchange(t, u, to(true), r)
				if (err == nil) != (c.tries > 0) || err == nil && resp.Tries != c.tries || accepted.Load() != c.conns {
					t.Errorf("%v, %v over %d connections, want %d tries over %d", resp, err, accepted.Load(), c.tries, c.conns)
				}
				u.closeIdle(true)
			})
		}
	}
}

// TestRetryInHTTP2: a request whose connection is lost before its answer is asked
// again only if it may be.
func TestRetryInHTTP2(t *testing.T) {
	for _, c := range []struct {
		method string
		retry  bool
		tries  int // 0 if it fails
	}{{"GET", true, 2}, {"GET", false, 0}, {"POST", true, 0}} {
		addr, _ := scripted(t, func(n int, conn net.Conn) {
			if n == 1 {
				conn.Close()
				return
			}
			io.WriteString(conn, endedStream1)
		})
		u := near(t, addr, Limits{})
		head := grpcHead("unary")
		head.Method = c.method
		resp, _, err := exchange(t, u, to(true), &Request{Head: &head, Retry: c.retry})
		if (err == nil) != (c.tries > 0) || err == nil && resp.Tries != c.tries {
			t.Errorf("%s, retry %t: %v, %v, want %d tries", c.method, c.retry, resp, err, c.tries)
		}
		u.closeIdle(true)
	}
}

// TestTooMuchToAskAgain: content beyond what is kept cannot be had again, and a
// refused call of it fails.
func TestTooMuchToAskAgain(t *testing.T) {
	addr, _ := scripted(t, func(_ int, conn net.Conn) { io.WriteString(conn, refusedStream1) })
	u := near(t, addr, Limits{})
	head := grpcHead("unary")
	for _, ready := range []bool{true, false} {
		r := &Request{Head: &head, Body: &content{Reader: io.LimitReader(zeros{}, 60<<10), ready: ready}}
		if resp, _, err := exchange(t, u, to(true), r); err == nil || r.tries != 1 {
			t.Errorf("%v, %v after %d tries, want one", resp, err, r.tries)
		}
		u.closeIdle(true) // for another stream 1
	}
	u.closeIdle(true)
}

// TestAnotherSVIDMeanwhile: a connection that was begun under the SVID of before
// takes no stream.
func TestAnotherSVIDMeanwhile(t *testing.T) {
	begun, changed := make(chan struct{}), make(chan struct{})
	addr, accepted := raw(t, func(n int, c net.Conn, br *bufio.Reader) {
		if n == 1 {
			close(begun)
			<-changed
		}
		io.WriteString(c, "\x00\x00\x00\x04\x00\x00\x00\x00\x00") // SETTINGS
		for {
			var h [9]byte
			if _, err := io.ReadFull(br, h[:3]); err != nil {
				return
			}
			if string(h[:3]) == "PRI" {
				br.Discard(21)
				continue
			}
			io.ReadFull(br, h[3:])
			br.Discard(int(h[0])<<16 | int(h[1])<<8 | int(h[2]))
			if h[3] == 1 {
				if n == 1 {
					t.Error("it was asked")
				}
				io.WriteString(c, endedStream1)
			}
		}
	})
	u := near(t, addr, Limits{})
	go func() {
		<-begun
		u.closeIdle(true)
		close(changed)
	}()
	head := grpcHead("unary")
	if _, _, err := exchange(t, u, to(true), &Request{Head: &head}); err != nil || accepted.Load() != 2 {
		t.Errorf("%v over %d connections, want 2", err, accepted.Load())
	}
	u.closeIdle(true)
}

// TestDies: an answer that breaks off is no whole one, and the next is asked in
// another connection.
func TestDies(t *testing.T) {
	addr, accepted := scripted(t, func(n int, c net.Conn) {
		if n == 1 {
			io.WriteString(c, "\x00\x00\x01\x01\x04\x00\x00\x00\x01\x88\x00\x00\x02\x00\x00\x00\x00\x00\x01ok")
			c.Close()
			return
		}
		io.WriteString(c, endedStream1)
	})
	u := near(t, addr, Limits{})
	if _, body, err := called(t, u, true, "unary", "hello"); err == nil || body != "" && body != "ok" {
		t.Errorf("%q, %v", body, err)
	}
	if _, _, err := called(t, u, true, "unary", "hello"); err != nil || accepted.Load() != 2 {
		t.Errorf("%v over %d connections", err, accepted.Load())
	}
	u.closeIdle(true)
}

// TestNotHTTP2: a destination that does not speak it is not reached, and the
// error says so.
func TestNotHTTP2(t *testing.T) {
	far := certstest.Mesh(t, "far.test")["far.test"]
	config := certs.ServerTLS(far.Source("/ai/llm"), certs.AuthorizeAny())
	s := serve(t, config, func(http.ResponseWriter, *http.Request) { t.Error("it was asked") })
	u := New(far.Source("/sallyport/gateway/far-1"), places{s.addr}, Limits{})
	if _, _, err := called(t, u, false, "unary", "x"); !errors.Is(err, errNotH2) || !notReached(err) {
		t.Errorf("%v, want %v", err, errNotH2)
	}
	addr, _ := raw(t, answering(fine))
	if _, _, err := called(t, near(t, addr, Limits{}), true, "unary", "x"); !notReached(err) {
		t.Errorf("in plaintext: %v", err)
	}
}

// TestAnotherSVIDInHTTP2: no stream is opened under the SVID that the gateway had
// before, and those that are open go on.
func TestAnotherSVIDInHTTP2(t *testing.T) {
	far := certstest.Mesh(t, "far.test")["far.test"]
	var shown atomic.Value
	goOn := make(chan struct{})
	s := serve(t, certs.ServerTLS(far.Source("/ai/llm"), certs.AuthorizeAny(), "h2"), func(w http.ResponseWriter, r *http.Request) {
		if shown.Store(certs.Fingerprint(r.TLS.PeerCertificates[0])); r.URL.Path == "/t/wait" {
			http.NewResponseController(w).Flush()
			<-goOn
			io.WriteString(w, "whole")
		}
	})
	source := far.Source("/sallyport/gateway/far-1")
	u := New(source, places{s.addr}, Limits{})
	running(t, u)
	head := grpcHead("wait")
	open, err := u.RoundTrip(t.Context(), to(false), &Request{Head: &head})
	if err != nil {
		t.Fatal(err)
	}
	before := shown.Load()
	far.Rotate(source)
	for shown.Load() == before { // until Run has heard
		if _, _, err := called(t, u, false, "unary", "x"); err != nil {
			t.Fatal(err)
		}
	}
	close(goOn)
	if text, err := io.ReadAll(open.Body); string(text) != "whole" || err != nil {
		t.Errorf("%q, %v", text, err)
	}
	open.Body.Close()
	if n := connections(u); n != 1 {
		t.Errorf("%d connections take streams, want one", n)
	}
	u.CloseIdle()
}
