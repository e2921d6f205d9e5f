package listener

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/certs/certstest"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// patience bounds what a test waits for; it is reached only in a failure.
const patience = 30 * time.Second

// refusal is what a Refuser was told.
type refusal struct {
	caller string // SPIFFE ID, "" if unknown
	reason crossingv1.Reason
	detail string
	head   l7.RequestHead // as far as it was read
}

// refusals keeps what was refused.
type refusals chan refusal

func (r refusals) Refuse(reason crossingv1.Reason, addr netip.AddrPort, listener, detail string) {
	if !addr.IsValid() || listener != Name {
		detail = fmt.Sprintf("bad refusal from %v at %q", addr, listener)
	}
	r <- refusal{reason: reason, detail: detail}
}

// What a Refuser of these tests knows of every crossing of a known caller.
const (
	refusedID    = "01a207e6-e4d8-7d3e-9a54-1f0e6b7c2d88"
	refusedOwner = "infra"
)

func (r refusals) RefuseKnown(c Caller, head *l7.RequestHead, reason crossingv1.Reason, detail string) (id, owner string) {
	told := refusal{caller: c.ID.String(), reason: reason, detail: detail}
	if head != nil {
		told.head = *head
	}
	r <- told
	return refusedID, refusedOwner
}

// want waits for one refusal.
func (r refusals) want(t *testing.T, reason crossingv1.Reason, caller string) refusal {
	t.Helper()
	select {
	case got := <-r:
		if got.reason != reason || got.caller != caller {
			t.Errorf("refused %v of %q (%s), want %v of %q", got.reason, got.caller, got.detail, reason, caller)
		}
		return got
	case <-time.After(patience):
		t.Errorf("nothing refused, want %v", reason)
		return refusal{}
	}
}

func (r refusals) wantNone(t *testing.T) {
	t.Helper()
	select {
	case got := <-r:
		t.Errorf("refused %v of %q: %s", got.reason, got.caller, got.detail)
	default:
	}
}

// handlerFunc is a Handler.
type handlerFunc func(ctx context.Context, req *Request, resp Response)

func (f handlerFunc) ServeExchange(ctx context.Context, req *Request, resp Response) {
	f(ctx, req, resp)
}

// fixture is a listener that runs, and what it is called with.
type fixture struct {
	*Listener
	t        *testing.T
	mesh     map[string]*certstest.Domain
	refusals refusals
	stop     func() // ends Run and waits for it
}

// bind makes a listener that does not run.
func bind(t *testing.T, h handlerFunc, change ...func(*Config)) *fixture {
	t.Helper()
	f := &fixture{t: t, mesh: certstest.Mesh(t, "onprem.test", "azure.test"), refusals: make(refusals, 1000)}
	cfg := Config{
		Address: "127.0.0.1:0", Loopback: "127.0.0.1:0",
		Source:  f.mesh["onprem.test"].Source("/sallyport/gateway/onprem-1", "llm.azure.mesh"),
		Handler: h, Refuser: f.refusals,
	}
	for _, c := range change {
		c(&cfg)
	}
	l, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	f.Listener = l
	return f
}

// start runs a listener until the test ends.
func start(t *testing.T, h handlerFunc, change ...func(*Config)) *fixture {
	t.Helper()
	f := bind(t, h, change...)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- f.Run(ctx); close(done) }()
	f.stop = func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run = %v", err)
		}
	}
	t.Cleanup(f.stop)
	return f
}

// inBubble has a listener serve connections in memory, on virtual time. dial
// gives the caller's end of another one, without TLS.
func inBubble(t *testing.T, h handlerFunc, change func(*Config), test func(t *testing.T, f *fixture, dial func() net.Conn)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f := bind(t, h, change)
		f.closeSockets()
		var opened []net.Conn
		defer func() {
			for _, c := range opened {
				c.Close()
			}
			f.Listener.serving.Wait()
		}()
		test(t, f, func() net.Conn {
			near, far := net.Pipe()
			opened = append(opened, near)
			f.Listener.start(t.Context(), far, false)
			return near
		})
	})
}

// clientTLS is a caller's configuration; path "" shows no SVID.
func (f *fixture) clientTLS(domain, path string, protos ...string) *tls.Config {
	c := &tls.Config{RootCAs: f.mesh["onprem.test"].Roots(), ServerName: "llm.azure.mesh", NextProtos: protos}
	if path != "" {
		d := f.mesh[domain]
		c.Certificates = []tls.Certificate{d.Certificate(d.ID(path))}
	}
	return c
}

// dial opens a TLS connection as a workload of onprem.
func (f *fixture) dial() net.Conn {
	f.t.Helper()
	c, err := tls.Dial("tcp", f.Addr().String(), f.clientTLS("onprem.test", "/orchestrator", "http/1.1"))
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return c
}

// dialLoopback opens a connection without TLS.
func (f *fixture) dialLoopback() net.Conn {
	f.t.Helper()
	c, err := net.Dial("tcp", f.LoopbackAddr().String())
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return c
}

func (f *fixture) jwt() string {
	return f.mesh["onprem.test"].JWT("/orchestrator", f.cfg.Source.ID().String())
}

// client is an HTTP client of that version with an X509-SVID.
func (f *fixture) client(version int) *http.Client {
	protos := new(http.Protocols)
	protos.SetHTTP1(version == 1)
	protos.SetHTTP2(version == 2)
	tr := &http.Transport{
		TLSClientConfig: f.clientTLS("onprem.test", "/orchestrator"),
		Protocols:       protos,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", f.Addr().String())
		},
	}
	f.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: patience}
}

// send writes raw bytes and reads one answer.
func send(t *testing.T, c net.Conn, br *bufio.Reader, raw, method string) *http.Response {
	t.Helper()
	if _, err := io.WriteString(c, raw); err != nil {
		t.Fatal(err)
	}
	return receive(t, br, method)
}

func receive(t *testing.T, br *bufio.Reader, method string) *http.Response {
	t.Helper()
	r, err := http.ReadResponse(br, &http.Request{Method: method})
	if err != nil {
		t.Fatalf("read answer: %v", err)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatalf("read answer's content: %v", err)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	return r
}

func content(r *http.Response) string {
	b, _ := io.ReadAll(r.Body)
	return string(b)
}

// echo answers with what it was asked.
func echo(_ context.Context, req *Request, resp Response) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		resp.Abort()
		return
	}
	answer := fmt.Sprintf("%s %s %s %s %q", req.Caller.ID, req.Head.Method, req.Head.Authority, req.Head.Path, body)
	head := &l7.ResponseHead{Status: 200}
	for _, f := range req.Head.Fields {
		head.Fields = append(head.Fields, l7.Field{Name: "echo-" + f.Name, Value: f.Value})
	}
	if resp.WriteHead(head, false) != nil {
		return
	}
	_, _ = resp.Write([]byte(answer))
	_ = resp.End(*req.Trailers)
}

func ok(_ context.Context, _ *Request, resp Response) {
	_ = resp.WriteHead(&l7.ResponseHead{Status: 200}, true)
}

func TestConfig(t *testing.T) {
	source := certstest.Mesh(t, "a.test")["a.test"].Source("/sallyport/gateway/a")
	full := Config{Source: source, Handler: handlerFunc(ok), Refuser: make(refusals)}
	for _, tt := range []struct {
		name   string
		change func(*Config)
		want   string
	}{
		{"no address", func(*Config) {}, "neither Address nor Loopback"},
		{"loopback on all addresses", func(c *Config) { c.Loopback = "0.0.0.0:0" }, "not a loopback address"},
		{"loopback on a name", func(c *Config) { c.Loopback = "localhost:0" }, "not a loopback address"},
		{"loopback elsewhere", func(c *Config) { c.Loopback = "[2001:db8::1]:0" }, "not a loopback address"},
		{"no source", func(c *Config) { c.Source, c.Loopback = nil, "[::1]:0" }, "are needed"},
		{"bad address", func(c *Config) { c.Address = "127.0.0.1:x" }, "bind attach listener"},
	} {
		cfg := full
		tt.change(&cfg)
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: New = %v, want %q", tt.name, err, tt.want)
		}
	}
}

func TestHandshakeRefused(t *testing.T) {
	f := start(t, ok)
	foreign := certstest.Mesh(t, "onprem.test")["onprem.test"] // the same name, another root
	expired := f.mesh["onprem.test"]
	expired.NotBefore = -2 * time.Hour
	old := expired.Certificate(expired.ID("/orchestrator"))
	expired.NotBefore = 0
	for _, tt := range []struct {
		name string
		cert tls.Certificate
		want crossingv1.Reason
	}{
		{"another root", foreign.Certificate(foreign.ID("/orchestrator")), crossingv1.Reason_BAD_IDENTITY},
		{"expired", old, crossingv1.Reason_EXPIRED_IDENTITY},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := f.clientTLS("", "")
			cfg.Certificates = []tls.Certificate{tt.cert}
			c, err := tls.Dial("tcp", f.Addr().String(), cfg)
			if err == nil {
				_, err = c.Read(make([]byte, 1)) // TLS 1.3 tells the client late
				c.Close()
			}
			if err == nil {
				t.Error("the handshake passed")
			}
			f.refusals.want(t, tt.want, "")
		})
	}
}

func TestNotTLS(t *testing.T) {
	f := start(t, ok)
	c, err := net.Dial("tcp", f.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	r := send(t, c, bufio.NewReader(c), "GET / HTTP/1.1\r\nHost: h\r\n\r\n", "GET")
	if r.StatusCode != 400 || !strings.Contains(content(r), "TLS") {
		t.Errorf("answer = %v", r.Status)
	}
	f.refusals.want(t, crossingv1.Reason_MALFORMED, "")

	scan, err := net.Dial("tcp", f.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	scan.Close()
	f.refusals.want(t, crossingv1.Reason_NO_IDENTITY, "")
}

func TestTooManyConnections(t *testing.T) {
	f := start(t, ok, func(c *Config) { c.MaxConnections = 1 })
	first := f.dial()
	if r := send(t, first, bufio.NewReader(first), "GET / HTTP/1.1\r\nHost: h\r\n\r\n", "GET"); r.StatusCode != 200 {
		t.Fatalf("answer = %v", r.Status)
	}
	second := f.dialLoopback()
	if _, err := second.Read(make([]byte, 1)); err == nil {
		t.Error("a second connection was served")
	}
	f.refusals.want(t, crossingv1.Reason_TOO_LARGE, "")
}

// A live connection does not outlive the trust that it was made with.
func TestDistrustClosesLiveConnections(t *testing.T) {
	for version := 1; version <= 2; version++ {
		f := start(t, ok)
		c := f.client(version)
		if r, err := c.Get("https://llm.azure.mesh/"); err != nil || r.StatusCode != 200 {
			t.Fatalf("HTTP/%d: %v, %v", version, r, err)
		}
		f.mesh["onprem.test"].Distrust("onprem.test")
		f.refusals.want(t, crossingv1.Reason_BAD_IDENTITY, "")
		// What comes before the socket is closed is refused, not served.
		if r, err := c.Get("https://llm.azure.mesh/"); err == nil && r.StatusCode != http.StatusUnauthorized {
			t.Errorf("HTTP/%d: %s after the root was distrusted", version, r.Status)
		}
	}
}

// A root that is distrusted while a handshake is under way counts too, though
// the connection was not there yet to be rechecked.
func TestDistrustDuringTheHandshake(t *testing.T) {
	f := start(t, ok)
	verify := f.tlsConfig.VerifyConnection
	f.tlsConfig.VerifyConnection = func(s tls.ConnectionState) error {
		err := verify(s)
		f.mesh["onprem.test"].Distrust("onprem.test")
		return err
	}
	if r, err := f.client(1).Get("https://llm.azure.mesh/"); err == nil && r.StatusCode != http.StatusUnauthorized {
		t.Errorf("%s after the root was distrusted", r.Status)
	}
	f.refusals.want(t, crossingv1.Reason_BAD_IDENTITY, "")
}

// Exchanges that are open when Run's context ends have time to end.
func TestDrain(t *testing.T) {
	for version := 1; version <= 2; version++ {
		entered, leave := make(chan struct{}), make(chan struct{})
		f := start(t, func(ctx context.Context, req *Request, resp Response) {
			if req.Head.Path == "/idle" {
				ok(ctx, req, resp)
				return
			}
			close(entered)
			<-leave
			ok(ctx, req, resp)
		})
		idle := f.dial()
		br := bufio.NewReader(idle)
		send(t, idle, br, "GET /idle HTTP/1.1\r\nHost: h\r\n\r\n", "GET")
		answer := make(chan error, 1)
		go func() {
			r, err := f.client(version).Get("https://llm.azure.mesh/")
			if err == nil && r.StatusCode != 200 {
				err = errors.New(r.Status)
			}
			answer <- err
		}()
		<-entered
		stopped := make(chan struct{})
		go func() { f.stop(); close(stopped) }()
		if _, err := br.ReadByte(); err == nil {
			t.Errorf("HTTP/%d: an idle connection is kept", version)
		}
		close(leave)
		if err := <-answer; err != nil {
			t.Errorf("HTTP/%d: the open exchange ended with %v", version, err)
		}
		<-stopped
		if _, err := net.Dial("tcp", f.Addr().String()); err == nil {
			t.Errorf("HTTP/%d: still accepting", version)
		}
	}
}

func TestDrainHasAnEnd(t *testing.T) {
	entered := make(chan struct{})
	f := start(t, func(ctx context.Context, _ *Request, _ Response) {
		close(entered)
		<-ctx.Done()
	}, func(c *Config) { c.DrainTimeout = time.Millisecond })
	c := f.dial()
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	<-entered
	f.stop()
	if n, err := c.Read(make([]byte, 1)); err == nil {
		t.Errorf("read %d bytes of an exchange that was broken off", n)
	}
}

// The SVID of a live connection counts at each request.
func TestExpiryOnALiveConnection(t *testing.T) {
	f := start(t, ok)
	cert := f.mesh["onprem.test"].Certificate(f.mesh["onprem.test"].ID("/orchestrator"))
	c := &conn{l: f.Listener}
	c.shown(f.mesh["onprem.test"].ID("/orchestrator"), append(c0(cert), f.mesh["onprem.test"].Bundle().X509Authorities()...))
	for now, want := range map[time.Time]crossingv1.Reason{
		time.Now():                                 0,
		cert.Leaf.NotAfter.Add(time.Second):        crossingv1.Reason_EXPIRED_IDENTITY,
		cert.Leaf.NotBefore.Add(-time.Second):      crossingv1.Reason_EXPIRED_IDENTITY,
		cert.Leaf.NotAfter.Add(-1 * time.Hour / 2): 0,
	} {
		who := c.identify(&l7.RequestHead{}, false, now)
		if who.reason != want || who.final != (want != 0) {
			t.Errorf("at %v: %v, final %v, want %v", now, who.reason, who.final, want)
		}
		if want == 0 && (who.caller.ID != c.id || who.caller.SVID != certs.Fingerprint(cert.Leaf)) {
			t.Errorf("caller = %+v", who.caller)
		}
	}
}
