package upstream

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
)

// TestTalk: messages go either way without waiting for more.
func TestTalk(t *testing.T) {
	u := near(t, serveGRPC(t, nil), Limits{})
	pr, pw := io.Pipe()
	head := grpcHead("talk")
	r := &Request{Head: &head, Body: &content{Reader: pr}}
	go pw.Write(message("first"))
	resp, err := u.RoundTrip(t.Context(), to(true), r)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		if i > 0 {
			pw.Write(message("first"))
		}
		if got := make([]byte, 10); !reads(resp.Body, got) || !bytes.Equal(got, message("first")) {
			t.Fatalf("read %q", got)
		}
	}
	pw.Close()
	if rest, err := io.ReadAll(resp.Body); len(rest) > 0 || err != nil || resp.Body.Trailers().Get("grpc-status") != "0" {
		t.Errorf("%q, %v, trailers %v", rest, err, resp.Body.Trailers())
	}
	resp.Body.Close()
	r.Wait()
}

// TestMuchContent: as much as windows let through goes either way at a time.
func TestMuchContent(t *testing.T) {
	const much = 8 << 20
	s := serve(t, nil, func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) })
	u := near(t, s.addr, Limits{})
	for _, ready := range []bool{true, false} {
		head := grpcHead("talk")
		r := &Request{Head: &head, Body: &content{Reader: io.LimitReader(zeros{}, much), ready: ready}}
		if _, body, err := exchange(t, u, to(true), r); len(body) != much || err != nil {
			t.Errorf("%d bytes, %v", len(body), err)
		}
	}
}

// TestAnswerBeforeTheRequestsEnd: a whole answer is one, and the rest of the
// request is not sent; the connection goes on.
func TestAnswerBeforeTheRequestsEnd(t *testing.T) {
	s := serve(t, nil, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		io.WriteString(w, "ok")
	})
	u := near(t, s.addr, Limits{})
	for _, reader := range []io.Reader{nil, zeros{}, zeros{}} {
		pr, pw := io.Pipe()
		if reader == nil {
			reader = pr
		}
		head := grpcHead("talk")
		resp, body, err := exchangeClosing(t, u, &Request{Head: &head, Body: &content{Reader: reader}}, pw)
		if err != nil || resp.Head.Status != 413 || body != "ok" {
			t.Errorf("%v %q, %v", resp, body, err)
		}
	}
	if n := connections(u); n != 1 {
		t.Errorf("%d connections, want one", n)
	}
}

// exchangeClosing is exchange which ends the content behind the answer.
func exchangeClosing(t *testing.T, u *Upstream, r *Request, body io.Closer) (*Response, string, error) {
	t.Helper()
	resp, err := u.RoundTrip(t.Context(), to(true), r)
	if err != nil {
		return nil, "", err
	}
	text, err := io.ReadAll(resp.Body)
	copied := *resp
	resp.Body.Close()
	body.Close()
	r.Wait()
	return &copied, string(text), err
}

// TestContentBreaksOffInHTTP2: the destination must not take half a request for a
// whole one, nor one that is not as long as it says.
func TestContentBreaksOffInHTTP2(t *testing.T) {
	whole := make(chan bool, 1)
	s := serve(t, nil, func(_ http.ResponseWriter, r *http.Request) {
		_, err := io.Copy(io.Discard, r.Body)
		whole <- err == nil
	})
	u := near(t, s.addr, Limits{})
	for _, c := range []struct {
		length string
		reader func() io.Reader
	}{
		{"", func() io.Reader { return io.MultiReader(strings.NewReader("half"), failing{}) }},
		{"100", func() io.Reader { return io.MultiReader(strings.NewReader("half"), failing{}) }},
		{"5", func() io.Reader { return strings.NewReader("hell") }},
		{"5", func() io.Reader { return strings.NewReader("hello!") }},
	} {
		for _, ready := range []bool{true, false} {
			head := grpcHead("talk")
			if c.length != "" {
				head.Fields = append(head.Fields, l7.Field{Name: "content-length", Value: c.length})
			}
			before := s.reached.Load()
			if resp, _, err := exchange(t, u, to(true), &Request{Head: &head, Body: &content{Reader: c.reader(), ready: ready}}); err == nil {
				t.Errorf("%q, ready %t: %v", c.length, ready, resp)
			}
			if s.reached.Load() > before && <-whole {
				t.Errorf("%q, ready %t: the destination has a whole request", c.length, ready)
			}
		}
	}
}
