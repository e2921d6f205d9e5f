package upstream

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/certs/certstest"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/policy"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

var llm = spiffeid.RequireFromString("spiffe://far.test/ai/llm")

// places are where services are.
type places []string

func (p places) Endpoints(_, _ string) []string { return p }

// server serves h on loopback; with a config over TLS. It counts what reached it.
type server struct {
	addr    string
	reached atomic.Int32
}

func serve(t *testing.T, config *tls.Config, h http.HandlerFunc) *server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{addr: l.Addr().String()}
	if config != nil {
		l = tls.NewListener(l, config)
	}
	srv := &http.Server{Protocols: new(http.Protocols), ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.reached.Add(1)
		h(w, r)
	})}
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetHTTP2(true)
	srv.Protocols.SetUnencryptedHTTP2(true)
	go srv.Serve(l)
	t.Cleanup(func() { srv.Close() })
	return s
}

func to(plaintext bool) Destination {
	return Destination{
		Workload: &policy.Workload{Name: "llm", ID: llm, Plaintext: plaintext},
		Service:  &policy.Service{Name: "chat", Protocol: "openai"},
	}
}

// content is a request's. It is at hand if it is ready.
type content struct {
	io.Reader
	ready    bool
	trailers l7.Fields
}

func (c *content) Ready() bool         { return c.ready }
func (c *content) Trailers() l7.Fields { return c.trailers }

// ask asks with content that is at hand, or with none.
func ask(t *testing.T, u *Upstream, d Destination, head l7.RequestHead, body string) (*Response, string, error) {
	t.Helper()
	r := &Request{Head: &head}
	if body != "" {
		r.Body = &content{Reader: strings.NewReader(body), ready: true}
	}
	resp, text, err := exchange(t, u, d, r)
	return resp, text, err
}

// exchange asks, and gives the answer, whose trailers are among its fields.
func exchange(t *testing.T, u *Upstream, d Destination, r *Request) (*Response, string, error) {
	t.Helper()
	resp, err := u.RoundTrip(t.Context(), d, r)
	if err != nil {
		r.Wait()
		return nil, "", err
	}
	text, err := io.ReadAll(resp.Body)
	copied := *resp
	copied.Head.Fields = append(slices.Clone(resp.Head.Fields), resp.Body.Trailers()...)
	resp.Body.Close()
	r.Wait()
	return &copied, string(text), err
}

func post() l7.RequestHead {
	return l7.RequestHead{Method: "POST", Authority: "llm.far.mesh:8000", Path: "/v1/chat?x=1"}
}

func TestTLS(t *testing.T) {
	far := certstest.Mesh(t, "far.test")["far.test"]
	s := serve(t, certs.ServerTLS(far.Source("/ai/llm"), certs.AuthorizeAny(), "h2", "http/1.1"), func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.Host != "llm.far.mesh:8000" || r.URL.String() != "/v1/chat?x=1" || r.Header.Get("User-Agent") != "" || string(body) != "hello" {
			t.Errorf("host %q, url %q, user agent %q, body %q", r.Host, r.URL, r.Header.Get("User-Agent"), body)
		}
		w.Header().Set("X-Version", r.Proto)
	})
	u := New(far.Source("/sallyport/gateway/far-1"), places{s.addr}, Limits{})
	defer u.CloseIdle()
	resp, _, err := ask(t, u, to(false), post(), "hello")
	if err != nil {
		t.Fatal(err)
	}
	if resp.Head.Fields.Get("x-version") != "HTTP/1.1" || resp.Peer.GetAttach() != crossingv1.Attach_MTLS || !strings.HasPrefix(resp.Peer.GetSvid(), "sha256:") {
		t.Errorf("head %v, peer %v", resp.Head, resp.Peer)
	}
	grpc := post()
	grpc.Fields = l7.Fields{{Name: "content-type", Value: "application/grpc"}}
	if resp, _, err = ask(t, u, to(false), grpc, "hello"); err != nil || resp.Head.Fields.Get("x-version") != "HTTP/2.0" {
		t.Errorf("gRPC: %v, %v", resp, err)
	}
}

// TestRetires: what comes once the workload's SVID is about to end goes in another
// connection, for which it shows the next one.
func TestRetires(t *testing.T) {
	far := certstest.Mesh(t, "far.test")["far.test"]
	s := serve(t, certs.ServerTLS(far.Source("/ai/llm"), certs.AuthorizeAny(), "h2", "http/1.1"), func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.Header().Set("X-Connection", r.RemoteAddr)
	})
	for _, kind := range []string{"application/json", "application/grpc"} {
		u := New(far.Source("/sallyport/gateway/far-1"), places{s.addr}, Limits{})
		defer u.CloseIdle()
		head := post()
		head.Fields = l7.Fields{{Name: "content-type", Value: kind}}
		var used []string
		for i := range 3 {
			if i == 2 {
				for _, s := range u.trusted() {
					s.retires = time.Now().Add(-time.Second)
				}
			}
			resp, _, err := ask(t, u, to(false), head, "hello")
			if err != nil {
				t.Fatal(err)
			}
			used = append(used, resp.Head.Fields.Get("x-connection"))
		}
		if used[0] != used[1] || used[1] == used[2] {
			t.Errorf("%s: connections %q, want the first twice and another one", kind, used)
		}
	}
}

// TestAnother: a server that is not the workload never sees a request.
func TestAnother(t *testing.T) {
	domains := certstest.Mesh(t, "far.test", "other.test")
	gw := domains["far.test"].Source("/sallyport/gateway/far-1")
	for _, c := range []struct {
		name   string
		config *tls.Config
	}{
		{"another workload", certs.ServerTLS(domains["far.test"].Source("/ai/other"), certs.AuthorizeAny(), "http/1.1")},
		{"another trust domain", certs.ServerTLS(domains["other.test"].Source("/ai/llm"), certs.AuthorizeAny(), "http/1.1")},
		{"no TLS", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := serve(t, c.config, func(http.ResponseWriter, *http.Request) {})
			u := New(gw, places{s.addr}, Limits{})
			if _, _, err := ask(t, u, to(false), post(), "hello"); err == nil {
				t.Error("it answered")
			}
			if n := s.reached.Load(); n != 0 {
				t.Errorf("%d requests reached it", n)
			}
		})
	}
}

func TestPlaintext(t *testing.T) {
	far := certstest.Mesh(t, "far.test")["far.test"]
	s := serve(t, nil, func(w http.ResponseWriter, r *http.Request) { w.Header().Set("X-Version", r.Proto) })
	u := New(far.Source("/sallyport/gateway/far-1"), places{s.addr}, Limits{})
	defer u.CloseIdle()
	resp, _, err := ask(t, u, to(true), post(), "hello")
	if err != nil || resp.Peer.GetAttach() != crossingv1.Attach_PLAINTEXT {
		t.Fatalf("%v, %v", resp, err)
	}
	grpc := post()
	grpc.Fields = l7.Fields{{Name: "content-type", Value: "application/grpc"}}
	if resp, _, err = ask(t, u, to(true), grpc, "x"); err != nil || resp.Head.Fields.Get("x-version") != "HTTP/2.0" {
		t.Errorf("gRPC in plaintext: %v, %v", resp, err)
	}
}

func TestTrailersAndGRPCStatus(t *testing.T) {
	far := certstest.Mesh(t, "far.test")["far.test"]
	s := serve(t, nil, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/only" {
			w.Header().Set("Grpc-Status", "5")
			return
		}
		w.Header().Set("Trailer", "X-Sum")
		io.WriteString(w, "body")
		w.Header().Set("X-Sum", "4")
	})
	u := New(far.Source("/sallyport/gateway/far-1"), places{s.addr}, Limits{})
	defer u.CloseIdle()
	resp, body, err := ask(t, u, to(true), post(), "")
	if err != nil || body != "body" || resp.Head.Fields.Get("x-sum") != "4" || resp.Head.Fields.Has("trailer") {
		t.Errorf("%v %q %v", resp, body, err)
	}
	only := post()
	only.Fields = l7.Fields{{Name: "content-type", Value: "application/grpc"}}
	only.Path = "/only"
	if resp, _, err = ask(t, u, to(true), only, ""); err != nil || !resp.Ended {
		t.Errorf("trailers only: %v, %v", resp, err)
	}
}

func TestEndpoints(t *testing.T) {
	far := certstest.Mesh(t, "far.test")["far.test"]
	gw := far.Source("/sallyport/gateway/far-1")
	if _, _, err := ask(t, New(gw, places{}, Limits{}), to(true), post(), ""); !errors.Is(err, ErrNoEndpoint) {
		t.Errorf("no endpoint: %v", err)
	}
	a := serve(t, nil, func(http.ResponseWriter, *http.Request) {})
	b := serve(t, nil, func(http.ResponseWriter, *http.Request) {})
	u := New(gw, places{a.addr, b.addr}, Limits{})
	defer u.CloseIdle()
	for range 10 {
		if _, _, err := ask(t, u, to(true), post(), ""); err != nil {
			t.Fatal(err)
		}
	}
	if a.reached.Load() != 5 || b.reached.Load() != 5 {
		t.Errorf("%d and %d requests, want five each", a.reached.Load(), b.reached.Load())
	}
}

// TestConnect: each direction of a byte stream ends by itself.
func TestConnect(t *testing.T) {
	far := certstest.Mesh(t, "far.test")["far.test"]
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		text, _ := io.ReadAll(conn) // until the caller's end
		io.WriteString(conn, "you said "+string(text))
	}()
	u := New(far.Source("/sallyport/gateway/far-1"), places{l.Addr().String()}, Limits{})
	nc, peer, err := u.Connect(t.Context(), to(true))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	io.WriteString(nc, "hello")
	nc.(*net.TCPConn).CloseWrite()
	if text, err := io.ReadAll(nc); string(text) != "you said hello" || err != nil {
		t.Errorf("%q, %v", text, err)
	}
	if peer.GetAddress() != l.Addr().String() || peer.GetAttach() != crossingv1.Attach_PLAINTEXT {
		t.Errorf("peer %v", peer)
	}
	nowhere := New(far.Source("/sallyport/gateway/far-2"), places{}, Limits{})
	if _, _, err := nowhere.Connect(t.Context(), to(true)); !errors.Is(err, ErrNoEndpoint) {
		t.Errorf("Connect without an endpoint: %v", err)
	}
}
