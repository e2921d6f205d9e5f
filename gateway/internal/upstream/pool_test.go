package upstream

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/certs/certstest"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
)

// TestUsedAgain: exchanges one after the other share a connection, and those
// beside one another have one each, of which no more than are allowed are kept.
func TestUsedAgain(t *testing.T) {
	var arrived sync.WaitGroup
	together := maxIdle + 10
	addr, accepted := raw(t, func(_ int, c net.Conn, br *bufio.Reader) {
		for i := 0; ; i++ {
			if r, _ := skip(br); r == nil {
				return
			} else if r.URL.Path == "/together" {
				arrived.Done()
				arrived.Wait()
			}
			io.WriteString(c, fine)
		}
	})
	u := near(t, addr, Limits{})
	for range 5 {
		if _, _, err := ask(t, u, to(true), post(), "hello"); err != nil {
			t.Fatal(err)
		}
	}
	if n := accepted.Load(); n != 1 {
		t.Errorf("%d connections, want one", n)
	}
	arrived.Add(together)
	var asking sync.WaitGroup
	for range together {
		asking.Go(func() {
			head := get()
			head.Path = "/together"
			if _, _, err := exchange(t, u, to(true), &Request{Head: &head}); err != nil {
				t.Error(err)
			}
		})
	}
	asking.Wait()
	if n := accepted.Load(); int(n) != together {
		t.Errorf("%d connections, want %d", n, together)
	}
	if n := idle(u); n != maxIdle {
		t.Errorf("%d are kept, want %d", n, maxIdle)
	}
	u.CloseIdle()
	if n := idle(u); n != 0 {
		t.Errorf("%d are kept after CloseIdle", n)
	}
}

// idle counts idle connections.
func idle(u *Upstream) (n int) {
	for _, t := range u.transports {
		if p, ok := t.(*pool); ok {
			p.mu.Lock()
			for _, all := range p.idle {
				n += len(all)
			}
			p.mu.Unlock()
		}
	}
	return n
}

// TestSweep: idle connections that are too old, or that the destination has
// closed, are let go of without anybody asking.
func TestSweep(t *testing.T) {
	hangUp := make(chan struct{})
	addr, _ := raw(t, func(n int, c net.Conn, br *bufio.Reader) {
		skip(br)
		io.WriteString(c, fine)
		if n == 1 {
			<-hangUp
			c.(*net.TCPConn).CloseWrite()
			hangUp <- struct{}{}
		}
		br.ReadByte()
	})
	u := near(t, addr, Limits{})
	p := u.transport(transportKey{llm, true, false}).(*pool)
	for i := range 3 {
		c, err := p.dial(t.Context(), addr, dialTimeout, &Request{})
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		io.ReadFull(c, make([]byte, len(fine)))
		p.put(addr, c)
		if i == 1 {
			c.since = c.since.Add(-idleTimeout)
		}
	}
	hangUp <- struct{}{}
	<-hangUp
	p.sweep()
	if n := idle(u); n != 1 || !p.sweeping {
		t.Errorf("%d are kept, want one", n)
	}
	p.idle[addr][0].since = p.idle[addr][0].since.Add(-idleTimeout)
	p.sweep()
	if n := idle(u); n != 0 || p.sweeping {
		t.Errorf("%d are kept and the timer runs: %t", n, p.sweeping)
	}
}

// running runs the upstream until the test ends.
func running(t *testing.T, u *Upstream) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); u.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
}

// TestVerifiedAgain: a live connection ends when its workload's SVID does not
// verify any more, even in mid-answer; one that does goes on.
func TestVerifiedAgain(t *testing.T) {
	for _, version := range []string{"HTTP/1.1", "HTTP/2"} {
		t.Run(version, func(t *testing.T) {
			far := certstest.Mesh(t, "far.test")["far.test"]
			s := serve(t, certs.ServerTLS(far.Source("/ai/llm"), certs.AuthorizeAny(), "h2", "http/1.1"), func(w http.ResponseWriter, r *http.Request) {
				w.WriteHeader(http.StatusOK)
				http.NewResponseController(w).Flush()
				<-r.Context().Done()
			})
			source := far.Source("/sallyport/gateway/far-1")
			u := New(source, places{s.addr}, Limits{})
			told := make(chan struct{})
			u.OnDistrust(func() { close(told) })
			running(t, u)
			head := get()
			if version == "HTTP/2" {
				head = post()
				head.Fields = l7.Fields{{Name: "content-type", Value: "application/grpc"}}
			}
			r := &Request{Head: &head}
			resp, err := u.RoundTrip(t.Context(), to(false), r)
			if err != nil {
				t.Fatal(err)
			}
			if err := resp.Credential.Check(); err != nil || !resp.Credential.Expires().After(time.Now()) {
				t.Errorf("credential: %v, ends at %v", err, resp.Credential.Expires())
			}
			far.Distrust("far.test")
			<-told
			if err := resp.Credential.Check(); !errors.Is(err, certs.ErrUntrusted) {
				t.Errorf("once its root is gone: %v, want ErrUntrusted", err)
			}
			if _, err := io.ReadAll(resp.Body); err == nil {
				t.Error("the answer has ended in order")
			}
			resp.Body.Close()
			if n := len(u.trusted()); n != 0 {
				t.Errorf("%d connections are left", n)
			}
		})
	}
}

// TestAnotherSVID: no connection goes on under the SVID that the gateway had
// before.
func TestAnotherSVID(t *testing.T) {
	far := certstest.Mesh(t, "far.test")["far.test"]
	var shown atomic.Value
	s := serve(t, certs.ServerTLS(far.Source("/ai/llm"), certs.AuthorizeAny(), "http/1.1"), func(_ http.ResponseWriter, r *http.Request) {
		shown.Store(certs.Fingerprint(r.TLS.PeerCertificates[0]))
	})
	source := far.Source("/sallyport/gateway/far-1")
	u := New(source, places{s.addr}, Limits{})
	running(t, u)
	if _, _, err := ask(t, u, to(false), get(), ""); err != nil {
		t.Fatal(err)
	}
	before := shown.Load()
	far.Rotate(source)
	for shown.Load() == before { // until Run has heard
		if _, _, err := ask(t, u, to(false), get(), ""); err != nil {
			t.Fatal(err)
		}
	}
	if n := idle(u); n != 1 {
		t.Errorf("%d connections are kept, want one", n)
	}
}
