package listener

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/sallyport-mesh/sallyport/certs/localpeer"
	"github.com/sallyport-mesh/sallyport/gateway/internal/capture"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

var legacy = spiffeid.RequireFromString("spiffe://onprem.test/legacy")

// capturing takes connections as of legacy for a destination. Nothing is handed
// over here: what was asked for is the listener's own address.
func capturing(to Destination) func(*Config) {
	return func(c *Config) {
		c.Capture = &Capture{
			Addresses: []string{"127.0.0.1:0"},
			Caller:    func(net.Conn) (spiffeid.ID, error) { return legacy, nil },
			Locate:    func(netip.AddrPort) (Destination, error) { return to, nil },
		}
	}
}

var (
	toBytes = Destination{Authority: "db.azure.mesh:5432", Bytes: true}
	toHTTP  = Destination{Authority: "llm.azure.mesh:8000"}
)

// at is what connections to the listener were made to.
func (f *fixture) at() netip.AddrPort { return addrPort(f.CaptureAddrs()[0]) }

func (f *fixture) dialCaptured() *net.TCPConn {
	f.t.Helper()
	c, err := net.Dial("tcp", f.at().String())
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return c.(*net.TCPConn)
}

func TestCapturedBytes(t *testing.T) {
	asked := make(chan *Request, 1)
	f := start(t, func(ctx context.Context, req *Request, resp Response) {
		asked <- req
		accepted(ctx, req, resp)
	}, capturing(toBytes))
	c := f.dialCaptured()
	if _, err := io.WriteString(c, "GET / is not HTTP here"); err != nil {
		t.Fatal(err)
	}
	if err := c.CloseWrite(); err != nil { // half of it: the answer still comes
		t.Fatal(err)
	}
	if said, err := io.ReadAll(c); err != nil || string(said) != "GET / is not HTTP here" {
		t.Errorf("echo %q, %v", said, err)
	}
	req := <-asked
	want := Caller{ID: legacy, Attach: crossingv1.Attach_LOCAL, Address: addrPort(c.LocalAddr())}
	if req.Head.Method != "CONNECT" || req.Head.Authority != toBytes.Authority || req.Head.Check() != nil || req.Caller != want {
		t.Errorf("asked %+v by %+v, want it by %+v", req.Head, req.Caller, want)
	}
	f.refusals.wantNone(t)
}

// TestCapturedIsDetached: the bare connection goes on without this package.
func TestCapturedIsDetached(t *testing.T) {
	f := start(t, detach(t, true, func(_ context.Context, tcp *net.TCPConn, early []byte) {
		tcp.Write(early)
		io.Copy(tcp, tcp)
	}), capturing(toBytes))
	c := f.dialCaptured()
	br := bufio.NewReader(c)
	for _, text := range []string{"at first", "and late"} {
		_, _ = io.WriteString(c, text)
		expect(t, br, text)
	}
	_ = c.CloseWrite()
	if _, err := br.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("after the end: %v, want io.EOF", err)
	}
}

// TestCapturedIsBroken: what was refused or broken off is never shown as an end.
func TestCapturedIsBroken(t *testing.T) {
	for name, handle := range map[string]handlerFunc{
		"refused": func(_ context.Context, _ *Request, resp Response) {
			head, body := l7.Problem("", crossingv1.Reason_NO_INTENT, "team", nil)
			_ = writeAnswer(resp, head, body)
		},
		"aborted": func(_ context.Context, _ *Request, resp Response) {
			_ = resp.WriteHead(&l7.ResponseHead{Status: 200}, false)
			resp.Abort()
		},
		"panic": func(context.Context, *Request, Response) { panic("a fault of the handler's") },
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t, handle, capturing(toBytes))
			f.resetsCaptured()
		})
	}
}

// resetsCaptured holds that a connection is reset, as early as it may be.
func (f *fixture) resetsCaptured() {
	f.t.Helper()
	c, err := net.Dial("tcp", f.at().String())
	if errors.Is(err, syscall.ECONNRESET) {
		return
	}
	if err != nil {
		f.t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	isReset(f.t, c)
}

func isReset(t *testing.T, c net.Conn) {
	t.Helper()
	if n, err := io.Copy(io.Discard, c); n > 0 || !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the caller got %d bytes and %v, want a reset", n, err)
	}
}

// TestCapturedRefuses: who is not known for certain is counted, and nothing else
// happens.
func TestCapturedRefuses(t *testing.T) {
	never := func(context.Context, *Request, Response) { t.Error("a request without an identity came through") }
	for _, c := range []struct {
		err  error
		want crossingv1.Reason
	}{
		{fmt.Errorf("user 7 %w", capture.ErrNobody), crossingv1.Reason_NO_IDENTITY},
		{localpeer.ErrUnknown, crossingv1.Reason_NO_IDENTITY},
		{syscall.EPERM, crossingv1.Reason_NO_IDENTITY},
		{fmt.Errorf("user 7 %w", capture.ErrSeveral), crossingv1.Reason_BAD_IDENTITY},
	} {
		t.Run(c.err.Error(), func(t *testing.T) {
			f := start(t, never, capturing(toHTTP), func(cfg *Config) {
				cfg.Capture.Caller = func(net.Conn) (spiffeid.ID, error) { return legacy, c.err }
			})
			f.resetsCaptured()
			want := fmt.Sprintf("captured on its way to %s: %v", f.at(), c.err)
			if got := f.refusals.want(t, c.want, ""); got.detail != want {
				t.Errorf("detail %q, want %q", got.detail, want)
			}
		})
	}
}

// TestCapturedSomewhere: where an address does not tell the destination, the caller
// has a record, with the address.
func TestCapturedSomewhere(t *testing.T) {
	never := func(context.Context, *Request, Response) { t.Error("it came through") }
	f := start(t, never, capturing(toHTTP), func(cfg *Config) {
		cfg.Capture.Locate = func(netip.AddrPort) (Destination, error) { return Destination{}, errors.New("two are there") }
	})
	f.resetsCaptured()
	got := f.refusals.want(t, crossingv1.Reason_UNKNOWN_DESTINATION, legacy.String())
	if got.detail != "two are there" || got.head.Method != "CONNECT" || got.head.Authority != f.at().String() {
		t.Errorf("refused %+v", got)
	}
}

// clear is an HTTP client of that version without TLS, whose connections are
// captured whatever it asks for.
func (f *fixture) clear(version int) *http.Client {
	protos := new(http.Protocols)
	protos.SetHTTP1(version == 1)
	protos.SetUnencryptedHTTP2(version == 2)
	tr := &http.Transport{
		Protocols: protos,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", f.at().String())
		},
	}
	f.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: patience}
}

// TestCapturedHTTP: the destination is what the connection was made to. A name that
// the gateway knows to be another one is refused; any other is the program's own.
func TestCapturedHTTP(t *testing.T) {
	f := start(t, echo, func(c *Config) {
		capturing(Destination{})(c)
		c.Capture.Locate = func(at netip.AddrPort) (Destination, error) {
			return Destination{Authority: fmt.Sprint("llm.azure.mesh:", at.Port())}, nil
		}
	})
	port := fmt.Sprint(f.at().Port())
	for version := 1; version <= 2; version++ {
		for host, good := range map[string]bool{
			f.at().String(): true, "127.0.0.1": true, "[::ffff:127.0.0.1]:" + port: true,
			"llm.corp.example": true, "llm.corp.example:99": true, "mesh": true,
			"llm.azure.mesh": true, "LLM.azure.mesh:" + port: true, "llm.azure.mesh.:" + port: true,
			"llm.azure.mesh:99": false, "retriever.aws.mesh": false, "retriever.aws.mesh.": false, ".mesh": false,
			"127.0.0.2:" + port: false, "127.0.0.1:99": false, "[::1]:" + port: false,
		} {
			t.Run(fmt.Sprintf("HTTP/%d asks for %s", version, host), func(t *testing.T) {
				req, err := http.NewRequest("GET", "http://"+host+"/x", nil)
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set("Authorization", "its own")
				req.Header.Set("Proxy-Authorization", "Bearer "+f.jwt())
				resp, err := f.clear(version).Do(req)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				body := content(resp)
				if !good {
					if got := f.refusals.want(t, crossingv1.Reason_MALFORMED, legacy.String()); got.head.Authority != host {
						t.Errorf("refused for %q", got.head.Authority)
					}
					if resp.StatusCode != 421 || !strings.Contains(body, refusedID) || !strings.Contains(body, "which is llm.azure.mesh:"+port) {
						t.Errorf("answered %d %s", resp.StatusCode, body)
					}
					return
				}
				if want := legacy.String() + " GET llm.azure.mesh:" + port + ` /x ""`; body != want {
					t.Errorf("asked %q, want %q", body, want)
				}
				if resp.Header.Get("echo-authorization") != "its own" || resp.Header.Get("echo-proxy-authorization") != "" {
					t.Errorf("fields %v", resp.Header)
				}
			})
		}
	}
	f.refusals.wantNone(t)
}

// TestCapturedHTTPKeepsItsConnection: each request is one crossing, of one caller.
func TestCapturedHTTPKeepsItsConnection(t *testing.T) {
	f := start(t, echo, capturing(toHTTP))
	c := f.dialCaptured()
	br := bufio.NewReader(c)
	for range 3 {
		r := send(t, c, br, "GET /x HTTP/1.1\r\nHost: llm\r\n\r\n", "GET")
		if got := content(r); got != legacy.String()+` GET llm.azure.mesh:8000 /x ""` || r.Close {
			t.Errorf("asked %q, closes %t", got, r.Close)
		}
	}
}

// TestCapturedIsNoProxy: it is where the connection was made to that is asked.
func TestCapturedIsNoProxy(t *testing.T) {
	f := start(t, echo, capturing(toHTTP))
	c := f.dialCaptured()
	r := send(t, c, bufio.NewReader(c), "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n", "GET")
	if r.StatusCode != 421 {
		t.Errorf("a CONNECT is answered %d", r.StatusCode)
	}
	if got := f.refusals.want(t, crossingv1.Reason_MALFORMED, legacy.String()); got.head.Authority != "a.example:443" {
		t.Errorf("refused for %q", got.head.Authority)
	}
}

// TestCapturedTLS: TLS cannot be read, so that it is no HTTP.
func TestCapturedTLS(t *testing.T) {
	f := start(t, echo, capturing(toHTTP))
	c := f.dialCaptured()
	if _, err := c.Write([]byte{22, 3, 1, 2, 0, 1}); err != nil {
		t.Fatal(err)
	}
	isReset(t, c)
	got := f.refusals.want(t, crossingv1.Reason_MALFORMED, legacy.String())
	if got.head.Authority != toHTTP.Authority || !strings.Contains(got.detail, "TLS") {
		t.Errorf("refused %+v", got)
	}
}

// TestCapturedRetires: nobody more is captured, and what is open goes on to its end.
func TestCapturedRetires(t *testing.T) {
	f := start(t, accepted, capturing(toBytes))
	c := f.dialCaptured()
	br := bufio.NewReader(c)
	_, _ = io.WriteString(c, "before")
	expect(t, br, "before")
	f.Retire()
	f.closed(f.CaptureAddrs()[0])
	_, _ = io.WriteString(c, "after")
	expect(t, br, "after")
	_ = c.CloseWrite()
	if _, err := br.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("after the end: %v, want io.EOF", err)
	}
	<-f.served()
}

// FuzzElsewhere: an authority passes only as the address, as the destination's own
// name, or as a name of which the gateway knows nothing.
func FuzzElsewhere(f *testing.F) {
	k := &captured{at: netip.MustParseAddrPort("10.3.0.10:8000"), to: toHTTP}
	for _, s := range []string{"10.3.0.10:8000", "llm.azure.mesh", "llm.azure.mesh.:8000", "x.mesh", "[::1]", "corp", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, authority string) {
		if k.elsewhere(authority) || l7.CheckAuthority(authority) != nil {
			return
		}
		host, port, _ := l7.SplitAuthority(strings.ToLower(authority))
		host = strings.TrimSuffix(host, ".")
		a, err := netip.ParseAddr(host)
		if known := err == nil || strings.HasSuffix(host, ".mesh"); !known {
			return
		}
		if host != "llm.azure.mesh" && a.Unmap() != k.at.Addr() || port != "" && strings.TrimLeft(port, "0") != "8000" {
			t.Errorf("%q passes for %+v", authority, k.to)
		}
	})
}
