package upstream

import (
	"io"
	"net"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

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
