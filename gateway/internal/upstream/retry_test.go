package upstream

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
)

// TestNothingWasSent: a request of which no byte could be written is asked in
// another connection, whatever it is, and none of its content is lost.
func TestNothingWasSent(t *testing.T) {
	for _, ready := range []bool{true, false} {
		addr, _ := raw(t, func(n int, c net.Conn, br *bufio.Reader) {
			for {
				r, err := http.ReadRequest(br)
				if err != nil {
					break
				}
				body, _ := io.ReadAll(r.Body)
				fmt.Fprintf(c, "HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s", len(body), body)
			}
			if n == 1 {
				<-t.Context().Done() // it does not say that it has ended
			}
		})
		u := near(t, addr, Limits{})
		if _, _, err := ask(t, u, to(true), post(), "hello"); err != nil {
			t.Fatal(err)
		}
		p := u.transport(transportKey{llm, true, false}).(*pool)
		p.idle[addr][0].socket.CloseWrite() // no write gets through
		head := post()
		r := &Request{Head: &head, Body: &content{Reader: strings.NewReader("hello again"), ready: ready}}
		if resp, body, err := exchange(t, u, to(true), r); err != nil || body != "hello again" || resp.Tries != 2 {
			t.Errorf("ready %t: %v %q, %v", ready, resp, body, err)
		}
		u.CloseIdle()
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
			if want := max(c.tries, 1); r.Tries() != want {
				t.Errorf("%d tries, want %d", r.Tries(), want)
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
