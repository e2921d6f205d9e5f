package listener

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

func c0(c tls.Certificate) []*x509.Certificate { return []*x509.Certificate{c.Leaf} }

const orchestrator = "spiffe://onprem.test/orchestrator"

func TestH1(t *testing.T) {
	f := start(t, echo)
	for _, tt := range []struct {
		name, raw, method, want string
	}{
		{"get", "GET /v1?x HTTP/1.1\r\nHost: llm.azure.mesh\r\n\r\n", "GET", orchestrator + ` GET llm.azure.mesh /v1?x ""`},
		{
			"absolute form", "GET http://llm.azure.mesh/v1 HTTP/1.1\r\nHost: llm.azure.mesh\r\n\r\n", "GET",
			orchestrator + ` GET llm.azure.mesh /v1 ""`,
		},
		{
			"counted", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello", "POST",
			orchestrator + ` POST h / "hello"`,
		},
		{
			"chunked", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "POST",
			orchestrator + ` POST h / "hello"`,
		},
		{"head", "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n", "HEAD", ""},
		{"h2c is ignored", "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n\r\n", "GET", orchestrator + ` GET h / ""`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := f.dial()
			br := bufio.NewReader(c)
			for range 2 { // on one connection
				r := send(t, c, br, tt.raw, tt.method)
				if got := content(r); r.StatusCode != 200 || got != tt.want {
					t.Errorf("answer = %v %q, want %q", r.Status, got, tt.want)
				}
			}
		})
	}
	f.refusals.wantNone(t)
}

func TestH1Fields(t *testing.T) {
	f := start(t, echo)
	c := f.dial()
	r := send(t, c, bufio.NewReader(c), strings.Join([]string{
		"GET / HTTP/1.1", "Host: h", "Authorization: Bearer the-applications-own", "X-Api-Key: too",
		"Proxy-Authorization: Bearer x", "X-Forwarded-Client-Cert: By=forged", "Sallyport-Crossing: forged",
		"Connection: X-Mine", "X-Mine: 1", "TE: trailers", "traceparent: kept", "", "",
	}, "\r\n"), "GET")
	got := map[string]string{}
	for name, values := range r.Header {
		if name, ok := strings.CutPrefix(name, "Echo-"); ok {
			got[name] = strings.Join(values, ",")
		}
	}
	want := map[string]string{
		"Authorization": "Bearer the-applications-own", "X-Api-Key": "too", "Te": "trailers", "Traceparent": "kept",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("fields that the handler sees (-want +got):\n%s", diff)
	}
}

func TestH1Malformed(t *testing.T) {
	f := start(t, echo)
	for _, tt := range []struct {
		name, raw string
		status    int
		reason    crossingv1.Reason
	}{
		{"both lengths", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled", 400, crossingv1.Reason_MALFORMED},
		{"bare LF", "GET / HTTP/1.1\nHost: h\n\n", 400, crossingv1.Reason_MALFORMED},
		{"obs-fold", "GET / HTTP/1.1\r\nHost: h\r\nX: a\r\n b\r\n\r\n", 400, crossingv1.Reason_MALFORMED},
		{"HTTP/1.0", "GET / HTTP/1.0\r\n\r\n", 505, crossingv1.Reason_MALFORMED},
		{"long head", "GET / HTTP/1.1\r\nHost: h\r\nX: " + strings.Repeat("x", 70<<10) + "\r\n\r\n", 431, crossingv1.Reason_TOO_LARGE},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := f.dial()
			br := bufio.NewReader(c)
			r := send(t, c, br, tt.raw, "GET")
			var problem struct{ Reason string }
			if err := json.Unmarshal([]byte(content(r)), &problem); err != nil || problem.Reason != tt.reason.String() || r.StatusCode != tt.status {
				t.Errorf("answer = %v, %+v, %v, want %d %v", r.Status, problem, err, tt.status, tt.reason)
			}
			if !r.Close {
				t.Error("the answer does not say that the connection ends")
			}
			if _, err := br.ReadByte(); !errors.Is(err, io.EOF) {
				t.Errorf("after the refusal: %v, want io.EOF", err)
			}
			f.refusals.want(t, tt.reason, orchestrator)

			anonymous := f.dialLoopback()
			if r := send(t, anonymous, bufio.NewReader(anonymous), tt.raw, "GET"); r.StatusCode != tt.status {
				t.Errorf("without an identity: %v", r.Status)
			}
			f.refusals.want(t, tt.reason, "")
		})
	}
}

// What could be read of a request that is not well formed goes to the Refuser,
// and the answer names the crossing and whom to ask. What is secret goes nowhere.
func TestMalformedOfAKnownCaller(t *testing.T) {
	f := start(t, echo)
	for _, tt := range []struct {
		name, raw                 string
		method, authority, detail string
	}{
		{"no HTTP", "hello\r\n\r\n", "", "", "not METHOD TARGET VERSION"},
		{"obs-fold", "GET /a HTTP/1.1\r\nHost: h\r\n x\r\n\r\n", "GET", "", "folded"},
		{"bad host", "GET /a HTTP/1.1\r\nHost: a b\r\n\r\n", "GET", "a b", "has the character"},
		{"two hosts for a tunnel", "CONNECT example.com:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n", "CONNECT", "example.com:443", "is not the target's"},
		{"both lengths", "POST /a HTTP/1.1\r\nHost: h:1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", "POST", "h:1", "both"},
		{"a user", "GET http://u:hidden@h/ HTTP/1.1\r\nHost: h\r\n\r\n", "GET", "u:hidden@h", "user information"},
		{"a user of a tunnel", "CONNECT u:hidden@h:1 HTTP/1.1\r\nHost: h:1\r\n\r\n", "CONNECT", "u:hidden@h:1", "user information"},
		{"a user of a host", "GET / HTTP/1.1\r\nHost: u:hidden@h\r\n\r\n", "GET", "u:hidden@h", "user information"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := f.dial()
			r := send(t, c, bufio.NewReader(c), tt.raw, "GET")
			var problem struct{ Crossing, Owner, Detail string }
			if err := json.Unmarshal([]byte(content(r)), &problem); err != nil || problem.Crossing != refusedID || problem.Owner != refusedOwner {
				t.Errorf("answer = %v, %+v, %v", r.Status, problem, err)
			}
			told := f.refusals.want(t, crossingv1.Reason_MALFORMED, orchestrator)
			if told.head.Method != tt.method || told.head.Authority != tt.authority || !strings.Contains(told.detail, tt.detail) {
				t.Errorf("told %q of %q %q, want %q of %q %q", told.detail, told.head.Method, told.head.Authority, tt.detail, tt.method, tt.authority)
			}
			if strings.Contains(told.detail+problem.Detail, "hidden") {
				t.Errorf("a secret is repeated: %q, %q", told.detail, problem.Detail)
			}
		})
	}
}

// A body that is not well formed never reaches its end.
func TestH1MalformedBody(t *testing.T) {
	f := start(t, echo)
	c := f.dial()
	if _, err := io.WriteString(c, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Read(make([]byte, 1)); err == nil {
		t.Errorf("read %d bytes of an answer", n)
	}
}

func TestSlowHead(t *testing.T) {
	limit := func(c *Config) { c.HeadTimeout = 5 * time.Second }
	inBubble(t, ok, limit, func(t *testing.T, f *fixture, dial func() net.Conn) {
		began := time.Now()
		c := dial()
		if r := send(t, c, bufio.NewReader(c), "GET / HTTP/1.1\r\nHost:", "GET"); r.StatusCode != 408 {
			t.Errorf("answer = %v, want 408", r.Status)
		}
		f.refusals.want(t, crossingv1.Reason_MALFORMED, "")
		if _, err := dial().Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("a connection that says nothing: %v, want io.EOF", err)
		}
		if took := time.Since(began); took != 2*5*time.Second {
			t.Errorf("both took %s, want 5 s each", took)
		}
	})
}

func TestIdle(t *testing.T) {
	limit := func(c *Config) { c.IdleTimeout = time.Minute }
	inBubble(t, ok, limit, func(t *testing.T, f *fixture, dial func() net.Conn) {
		c := dial()
		br := bufio.NewReader(c)
		if r := send(t, c, br, "GET / HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer "+f.jwt()+"\r\n\r\n", "GET"); r.StatusCode != 200 {
			t.Errorf("answer = %v", r.Status)
		}
		began := time.Now()
		if _, err := br.ReadByte(); !errors.Is(err, io.EOF) {
			t.Errorf("an idle connection: %v, want io.EOF", err)
		}
		if took := time.Since(began); took != time.Minute {
			t.Errorf("it was kept for %s, want a minute", took)
		}
	})
}

func TestPipelining(t *testing.T) {
	f := start(t, echo)
	c := f.dial()
	br := bufio.NewReader(c)
	if _, err := io.WriteString(c, "GET /1 HTTP/1.1\r\nHost: h\r\n\r\nPOST /2 HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nxGET /3 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`/1 ""`, `/2 "x"`, `/3 ""`} {
		if got := content(receive(t, br, "GET")); !strings.HasSuffix(got, want) {
			t.Errorf("answer %q, want %q", got, want)
		}
	}
	if _, err := br.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("after Connection: close: %v, want io.EOF", err)
	}
}

// Content is ready once it has come to its end, and nobody has to wait for it.
func TestH1Ready(t *testing.T) {
	said := make(chan bool)
	f := start(t, func(ctx context.Context, req *Request, resp Response) {
		said <- req.Body.(interface{ Ready() bool }).Ready()
		echo(ctx, req, resp)
	})
	for _, tt := range []struct {
		name, first, rest string
		ready             bool
	}{
		{"counted, whole", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello", "", true},
		{"counted, half", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhel", "lo", false},
		{"chunked, whole", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "", true},
		{"chunked, half", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "0\r\n\r\n", false},
		{"owed a 100 Continue", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello", "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := f.dial()
			br := bufio.NewReader(c)
			io.WriteString(c, tt.first)
			if ready := <-said; ready != tt.ready {
				t.Errorf("ready: %t, want %t", ready, tt.ready)
			}
			io.WriteString(c, tt.rest)
			r := receive(t, br, "POST")
			if r.StatusCode == 100 {
				r = receive(t, br, "POST")
			}
			if got := content(r); !strings.HasSuffix(got, `"hello"`) {
				t.Errorf("answer %q", got)
			}
		})
	}
}

// A body that the handler left is read away, and the connection goes on.
func TestUnreadBody(t *testing.T) {
	f := start(t, ok)
	c := f.dial()
	br := bufio.NewReader(c)
	for range 3 {
		raw := "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("x", 100_000)
		if r := send(t, c, br, raw, "POST"); r.StatusCode != 200 {
			t.Errorf("answer = %v", r.Status)
		}
	}
}

func TestExpectContinue(t *testing.T) {
	f := start(t, echo)
	c := f.dial()
	br := bufio.NewReader(c)
	if _, err := io.WriteString(c, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	interim, err := http.ReadResponse(br, nil)
	if err != nil || interim.StatusCode != 100 {
		t.Fatalf("interim answer = %v, %v", interim, err)
	}
	if r := send(t, c, br, "hello", "POST"); !strings.HasSuffix(content(r), `"hello"`) {
		t.Errorf("answer = %v", r.Status)
	}

	lazy := start(t, ok)
	c = lazy.dial()
	r := send(t, c, bufio.NewReader(c), "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n", "POST")
	if r.StatusCode != 200 || !r.Close {
		t.Errorf("answer without its body = %v, closing %v; nobody knows whether the body comes", r.Status, r.Close)
	}
}

// An upgrade is the Handler's to refuse, which knows what was asked for and who
// answers; h2c may be ignored.
func TestUpgradeIsTheHandlers(t *testing.T) {
	f := start(t, func(_ context.Context, req *Request, resp Response) {
		_ = resp.WriteHead(&l7.ResponseHead{Status: 200, Fields: l7.Fields{{Name: "wants", Value: req.Upgrade}}}, true)
	})
	c := f.dial()
	br := bufio.NewReader(c)
	for _, tt := range []struct{ upgrade, want string }{{"websocket", "websocket"}, {"h2c", ""}, {"h2c, foo/2", "foo/2"}} {
		r := send(t, c, br, "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: "+tt.upgrade+"\r\n\r\n", "GET")
		if got := r.Header.Get("Wants"); r.StatusCode != 200 || got != tt.want {
			t.Errorf("Upgrade: %s came as %q, %v, want %q", tt.upgrade, got, r.Status, tt.want)
		}
	}
	f.refusals.wantNone(t)
}

// The handler hears of a caller that goes away while it waits for an answer.
func TestCallerGone(t *testing.T) {
	for _, raw := range []string{
		"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx",
		"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	} {
		entered, gone := make(chan struct{}), make(chan struct{})
		f := start(t, func(_ context.Context, req *Request, _ Response) {
			_, _ = io.Copy(io.Discard, req.Body)
			req.OnGone(func() { close(gone) })
			close(entered)
			<-gone
		})
		c := f.dial()
		if _, err := io.WriteString(c, raw); err != nil {
			t.Fatal(err)
		}
		<-entered
		c.Close()
		select {
		case <-gone:
		case <-time.After(patience):
			t.Errorf("%q: the handler did not hear that the caller is gone", raw)
		}
	}
}

func TestAbort(t *testing.T) {
	for name, h := range map[string]handlerFunc{
		"aborted": func(_ context.Context, _ *Request, resp Response) {
			_ = resp.WriteHead(&l7.ResponseHead{Status: 200}, false)
			_, _ = resp.Write([]byte("half"))
			resp.Abort()
		},
		"never ended": func(_ context.Context, _ *Request, resp Response) {
			_ = resp.WriteHead(&l7.ResponseHead{Status: 200}, false)
			_, _ = resp.Write([]byte("half"))
		},
		"shorter than it says": func(_ context.Context, _ *Request, resp Response) {
			_ = resp.WriteHead(&l7.ResponseHead{Status: 200, Fields: l7.Fields{{Name: "content-length", Value: "9"}}}, false)
			_, _ = resp.Write([]byte("half"))
			_ = resp.End(nil)
		},
		"panicked": func(_ context.Context, _ *Request, resp Response) {
			_ = resp.WriteHead(&l7.ResponseHead{Status: 200}, false)
			panic("a broken handler")
		},
	} {
		for version := 1; version <= 2; version++ {
			f := start(t, h)
			r, err := f.client(version).Get("https://llm.azure.mesh/")
			if err == nil {
				_, err = io.ReadAll(r.Body)
			}
			if err == nil {
				t.Errorf("HTTP/%d: %s: the answer passes for whole", version, name)
			}
		}
	}
}

// Close makes a reader come back, whatever the caller does not send.
func TestBodyClose(t *testing.T) {
	for version := 1; version <= 2; version++ {
		f := start(t, func(ctx context.Context, req *Request, resp Response) {
			back := make(chan error, 1)
			started := make(chan struct{})
			go func() {
				_, err := io.ReadFull(req.Body, make([]byte, 1))
				close(started)
				if err == nil {
					_, err = io.ReadAll(req.Body)
				}
				back <- err
			}()
			<-started
			_ = req.Body.Close()
			if err := <-back; err == nil {
				t.Errorf("HTTP/%d: the body passes for whole", version)
			}
			ok(ctx, req, resp)
		})
		body, feed := io.Pipe()
		go func() { _, _ = feed.Write([]byte("x")) }()
		r, err := f.client(version).Post("https://llm.azure.mesh/", "text/plain", body)
		feed.Close()
		if err != nil || r.StatusCode != 200 {
			t.Errorf("HTTP/%d: %v, %v", version, r, err)
		}
	}
}

// tunnelEcho answers a CONNECT with what comes, and says when it has ended.
func tunnelEcho(_ context.Context, req *Request, resp Response) {
	if req.Head.Method != "CONNECT" || req.Head.Authority != "db.azure.mesh:5432" {
		_ = resp.WriteHead(&l7.ResponseHead{Status: 403}, true)
		return
	}
	if resp.WriteHead(&l7.ResponseHead{Status: 200}, false) != nil {
		return
	}
	buf := make([]byte, 100)
	for {
		n, err := req.Body.Read(buf)
		if n > 0 {
			_, _ = resp.Write(buf[:n])
		}
		if err != nil {
			_, _ = resp.Write([]byte("ended " + err.Error()))
			_ = resp.End(nil)
			return
		}
	}
}

func TestConnect(t *testing.T) {
	f := start(t, tunnelEcho)
	for name, c := range map[string]net.Conn{"TLS": f.dial(), "loopback": f.dialLoopback()} {
		auth := ""
		if name == "loopback" {
			auth = "Proxy-Authorization: Bearer " + f.jwt() + "\r\n"
		}
		br := bufio.NewReader(c)
		if _, err := io.WriteString(c, "CONNECT db.azure.mesh:5432 HTTP/1.1\r\nHost: db.azure.mesh:5432\r\n"+auth+"\r\nearly"); err != nil {
			t.Fatal(err)
		}
		r, err := http.ReadResponse(br, &http.Request{Method: "CONNECT"})
		if err != nil || r.StatusCode != 200 {
			t.Fatalf("%s: answer = %v, %v", name, r, err)
		}
		expect(t, br, "early")
		for _, piece := range []string{"one", "two"} {
			if _, err := io.WriteString(c, piece); err != nil {
				t.Fatal(err)
			}
			expect(t, br, piece)
		}
		if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if rest, err := io.ReadAll(br); string(rest) != "ended EOF" || err != nil {
			t.Errorf("%s: after the caller ended: %q, %v", name, rest, err)
		}
	}
	f.refusals.wantNone(t)
}

// The destination may end first, and the caller go on.
func TestConnectHalfClosed(t *testing.T) {
	got := make(chan string, 1)
	f := start(t, func(_ context.Context, req *Request, resp Response) {
		_ = resp.WriteHead(&l7.ResponseHead{Status: 200}, false)
		_ = resp.End(nil)
		b, _ := io.ReadAll(req.Body)
		got <- string(b)
	})
	c := f.dial()
	br := bufio.NewReader(c)
	if r := send(t, c, br, "CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\n\r\n", "CONNECT"); r.StatusCode != 200 {
		t.Fatalf("answer = %v", r.Status)
	}
	if _, err := br.ReadByte(); !errors.Is(err, io.EOF) {
		t.Fatalf("after the destination's end: %v, want io.EOF", err)
	}
	_, _ = io.WriteString(c, "still there")
	_ = c.(*tls.Conn).CloseWrite()
	if b := <-got; b != "still there" {
		t.Errorf("the handler read %q", b)
	}
}

func TestConnectRefused(t *testing.T) {
	f := start(t, tunnelEcho)
	c := f.dial()
	br := bufio.NewReader(c)
	r := send(t, c, br, "CONNECT other:1 HTTP/1.1\r\nHost: other:1\r\n\r\n", "GET")
	if r.StatusCode != 403 || !r.Close {
		t.Errorf("answer = %v, closing %v", r.Status, r.Close)
	}
}

func expect(t *testing.T, r io.Reader, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(r, got); err != nil || string(got) != want {
		t.Fatalf("read %q, %v, want %q", got, err, want)
	}
}
