package upstream

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-mesh/sallyport/certs/certstest"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
)

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

// TestRequestAgain: a request that is over is as good as a new one; one that a timer
// may still cut is not used again.
func TestRequestAgain(t *testing.T) {
	r := &Request{Head: &l7.RequestHead{}, Retry: true, tries: 2}
	r.Cancel()
	if !r.Reset() || r.Head != nil || r.Retry || r.tries != 0 || r.isCancelled() {
		t.Errorf("something is left: %+v", r.Head)
	}
	late := &h2Call{pool: &h2Pool{u: &Upstream{}}}
	late.r, r.h2, late.spoiled = r, late, true
	late.free()
	if r.Reset() {
		t.Error("it is used again, and a timer may cut it")
	}
}
