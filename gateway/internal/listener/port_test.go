package listener

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport-mesh/sallyport/certs/certstest"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

func toDB(c *Config) { c.Ports = []Port{{Address: "127.0.0.1:0", To: "db.azure.mesh:5432"}} }

// dialPort connects to the only port with that configuration.
func (f *fixture) dialPort(config *tls.Config) *tls.Conn {
	f.t.Helper()
	raw, err := net.Dial("tcp", f.PortAddrs()[0].String())
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { raw.Close() })
	_ = raw.SetDeadline(time.Now().Add(patience))
	return tls.Client(raw, config)
}

// accepted says 200, echoes what the caller says, and ends after it.
func accepted(_ context.Context, req *Request, resp Response) {
	_ = resp.WriteHead(&l7.ResponseHead{Status: 200}, false)
	if _, err := io.Copy(writer{resp}, req.Body); err != nil {
		resp.Abort()
		return
	}
	_ = resp.End(nil)
}

type writer struct{ Response }

func TestPort(t *testing.T) {
	asked := make(chan *Request, 1)
	f := start(t, func(ctx context.Context, req *Request, resp Response) {
		asked <- req
		accepted(ctx, req, resp)
	}, toDB)
	c := f.dialPort(f.clientTLS("onprem.test", "/orchestrator"))
	if _, err := io.WriteString(c, "GET / is not HTTP here"); err != nil {
		t.Fatal(err)
	}
	if err := c.CloseWrite(); err != nil { // half of it: the answer still comes
		t.Fatal(err)
	}
	said, err := io.ReadAll(c)
	if err != nil || string(said) != "GET / is not HTTP here" {
		t.Errorf("echo %q, %v", said, err)
	}
	req := <-asked
	if req.Head.Method != "CONNECT" || req.Head.Authority != "db.azure.mesh:5432" || req.Head.Check() != nil ||
		req.Caller.ID.String() != "spiffe://onprem.test/orchestrator" || req.Caller.Attach != crossingv1.Attach_MTLS ||
		req.Caller.SVID == "" || req.Caller.TLS == "" || !req.Mapped {
		t.Errorf("asked %+v by %+v", req.Head, req.Caller)
	}
	f.refusals.wantNone(t)
}

// TestPortIsBroken: what was refused or broken off is never shown as an end.
func TestPortIsBroken(t *testing.T) {
	for _, c := range []struct {
		name   string
		handle handlerFunc
	}{
		{"refused", func(_ context.Context, _ *Request, resp Response) {
			head, body := l7.Problem("", crossingv1.Reason_NO_INTENT, "team", nil)
			_ = writeAnswer(resp, head, body)
		}},
		{"aborted", func(_ context.Context, _ *Request, resp Response) {
			_ = resp.WriteHead(&l7.ResponseHead{Status: 200}, false)
			resp.Abort()
		}},
		{"not ended", func(_ context.Context, _ *Request, resp Response) {
			_ = resp.WriteHead(&l7.ResponseHead{Status: 200}, false)
		}},
		{"panic", func(context.Context, *Request, Response) { panic("a fault of the handler's") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := start(t, c.handle, toDB)
			conn := f.dialPort(f.clientTLS("onprem.test", "/orchestrator"))
			_, err := io.Copy(io.Discard, conn)
			if err == nil || !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("the caller saw %v, want a broken connection", err)
			}
		})
	}
}

// TestPortRefuses: each failure before identity breaks the handshake and is counted.
func TestPortRefuses(t *testing.T) {
	never := func(context.Context, *Request, Response) { t.Error("a request without an identity came through") }
	for _, c := range []struct {
		name   string
		config func(f *fixture) *tls.Config
		want   crossingv1.Reason
	}{
		{"no SVID", func(f *fixture) *tls.Config { return f.clientTLS("", "") }, crossingv1.Reason_NO_IDENTITY},
		{"foreign SVID", func(f *fixture) *tls.Config { return f.clientTLS("azure.test", "/llm") }, crossingv1.Reason_FOREIGN_IDENTITY},
		{"expired SVID", func(f *fixture) *tls.Config {
			d := f.mesh["onprem.test"]
			d.NotBefore = -2 * time.Hour
			defer func() { d.NotBefore = 0 }()
			return f.clientTLS("onprem.test", "/orchestrator")
		}, crossingv1.Reason_EXPIRED_IDENTITY},
		{"SVID of a stranger", func(f *fixture) *tls.Config {
			d := certstest.Mesh(f.t, "onprem.test")["onprem.test"]
			config := f.clientTLS("", "")
			config.Certificates = []tls.Certificate{d.Certificate(d.ID("/orchestrator"))}
			return config
		}, crossingv1.Reason_BAD_IDENTITY},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := start(t, never, toDB)
			conn := f.dialPort(c.config(f))
			_, err := io.Copy(io.Discard, conn)
			if alert := new(net.OpError); !errors.As(err, &alert) || alert.Op != "remote error" {
				t.Errorf("the caller saw %v, want an alert", err)
			}
			if got := f.refusals.want(t, c.want, ""); !strings.HasPrefix(got.detail, "port of db.azure.mesh:5432: ") {
				t.Errorf("detail %q", got.detail)
			}
		})
	}
}

func TestPortBodyIsClosed(t *testing.T) {
	closed := make(chan error, 1)
	f := start(t, func(_ context.Context, req *Request, resp Response) {
		_ = resp.WriteHead(&l7.ResponseHead{Status: 200}, false)
		go func() {
			_, err := req.Body.Read(make([]byte, 1))
			closed <- err
		}()
		_ = req.Body.Close()
		if _, err := req.Body.Read(make([]byte, 1)); !errors.Is(err, errBodyStopped) {
			t.Errorf("read after Close: %v", err)
		}
	}, toDB)
	conn := f.dialPort(f.clientTLS("onprem.test", "/orchestrator"))
	if err := conn.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-closed; !errors.Is(err, errBodyStopped) {
		t.Errorf("read while it was closed: %v", err)
	}
}

// TestPortDrains: a stream that is open may end by itself; at last it is broken.
func TestPortDrains(t *testing.T) {
	open := make(chan struct{})
	f := start(t, func(ctx context.Context, req *Request, resp Response) {
		close(open)
		accepted(ctx, req, resp)
	}, toDB, func(c *Config) { c.DrainTimeout = 50 * time.Millisecond })
	conn := f.dialPort(f.clientTLS("onprem.test", "/orchestrator"))
	if err := conn.Handshake(); err != nil {
		t.Fatal(err)
	}
	<-open
	f.stop()
	if _, err := io.Copy(io.Discard, conn); err == nil {
		t.Error("a stream that was cut off looks as if it had ended")
	}
	if c, err := net.Dial("tcp", f.PortAddrs()[0].String()); err == nil {
		c.Close()
		t.Error("the port is still bound")
	}
}

// TestPortRetires: a port accepts nobody more, and what is open goes on to its end.
func TestPortRetires(t *testing.T) {
	f := start(t, accepted, toDB)
	conn := f.dialPort(f.clientTLS("onprem.test", "/orchestrator"))
	const half = "before"
	if _, err := io.WriteString(conn, half); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, make([]byte, len(half))); err != nil {
		t.Fatal(err)
	}
	f.Retire()
	f.closed(f.PortAddrs()[0])
	if _, err := io.WriteString(conn, " and after"); err != nil {
		t.Fatal(err)
	}
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if said, err := io.ReadAll(conn); err != nil || string(said) != " and after" {
		t.Errorf("echo %q, %v", said, err)
	}
	conn.Close()
	<-f.served()
	f.stop()
}

func TestPortInUse(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	mesh := certstest.Mesh(t, "onprem.test")
	_, err = New(Config{
		Source: mesh["onprem.test"].Source("/sallyport/gateway/onprem-1"), Handler: handlerFunc(accepted), Refuser: make(refusals, 1),
		Ports: []Port{{"127.0.0.1:0", "db.azure.mesh:1"}, {taken.Addr().String(), "db.azure.mesh:5432"}},
	})
	if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), "port of db.azure.mesh:5432") {
		t.Errorf("New = %v", err)
	}
}
