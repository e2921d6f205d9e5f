package upstream

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/certs/certstest"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
)

// nobody is an address at which nothing listens.
func nobody(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// hangUp is a listener that ends what it accepts, or with wait set leaves it
// without an answer. It counts.
func hangUp(t *testing.T, wait bool) (addr string, accepted *atomic.Int32) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	accepted = new(atomic.Int32)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			accepted.Add(1)
			if wait {
				t.Cleanup(func() { c.Close() })
			} else {
				c.Close()
			}
		}
	}()
	return l.Addr().String(), accepted
}

func say(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	w.Write(append([]byte("you said "), body...))
}

// TestAnotherEndpoint: while one of a service's endpoints lives, no call fails
// because another does not, whatever the protocol.
func TestAnotherEndpoint(t *testing.T) {
	far := certstest.Mesh(t, "far.test")["far.test"]
	grpc := post()
	grpc.Fields = l7.Fields{{Name: "content-type", Value: "application/grpc"}}
	secure := serve(t, certs.ServerTLS(far.Source("/ai/llm"), certs.AuthorizeAny(), "h2", "http/1.1"), say)
	impostor := serve(t, certs.ServerTLS(far.Source("/ai/other"), certs.AuthorizeAny(), "h2", "http/1.1"), say)
	plain := serve(t, nil, say)
	for _, c := range []struct {
		name      string
		plaintext bool
		head      l7.RequestHead
		at        places
	}{
		{"plaintext", true, post(), places{nobody(t), plain.addr}},
		{"gRPC in plaintext", true, grpc, places{nobody(t), plain.addr}},
		{"TLS", false, post(), places{nobody(t), secure.addr}},
		{"gRPC", false, grpc, places{nobody(t), secure.addr}},
		{"another workload at the address", false, post(), places{impostor.addr, secure.addr}},
		{"the last of many", true, post(), places{nobody(t), nobody(t), nobody(t), plain.addr}},
	} {
		t.Run(c.name, func(t *testing.T) {
			u := New(far.Source("/sallyport/gateway/far-1"), c.at, Limits{})
			defer u.CloseIdle()
			for i := range 6 {
				if _, body, err := ask(t, u, to(c.plaintext), c.head, "hello"); err != nil || body != "you said hello" {
					t.Fatalf("call %d: %q, %v", i, body, err)
				}
			}
		})
	}
	if n := impostor.reached.Load(); n != 0 {
		t.Errorf("%d requests reached another workload", n)
	}
}

// TestAnotherEndpointOfAStream is the same for a CONNECT.
func TestAnotherEndpointOfAStream(t *testing.T) {
	far := certstest.Mesh(t, "far.test")["far.test"]
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			text, _ := io.ReadAll(c)
			c.Write(text)
			c.Close()
		}
	}()
	u := New(far.Source("/sallyport/gateway/far-1"), places{nobody(t), l.Addr().String()}, Limits{})
	for i := range 4 {
		nc, peer, err := u.Connect(t.Context(), to(true))
		if err != nil {
			t.Fatalf("stream %d: %v", i, err)
		}
		io.WriteString(nc, "hello")
		nc.(*net.TCPConn).CloseWrite()
		if body, err := io.ReadAll(nc); err != nil || string(body) != "hello" || peer.GetAddress() != l.Addr().String() {
			t.Errorf("stream %d: %q of %s, %v", i, body, peer.GetAddress(), err)
		}
		nc.Close()
	}
}

// TestADeadEndpointIsTriedLast, for a while.
func TestADeadEndpointIsTriedLast(t *testing.T) {
	far := certstest.Mesh(t, "far.test")["far.test"]
	bad, accepted := hangUp(t, false)
	good := serve(t, certs.ServerTLS(far.Source("/ai/llm"), certs.AuthorizeAny(), "http/1.1"), say)
	u := New(far.Source("/sallyport/gateway/far-1"), places{bad, good.addr}, Limits{})
	defer u.CloseIdle()
	for range 10 {
		if _, _, err := ask(t, u, to(false), post(), ""); err != nil {
			t.Fatal(err)
		}
	}
	if n := accepted.Load(); n != 1 {
		t.Errorf("the dead endpoint was tried %d times, want once", n)
	}
	u.mu.Lock()
	u.dead[bad] = time.Now() // its time is over
	u.mu.Unlock()
	for range 2 {
		if _, _, err := ask(t, u, to(false), post(), ""); err != nil {
			t.Fatal(err)
		}
	}
	if n := accepted.Load(); n != 2 {
		t.Errorf("the dead endpoint was tried %d times, want once more", n)
	}
}

// TestASilentEndpoint takes no more than its share of the time.
func TestASilentEndpoint(t *testing.T) {
	far := certstest.Mesh(t, "far.test")["far.test"]
	silent, _ := hangUp(t, true)
	good := serve(t, certs.ServerTLS(far.Source("/ai/llm"), certs.AuthorizeAny(), "http/1.1"), say)
	u := New(far.Source("/sallyport/gateway/far-1"), places{silent, good.addr}, Limits{})
	defer u.CloseIdle()
	u.dialTimeout = 500 * time.Millisecond
	for range 2 {
		if _, _, err := ask(t, u, to(false), post(), ""); err != nil {
			t.Error(err)
		}
	}
	start := time.Now()
	u = New(far.Source("/sallyport/gateway/far-1"), places{silent, silent}, Limits{})
	u.dialTimeout = 100 * time.Millisecond
	if _, _, err := ask(t, u, to(false), post(), ""); !notReached(err) {
		t.Errorf("silence: %v", err)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
}

// TestNoEndpointLives: the error says what became of each, and nothing of the
// request was read.
func TestNoEndpointLives(t *testing.T) {
	far := certstest.Mesh(t, "far.test")["far.test"]
	one, two := nobody(t), nobody(t)
	u := New(far.Source("/sallyport/gateway/far-1"), places{one, two}, Limits{})
	grpc := post()
	grpc.Fields = l7.Fields{{Name: "content-type", Value: "application/grpc"}}
	for _, head := range []l7.RequestHead{post(), grpc} {
		body := &content{Reader: strings.NewReader("hello"), ready: true}
		r := &Request{Head: &head, Body: body}
		_, err := u.RoundTrip(t.Context(), to(true), r)
		if err == nil || !strings.Contains(err.Error(), one) || !strings.Contains(err.Error(), two) {
			t.Errorf("RoundTrip() = %v, want both addresses", err)
		}
		r.Wait()
		if rest, _ := io.ReadAll(body); string(rest) != "hello" {
			t.Errorf("left %q", rest)
		}
	}
}

// TestAFailureAfterTheRequestWasSent is not repeated elsewhere: the destination
// may have done what was asked.
func TestAFailureAfterTheRequestWasSent(t *testing.T) {
	far := certstest.Mesh(t, "far.test")["far.test"]
	var asked atomic.Int32
	drop := func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		asked.Add(1)
		panic(http.ErrAbortHandler)
	}
	a, b := serve(t, nil, drop), serve(t, nil, drop)
	u := New(far.Source("/sallyport/gateway/far-1"), places{a.addr, b.addr}, Limits{})
	defer u.CloseIdle()
	if _, _, err := ask(t, u, to(true), post(), "hello"); err == nil || errors.Is(err, ErrNoEndpoint) || notReached(err) {
		t.Errorf("RoundTrip() = %v", err)
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("asked %d times, want once", n)
	}
}
