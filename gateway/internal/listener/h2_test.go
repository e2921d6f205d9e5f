package listener

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

func (f *fixture) transport(version int, c *tls.Config) *http.Transport {
	t := f.client(version).Transport.(*http.Transport)
	t.TLSClientConfig = c
	return t
}

func newRequest(t *testing.T, method string, body io.Reader, fields ...string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "https://llm.azure.mesh/v1?x", body)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(fields); i += 2 {
		r.Header.Add(fields[i], fields[i+1])
	}
	return r
}

// One exchange is the same whatever version it came by.
func TestBothVersions(t *testing.T) {
	for version := 1; version <= 2; version++ {
		var seen l7.RequestHead
		f := start(t, func(ctx context.Context, req *Request, resp Response) {
			seen = req.Head
			seen.Fields = slices.Clone(seen.Fields)
			if req.Caller.Attach != crossingv1.Attach_MTLS || !strings.HasPrefix(req.Caller.TLS, "TLS 1.3 ") {
				t.Errorf("HTTP/%d: caller = %+v", version, req.Caller)
			}
			echo(ctx, req, resp)
		})
		r := newRequest(t, "POST", io.LimitReader(strings.NewReader("hello"), 5), "TE", "trailers", "X-Two", "1", "X-Two", "2", "X-Forwarded-For", "forged", "Sallyport-X", "forged")
		r.Trailer = http.Header{"X-Sum": {"7"}}
		got, err := f.client(version).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		if body := content(got); got.ProtoMajor != version || body != orchestrator+` POST llm.azure.mesh /v1?x "hello"` {
			t.Errorf("HTTP/%d: answer = %s %q", version, got.Proto, body)
		}
		if got.Trailer.Get("X-Sum") != "7" {
			t.Errorf("HTTP/%d: trailers = %v", version, got.Trailer)
		}
		if seen.Scheme != "" || seen.Fields.Get("te") != "trailers" || seen.Fields.Get("trailer") == "" || seen.Fields.Has("x-forwarded-for") || seen.Fields.Has("sallyport-x") {
			t.Errorf("HTTP/%d: head = %+v", version, seen)
		}
		for _, f := range seen.Fields {
			if !l7.ValidName(f.Name) {
				t.Errorf("HTTP/%d: field name %q", version, f.Name)
			}
		}
		f.refusals.wantNone(t)
	}
}

// Each piece of a stream of events reaches the caller before the next is made.
func TestEventsAreNotHeldBack(t *testing.T) {
	for version := 1; version <= 2; version++ {
		next := make(chan string)
		f := start(t, func(_ context.Context, _ *Request, resp Response) {
			if err := errors.Join(resp.WriteHead(&l7.ResponseHead{Status: 200, Fields: l7.Fields{{Name: "content-type", Value: "text/event-stream"}}}, false), resp.Flush()); err != nil {
				t.Error(err)
			}
			for piece := range next {
				if _, err := resp.Write([]byte(piece)); err != nil {
					t.Error(err)
				}
			}
			_ = resp.End(nil)
		})
		r, err := f.client(version).Do(newRequest(t, "GET", nil)) // the head comes before any data
		if err != nil {
			t.Fatal(err)
		}
		for _, piece := range []string{"data: one\n\n", "data: two\n\n", "data: " + strings.Repeat("x", 100_000) + "\n\n"} {
			next <- piece
			expect(t, r.Body, piece)
		}
		close(next)
		if rest, err := io.ReadAll(r.Body); len(rest) > 0 || err != nil {
			t.Errorf("HTTP/%d: at the end: %q, %v", version, rest, err)
		}
	}
}

func TestH2Rules(t *testing.T) {
	f := start(t, func(_ context.Context, req *Request, resp Response) {
		switch req.Head.Method {
		case "HEAD":
			_ = resp.WriteHead(&l7.ResponseHead{Status: 200, Fields: l7.Fields{{Name: "content-length", Value: "5"}}}, false)
			_, _ = resp.Write([]byte("hello"))
			_ = resp.End(nil)
		case "DELETE":
			_ = resp.WriteHead(&l7.ResponseHead{Status: 204}, true)
			if err := resp.WriteHead(&l7.ResponseHead{Status: 204}, true); err == nil {
				t.Error("a second head was taken")
			}
			if _, err := resp.Write([]byte("x")); err == nil {
				t.Error("data after the end was taken")
			}
		default:
			if _, err := resp.Write([]byte("x")); err == nil {
				t.Error("data before the head was taken")
			}
			_ = resp.WriteHead(&l7.ResponseHead{Status: 200, Fields: l7.Fields{
				{Name: "connection", Value: "x-mine"},
				{Name: "x-mine", Value: "1"},
				{Name: "content-length", Value: "2"},
			}}, false)
			_, _ = resp.Write([]byte("ok"))
			_ = resp.End(nil)
		}
	})
	c := f.client(2)
	for method, want := range map[string]struct {
		status int
		length int64
	}{"HEAD": {200, 5}, "DELETE": {204, 0}, "GET": {200, 2}} {
		r, err := c.Do(newRequest(t, method, nil))
		if err != nil {
			t.Errorf("%s: %v", method, err)
			continue
		}
		content(r)
		if r.StatusCode != want.status || r.ContentLength != want.length || len(r.Header["Date"])+len(r.Header["Content-Type"])+len(r.Header["X-Mine"]) > 0 {
			t.Errorf("%s: %v, length %d, %v", method, r.Status, r.ContentLength, r.Header)
		}
	}
}

func TestH2Malformed(t *testing.T) {
	f := start(t, ok)
	c := f.client(2)
	for _, tt := range []struct {
		name   string
		change func(*http.Request)
		status int
		reason crossingv1.Reason
	}{
		{"dot segments", func(r *http.Request) { r.URL.Opaque = "/a/%2e%2e/b" }, 400, crossingv1.Reason_MALFORMED},
		{"bad host", func(r *http.Request) { r.Host = "a!b" }, 400, crossingv1.Reason_MALFORMED},
		{"connect without a port", func(r *http.Request) { r.Method = "CONNECT" }, 400, crossingv1.Reason_MALFORMED},
		{"many fields", func(r *http.Request) {
			for range l7.MaxFields {
				r.Header.Add("X", "y")
			}
		}, 431, crossingv1.Reason_TOO_LARGE},
	} {
		r := newRequest(t, "GET", nil)
		tt.change(r)
		got, err := c.Do(r)
		if err != nil || got.StatusCode != tt.status {
			t.Errorf("%s: %v, %v, want %d", tt.name, got, err, tt.status)
		}
		f.refusals.want(t, tt.reason, orchestrator)
	}
}

// What only a hand-written client sends. What breaks the protocol itself is
// recorded too.
func TestH2RawHeads(t *testing.T) {
	f := start(t, ok)
	for _, tt := range []struct {
		name  string
		block []string // names and values
		want  crossingv1.Reason
	}{
		{"plain", []string{":method", "GET", ":scheme", "https", ":path", "/", ":authority", "h"}, 0},
		{"the same host", []string{":method", "GET", ":scheme", "https", ":path", "/", ":authority", "h", "host", "h"}, 0},
		{"another host", []string{":method", "GET", ":scheme", "https", ":path", "/", ":authority", "h", "host", "other"}, crossingv1.Reason_MALFORMED},
		{"two lengths", []string{":method", "GET", ":scheme", "https", ":path", "/", ":authority", "h", "content-length", "0", "content-length", "1"}, crossingv1.Reason_MALFORMED},
		{"user", []string{":method", "GET", ":scheme", "https", ":path", "/", ":authority", "u@h"}, crossingv1.Reason_MALFORMED},
		{"no path", []string{":method", "GET", ":scheme", "https", ":authority", "h"}, crossingv1.Reason_MALFORMED},
		{"no authority", []string{":method", "GET", ":scheme", "https", ":path", "/"}, crossingv1.Reason_MALFORMED},
		{"an upper-case name", []string{":method", "GET", ":scheme", "https", ":path", "/", ":authority", "h", "X", "y"}, crossingv1.Reason_MALFORMED},
		{"a field of the connection", []string{":method", "GET", ":scheme", "https", ":path", "/", ":authority", "h", "connection", "close"}, crossingv1.Reason_MALFORMED},
		{"longer than is taken", []string{":method", "GET", ":scheme", "https", ":path", "/", ":authority", "h", "x", strings.Repeat("x", 70<<10)}, crossingv1.Reason_TOO_LARGE},
	} {
		t.Run(tt.name, func(t *testing.T) {
			fr := f.framer(t, tt.block, true)
			if tt.want != 0 {
				f.refusals.want(t, tt.want, orchestrator)
				return
			}
			for {
				got, err := fr.ReadFrame()
				if err != nil {
					t.Fatal(err)
				}
				if h, ok := got.(*http2.HeadersFrame); ok && h.StreamEnded() {
					break
				}
			}
			f.refusals.wantNone(t)
		})
	}
}

// framer opens a connection and sends the head of one request on it.
func (f *fixture) framer(t *testing.T, block []string, end bool) *http2.Framer {
	t.Helper()
	c, err := tls.Dial("tcp", f.Addr().String(), f.clientTLS("onprem.test", "/orchestrator", "h2"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	var b strings.Builder
	enc := hpack.NewEncoder(&b)
	for i := 0; i < len(block); i += 2 {
		if err := enc.WriteField(hpack.HeaderField{Name: block[i], Value: block[i+1]}); err != nil {
			t.Fatal(err)
		}
	}
	fr := http2.NewFramer(c, c)
	_, err = io.WriteString(c, http2.ClientPreface)
	const longest = 16 << 10
	first, rest := b.String(), ""
	if len(first) > longest {
		first, rest = first[:longest], first[longest:]
	}
	err = errors.Join(err, fr.WriteSettings(), fr.WriteHeaders(http2.HeadersFrameParam{
		StreamID: 1, BlockFragment: []byte(first), EndHeaders: rest == "", EndStream: end,
	}))
	for rest != "" {
		n := min(len(rest), longest)
		err = errors.Join(err, fr.WriteContinuation(1, n == len(rest), []byte(rest[:n])))
		rest = rest[n:]
	}
	if err != nil {
		t.Fatal(err)
	}
	return fr
}

func TestH2Connect(t *testing.T) {
	f := start(t, tunnelEcho)
	body, feed := io.Pipe()
	r, err := f.client(2).Transport.RoundTrip(connectRequest(t, body))
	if err != nil || r.StatusCode != 200 {
		t.Fatalf("answer = %v, %v", r, err)
	}
	for _, piece := range []string{"one", "two"} {
		if _, err := io.WriteString(feed, piece); err != nil {
			t.Fatal(err)
		}
		expect(t, r.Body, piece)
	}
	feed.Close()
	if rest, err := io.ReadAll(r.Body); string(rest) != "ended EOF" || err != nil {
		t.Errorf("after the caller ended: %q, %v", rest, err)
	}
}

// Each direction of a CONNECT ends by itself.
func TestH2ConnectHalfCloses(t *testing.T) {
	said := make(chan string, 1)
	f := start(t, func(_ context.Context, req *Request, resp Response) {
		_ = resp.WriteHead(&l7.ResponseHead{Status: 200}, false)
		_ = resp.End(nil)
		text, err := io.ReadAll(req.Body)
		if err != nil {
			t.Errorf("the body ended with %v, want io.EOF", err)
		}
		said <- string(text)
	})
	fr := f.framer(t, []string{":method", "CONNECT", ":authority", "db.azure.mesh:5432"}, false)
	for ended := false; !ended; {
		got, err := fr.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		ended = got.Header().StreamID == 1 && got.Header().Flags.Has(http2.FlagDataEndStream)
	}
	if err := fr.WriteData(1, true, []byte("still here")); err != nil {
		t.Fatal(err)
	}
	if got := <-said; got != "still here" {
		t.Errorf("the caller said %q", got)
	}
}

func connectRequest(t *testing.T, body io.Reader) *http.Request {
	r := newRequest(t, "CONNECT", body)
	r.URL.Host, r.Host, r.URL.Path, r.URL.RawQuery = "db.azure.mesh:5432", "db.azure.mesh:5432", "", ""
	return r
}

// HTTP/2 with prior knowledge works where there is no TLS.
func TestH2WithPriorKnowledge(t *testing.T) {
	f := start(t, echo)
	protos := new(http.Protocols)
	protos.SetUnencryptedHTTP2(true)
	tr := &http.Transport{Protocols: protos, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", f.LoopbackAddr().String())
	}}
	defer tr.CloseIdleConnections()
	r := newRequest(t, "GET", nil, "Authorization", "Bearer "+f.jwt())
	r.URL.Scheme = "http"
	got, err := tr.RoundTrip(r)
	if err != nil || got.ProtoMajor != 2 || got.StatusCode != 200 {
		t.Errorf("answer = %v, %v", got, err)
	}
	c := f.dialLoopback()
	if _, err := io.WriteString(c, "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(c).ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("a bad preface: %v, want io.EOF", err)
	}
	f.refusals.want(t, crossingv1.Reason_MALFORMED, "")
}

// An early failure of a gRPC call is one HEADERS frame; if it were two, some
// calls would come back with another code.
func TestTrailersOnly(t *testing.T) {
	f := start(t, func(_ context.Context, req *Request, resp Response) {
		head, body := l7.Problem("01a207e6-e4d8-7d3e-9a54-1f0e6b7c2d88", crossingv1.Reason_NO_INTENT, "ml-platform", &req.Head)
		_ = resp.WriteHead(head, len(body) == 0)
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	health := f.health()
	for i := range 300 {
		_, err := health.Check(ctx, &healthpb.HealthCheckRequest{})
		if s := status.Convert(err); s.Code() != codes.PermissionDenied || !strings.Contains(s.Message(), "owner ml-platform") {
			t.Fatalf("call %d: %v", i, err)
		}
	}
	watch, err := health.Watch(ctx, &healthpb.HealthCheckRequest{})
	if err == nil {
		_, err = watch.Recv()
	}
	if status.Code(err) != codes.PermissionDenied {
		t.Errorf("stream: %v", err)
	}
}

func (f *fixture) health() healthpb.HealthClient {
	f.t.Helper()
	conn, err := grpc.NewClient(f.Addr().String(), grpc.WithTransportCredentials(credentials.NewTLS(f.clientTLS("onprem.test", "/orchestrator"))))
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { conn.Close() })
	return healthpb.NewHealthClient(conn)
}

// A whole gRPC answer: head, a message, trailers, in time for the client.
func TestGRPC(t *testing.T) {
	f := start(t, func(_ context.Context, req *Request, resp Response) {
		if req.Head.Fields.Get("te") != "trailers" || !req.Head.IsGRPC() {
			t.Errorf("head = %+v", req.Head)
		}
		_, _ = io.Copy(io.Discard, req.Body)
		_ = resp.WriteHead(&l7.ResponseHead{Status: 200, Fields: l7.Fields{{Name: "content-type", Value: "application/grpc"}}}, false)
		_, _ = resp.Write([]byte{0, 0, 0, 0, 2, 0x08, 0x01}) // HealthCheckResponse{SERVING}
		_ = resp.End(l7.Fields{{Name: "grpc-status", Value: "0"}})
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for range 20 {
		r, err := f.health().Check(ctx, &healthpb.HealthCheckRequest{})
		if err != nil || r.GetStatus() != healthpb.HealthCheckResponse_SERVING {
			t.Fatalf("Check = %v, %v", r, err)
		}
	}
}

// A caller who resets its stream cancels the exchange.
func TestH2CallerGone(t *testing.T) {
	entered, gone := make(chan struct{}), make(chan struct{})
	f := start(t, func(_ context.Context, req *Request, _ Response) {
		req.OnGone(func() { close(gone) })
		close(entered)
		<-gone
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-entered; cancel() }()
	if _, err := f.client(2).Do(newRequest(t, "GET", nil).WithContext(ctx)); err == nil {
		t.Error("an answer came")
	}
	select {
	case <-gone:
	case <-time.After(patience):
		t.Error("the handler did not hear that the caller is gone")
	}
}
