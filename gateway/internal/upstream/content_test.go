package upstream

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
)

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
