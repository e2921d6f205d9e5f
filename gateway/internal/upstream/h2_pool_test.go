package upstream

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"runtime"
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

// TestStreamLimit: as many connections are made as a destination's limit asks
// for, and no more than are allowed; who finds no room waits for it.
func TestStreamLimit(t *testing.T) {
	var conns sync.Map // connection to whether it carries a call
	var made atomic.Int32
	s := &http.Server{Protocols: new(http.Protocols), HTTP2: &http.HTTP2Config{MaxConcurrentStreams: 1}}
	s.Protocols.SetUnencryptedHTTP2(true)
	s.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		busy, known := conns.LoadOrStore(r.RemoteAddr, new(atomic.Bool))
		if !known {
			made.Add(1)
		}
		if busy.(*atomic.Bool).Swap(true) {
			t.Error("two at a time")
		}
		io.Copy(w, r.Body)
		busy.(*atomic.Bool).Store(false)
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go s.Serve(l)
	defer s.Close()
	u := near(t, l.Addr().String(), Limits{})
	var asking sync.WaitGroup
	for range 50 {
		asking.Go(func() {
			for range 10 {
				resp, body, err := called(t, u, true, "unary", "hello")
				if err != nil || body != string(message("hello")) || resp.Tries != 1 {
					t.Errorf("%v %q, %v", resp, body, err)
				}
			}
		})
	}
	asking.Wait()
	if n := made.Load(); n > maxConns || n < 2 {
		t.Errorf("%d connections, want no more than %d", n, maxConns)
	}
}

// TestNoRoom: who finds no room within his time has not reached the endpoint;
// the first who leaves lets another in.
func TestNoRoom(t *testing.T) {
	s := &http.Server{Protocols: new(http.Protocols), HTTP2: &http.HTTP2Config{MaxConcurrentStreams: 1}}
	s.Protocols.SetUnencryptedHTTP2(true)
	s.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).Flush()
		if r.URL.Path == "/t/wait" {
			<-r.Context().Done()
		}
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go s.Serve(l)
	defer s.Close()
	u := near(t, l.Addr().String(), Limits{})
	head := grpcHead("wait")
	var waiting []*Response
	for range maxConns {
		resp, err := u.RoundTrip(t.Context(), to(true), &Request{Head: &head})
		if err != nil {
			t.Fatal(err)
		}
		waiting = append(waiting, resp)
	}
	if n := connections(u); n != maxConns {
		t.Errorf("%d connections, want %d", n, maxConns)
	}
	st := u.transport(transportKey{llm, true, true}).(*h2Pool).sites[l.Addr().String()]
	u.dialTimeout = 20 * time.Millisecond
	if _, _, err := called(t, u, true, "unary", "hello"); !notReached(err) {
		t.Errorf("%v, want no room", err)
	}
	u.dialTimeout = dialTimeout
	let := make(chan error)
	go func() { _, _, err := called(t, u, true, "unary", "hello"); let <- err }()
	for st.hungry.Load() == 0 {
		runtime.Gosched()
	}
	waiting[0].Body.Close()
	if err := <-let; err != nil {
		t.Errorf("after one has left: %v", err)
	}
	for _, resp := range waiting[1:] {
		resp.Body.Close()
	}
}

// TestNoFurtherConnection: where an endpoint takes no further connection, who
// finds no room waits for it in those that there are.
func TestNoFurtherConnection(t *testing.T) {
	goOn := make(chan struct{})
	s := &http.Server{Protocols: new(http.Protocols), HTTP2: &http.HTTP2Config{MaxConcurrentStreams: 1}}
	s.Protocols.SetUnencryptedHTTP2(true)
	s.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).Flush()
		if r.URL.Path == "/t/wait" {
			<-goOn
		}
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	go s.Serve(&once{Listener: l})
	u := near(t, l.Addr().String(), Limits{})
	head := grpcHead("wait")
	resp, err := u.RoundTrip(t.Context(), to(true), &Request{Head: &head})
	if err != nil {
		t.Fatal(err)
	}
	var asking sync.WaitGroup
	for range 3 {
		asking.Go(func() {
			if resp, _, err := called(t, u, true, "unary", "hello"); err != nil || resp.Tries != 1 {
				t.Errorf("%v, %v", resp, err)
			}
		})
	}
	p := u.transport(transportKey{llm, true, true}).(*h2Pool)
	for refused := false; !refused; runtime.Gosched() {
		p.mu.Lock()
		refused = !p.sites[l.Addr().String()].refused.IsZero()
		p.mu.Unlock()
	}
	close(goOn)
	io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	asking.Wait()
	if n := connections(u); n != 1 {
		t.Errorf("%d connections, want one", n)
	}
}

// once accepts one connection, and then refuses any.
type once struct {
	net.Listener
	accepted atomic.Bool
}

func (o *once) Accept() (net.Conn, error) {
	if o.accepted.Swap(true) {
		return nil, net.ErrClosed
	}
	c, err := o.Listener.Accept()
	o.Close()
	return c, err
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

// TestOneDial: askers that come at the same time share one connection.
func TestOneDial(t *testing.T) {
	s := serve(t, nil, func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) })
	u := near(t, s.addr, Limits{})
	var asking sync.WaitGroup
	for range 50 {
		asking.Go(func() {
			if _, body, err := called(t, u, true, "unary", "hello"); err != nil || body != string(message("hello")) {
				t.Errorf("%q, %v", body, err)
			}
		})
	}
	asking.Wait()
	if n := connections(u); n != 1 {
		t.Errorf("%d connections, want one", n)
	}
	u.CloseIdle()
	if n := connections(u); n != 0 {
		t.Errorf("%d connections after CloseIdle", n)
	}
	if n := len(u.transport(transportKey{llm, true, true}).(*h2Pool).sites); n != 0 {
		t.Errorf("%d endpoints are remembered, want none", n)
	}
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
