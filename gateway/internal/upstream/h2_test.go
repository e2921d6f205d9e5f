package upstream

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/certs/certstest"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/http2"
)

// bare carries messages as they are.
type bare struct{}

func (bare) Marshal(v any) ([]byte, error)      { return *v.(*[]byte), nil }
func (bare) Unmarshal(data []byte, v any) error { *v.(*[]byte) = bytes.Clone(data); return nil }
func (bare) Name() string                       { return "bare" }

// serveGRPC is gRPC's own server. The method says what becomes of a call.
func serveGRPC(t *testing.T, config *tls.Config, opts ...grpc.ServerOption) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if config != nil {
		opts = append(opts, grpc.Creds(credentials.NewTLS(config)))
	}
	gs := grpc.NewServer(append(opts, grpc.ForceServerCodec(bare{}), grpc.UnknownServiceHandler(handle))...)
	go gs.Serve(l)
	t.Cleanup(gs.Stop)
	return l.Addr().String()
}

// handle is each kind of call: "unary" and "collect" answer once, with all that
// came, "spread" each byte of one message, "talk" each message as it comes.
func handle(_ any, s grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(s)
	switch method {
	case "/t/early":
		return status.Error(codes.PermissionDenied, "no")
	case "/t/wait":
		<-s.Context().Done()
		return status.FromContextError(s.Context().Err()).Err()
	}
	var all []byte
	for {
		var m []byte
		err := s.RecvMsg(&m)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if all = append(all, m...); method == "/t/talk" {
			if err := s.SendMsg(&m); err != nil {
				return err
			}
		}
	}
	s.SetTrailer(metadata.Pairs("x-length", fmt.Sprint(len(all))))
	switch method {
	case "/t/talk":
		return nil
	case "/t/spread":
		for i := range all {
			b := all[i : i+1]
			if err := s.SendMsg(&b); err != nil {
				return err
			}
		}
		return nil
	}
	return s.SendMsg(&all)
}

// message is a gRPC message as it is on the wire.
func message(text string) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(text))), text...)
}

func grpcHead(method string) l7.RequestHead {
	return l7.RequestHead{
		Method: "POST", Authority: "llm.far.mesh:8000", Path: "/t/" + method,
		Fields: l7.Fields{{Name: "content-type", Value: "application/grpc"}},
	}
}

// called asks a gRPC call with one message.
func called(t *testing.T, u *Upstream, plaintext bool, method, text string) (*Response, string, error) {
	t.Helper()
	head := grpcHead(method)
	return exchange(t, u, to(plaintext), &Request{Head: &head, Body: &content{Reader: bytes.NewReader(message(text)), ready: true}})
}

// TestKindsOfCall: each kind of call, whether the content is at hand or not.
func TestKindsOfCall(t *testing.T) {
	far := certstest.Mesh(t, "far.test")["far.test"]
	for _, config := range []*tls.Config{nil, certs.ServerTLS(far.Source("/ai/llm"), certs.AuthorizeAny(), "h2")} {
		u := New(far.Source("/sallyport/gateway/far-1"), places{serveGRPC(t, config)}, Limits{})
		t.Cleanup(u.CloseIdle)
		for _, ready := range []bool{true, false} {
			for method, want := range map[string]string{
				"unary":   string(message("abcd")),
				"collect": string(message("abcd")),
				"spread":  string(slicesOf("a", "b", "c", "d")),
				"talk":    string(slicesOf("ab", "cd")),
			} {
				head := grpcHead(method)
				r := &Request{Head: &head, Body: &content{Reader: bytes.NewReader(slicesOf("ab", "cd")), ready: ready}}
				resp, body, err := exchange(t, u, to(config == nil), r)
				if err != nil || body != want || resp.Ended || resp.Tries != 1 ||
					resp.Head.Fields.Get("grpc-status") != "0" || resp.Head.Fields.Get("x-length") != "4" {
					t.Errorf("%s, ready %t: %v %q, %v", method, ready, resp, body, err)
				}
			}
		}
		if n := connections(u); n != 1 {
			t.Errorf("%d connections, want one", n)
		}
	}
}

func slicesOf(texts ...string) (all []byte) {
	for _, text := range texts {
		all = append(all, message(text)...)
	}
	return all
}

// TestEarlyFailure: a call that fails before it was read stays one frame, whether
// its content was at hand or is still coming.
func TestEarlyFailure(t *testing.T) {
	u := near(t, serveGRPC(t, nil), Limits{})
	for i := range 300 {
		pr, pw := io.Pipe()
		body := &content{Reader: pr}
		if i%3 == 0 {
			body = &content{Reader: bytes.NewReader(message("hello")), ready: true}
		}
		head := grpcHead("early")
		r := &Request{Head: &head, Body: body}
		if i%3 == 1 {
			go pw.Write(message("hello"))
		}
		resp, err := u.RoundTrip(t.Context(), to(true), r)
		if err != nil {
			t.Fatal(err)
		}
		if !resp.Ended || resp.Head.Fields.Get("grpc-status") != "7" || !resp.Body.Ready() {
			t.Fatalf("%+v", resp)
		}
		resp.Body.Close()
		pr.Close() // only then does the reader of the content come back
		r.Wait()
	}
	if n := connections(u); n != 1 {
		t.Errorf("%d connections, want one", n)
	}
}

// TestHeadInHTTP2: what reaches the destination is what was decided on.
func TestHeadInHTTP2(t *testing.T) {
	s := serve(t, nil, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.Host != "llm.far.mesh:8000" || r.RequestURI != "/v1/chat?x=1" || r.Header.Get("Te") != "trailers" ||
			r.ContentLength != 5 || len(r.Header) != 3 || string(body) != "hello" {
			t.Errorf("%s %q %v %d %q", r.Host, r.RequestURI, r.Header, r.ContentLength, body)
		}
		w.Header().Set("Trailer", "X-Sum")
		io.WriteString(w, "body")
		w.Header().Set("X-Sum", "4")
	})
	u := near(t, s.addr, Limits{})
	head := post()
	head.Fields = l7.Fields{{Name: "content-type", Value: "application/grpc"}, {Name: "content-length", Value: "5"}}
	resp, body, err := ask(t, u, to(true), head, "hello")
	if err != nil || body != "body" || resp.Head.Fields.Get("x-sum") != "4" || resp.Head.Fields.Has("trailer") {
		t.Errorf("%v %q, %v", resp, body, err)
	}
}

// TestCancelInHTTP2: whatever a call waits for, Cancel ends it, and the
// destination hears of it.
func TestCancelInHTTP2(t *testing.T) {
	waits := make(chan struct{}) // the destination does nothing more
	s := serve(t, nil, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/content" {
			http.NewResponseController(w).Flush()
		}
		waits <- struct{}{}
		<-r.Context().Done()
		waits <- struct{}{}
	})
	for _, c := range []struct {
		path string
		body Content
	}{
		{"/head", nil},
		{"/write", &content{Reader: zeros{}, ready: true}},
		{"/content", &content{Reader: zeros{}}},
	} {
		u := near(t, s.addr, Limits{})
		head := grpcHead("")
		head.Path = c.path
		r := &Request{Head: &head, Body: c.body}
		done := make(chan error)
		go func() {
			resp, err := u.RoundTrip(t.Context(), to(true), r)
			if err == nil {
				_, err = io.ReadAll(resp.Body)
				resp.Body.Close()
			}
			done <- err
		}()
		<-waits
		r.Cancel()
		r.Cancel()
		if err := <-done; err == nil || c.path != "/content" && !errors.Is(err, errCancelled) {
			t.Errorf("%s: %v", c.path, err)
		}
		<-waits
		r.Wait()
	}
}

// TestCancelAtAnyTime: whenever a call is cancelled, nothing of it is left in its
// connection.
func TestCancelAtAnyTime(t *testing.T) {
	u := near(t, serveGRPC(t, nil), Limits{})
	var asking sync.WaitGroup
	for i := range 300 {
		asking.Go(func() {
			head := grpcHead([]string{"unary", "talk", "early"}[i%3])
			r := &Request{Head: &head, Body: &content{Reader: bytes.NewReader(message("hello")), ready: i%2 == 0}}
			cancelled := make(chan struct{})
			go func() {
				for range i {
					runtime.Gosched()
				}
				r.Cancel()
				close(cancelled)
			}()
			if resp, err := u.RoundTrip(t.Context(), to(true), r); err == nil {
				io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
			r.Wait()
			<-cancelled
		})
	}
	asking.Wait()
	if _, body, err := called(t, u, true, "unary", "hello"); err != nil || body != string(message("hello")) {
		t.Errorf("afterwards: %q, %v", body, err)
	}
	for _, st := range u.transport(transportKey{llm, true, true}).(*h2Pool).sites {
		for _, c := range st.conns {
			if n := c.Streams(); n != 0 {
				t.Errorf("%d streams are left", n)
			}
		}
	}
}

// TestCancelBeforeConnected: who waits for a connection is let go, and nobody's
// connection is not made.
func TestCancelBeforeConnected(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	u := near(t, l.Addr().String(), Limits{})
	head := grpcHead("unary")
	r := &Request{Head: &head}
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		io.ReadFull(c, make([]byte, 24)) // the preface
		r.Cancel()
		io.Copy(io.Discard, c) // until it is closed
	}()
	if _, err := u.RoundTrip(t.Context(), to(true), r); !errors.Is(err, errCancelled) {
		t.Errorf("%v, want %v", err, errCancelled)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := u.RoundTrip(ctx, to(true), &Request{Head: &head}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want %v", err, context.Canceled)
	}
}

// TestDeadline: a call's own deadline is the destination's to keep; one without
// waits no longer than the limit.
func TestDeadline(t *testing.T) {
	u := near(t, serveGRPC(t, nil), Limits{FirstByte: 30 * time.Millisecond})
	if _, _, err := called(t, u, true, "wait", "x"); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("no answer: %v", err)
	}
	head := grpcHead("wait")
	head.Fields = append(head.Fields, l7.Field{Name: "grpc-timeout", Value: "90m"})
	// The server's timer and its handler are in a race for how it ends.
	resp, _, err := ask(t, u, to(true), head, string(message("x")))
	reset, ok := errors.AsType[*http2.ResetError](err)
	if told := err == nil && resp.Head.Fields.Get("grpc-status") == "4"; !told && (!ok || !reset.Remote) {
		t.Errorf("%v, %v, want that the destination ends it", resp, err)
	}
	if resp, _, err := called(t, u, true, "unary", "x"); err != nil || resp.Tries != 1 {
		t.Errorf("afterwards: %v, %v", resp, err)
	}
}

// TestLimitsInHTTP2: the wait for the answer begins with the request's end, and
// between two pieces of it there is a limit if it was set.
func TestLimitsInHTTP2(t *testing.T) {
	s := serve(t, nil, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		if r.URL.Path == "/t/never" {
			<-r.Context().Done()
		}
		io.WriteString(w, "o")
		http.NewResponseController(w).Flush()
		if r.URL.Path == "/t/stops" {
			<-r.Context().Done()
		}
	})
	u := near(t, s.addr, Limits{FirstByte: 30 * time.Millisecond, Idle: 30 * time.Millisecond})
	for method, late := range map[string]bool{"slow": false, "never": true, "stops": true} {
		pr, pw := io.Pipe()
		time.AfterFunc(60*time.Millisecond, func() { pw.Close() })
		head := grpcHead(method)
		_, body, err := exchange(t, u, to(true), &Request{Head: &head, Body: &content{Reader: pr}})
		if late != errors.Is(err, os.ErrDeadlineExceeded) || !late && (err != nil || body != "o") {
			t.Errorf("%s: %q, %v", method, body, err)
		}
	}
}
