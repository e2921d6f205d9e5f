package listener

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"runtime"
	"syscall"
	"testing"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
)

// detached is what a test does with a connection, which is over when then returns.
type detached struct {
	ctx  context.Context
	stop context.CancelFunc
	then func(ctx context.Context, tcp *net.TCPConn, early []byte)
}

func (d *detached) Serve(tcp *net.TCPConn, early []byte, over func()) {
	d.then(d.ctx, tcp, early)
	go over() // from wherever
}

func (d *detached) Stop() { d.stop() }

// detach accepts a CONNECT and gives its connection to then.
func detach(t *testing.T, want bool, then func(ctx context.Context, tcp *net.TCPConn, early []byte)) handlerFunc {
	return func(_ context.Context, _ *Request, resp Response) {
		d := resp.(Detacher)
		ctx, stop := context.WithCancel(context.Background())
		t.Cleanup(stop)
		then := &detached{ctx, stop, then}
		if d.Detach(then) {
			t.Error("detached before the CONNECT was accepted")
		}
		_ = resp.WriteHead(&l7.ResponseHead{Status: 200}, false)
		if got := d.Detach(then); got != want {
			t.Errorf("Detach = %t, want %t", got, want)
		}
	}
}

func connectTo(t *testing.T, f *fixture, c net.Conn, rest string) *bufio.Reader {
	t.Helper()
	head := "CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\nProxy-Authorization: Bearer " + f.jwt() + "\r\n\r\n"
	if _, err := io.WriteString(c, head+rest); err != nil {
		t.Fatal(err)
	}
	br := bufio.NewReader(c)
	if r, err := http.ReadResponse(br, &http.Request{Method: "CONNECT"}); err != nil || r.StatusCode != 200 {
		t.Fatalf("answer = %v, %v", r, err)
	}
	return br
}

func TestDetach(t *testing.T) {
	f := start(t, detach(t, true, func(_ context.Context, tcp *net.TCPConn, early []byte) {
		tcp.Write(early)
		io.Copy(tcp, tcp)
	}))
	c := f.dialLoopback()
	br := connectTo(t, f, c, "early")
	expect(t, br, "early")
	_, _ = io.WriteString(c, "and late")
	expect(t, br, "and late")
	_ = c.(*net.TCPConn).CloseWrite()
	if _, err := br.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("after the end: %v, want io.EOF", err)
	}
}

// later goes on with a connection in no goroutine of the listener's.
type later struct{ overs chan<- func() }

func (l later) Serve(_ *net.TCPConn, _ []byte, over func()) { l.overs <- over }
func (l later) Stop()                                       {}

func TestDetachedConnectionsHoldNoGoroutine(t *testing.T) {
	const many = 200
	overs := make(chan func(), many)
	f := start(t, func(_ context.Context, _ *Request, resp Response) {
		_ = resp.WriteHead(&l7.ResponseHead{Status: 200}, false)
		resp.(Detacher).Detach(later{overs})
	})
	before := runtime.NumGoroutine()
	var readers []*bufio.Reader
	for range many {
		readers = append(readers, connectTo(t, f, f.dialLoopback(), ""))
	}
	var over []func()
	for range many {
		over = append(over, <-overs)
	}
	if n := runtime.NumGoroutine() - before; n > many/10 {
		t.Errorf("%d goroutines for %d connections", n, many)
	}
	for _, f := range over {
		f()
		f() // nothing any more
	}
	for _, br := range readers {
		if _, err := br.ReadByte(); !errors.Is(err, io.EOF) {
			t.Errorf("after the end: %v, want io.EOF", err)
		}
	}
}

func TestDetachOfTLS(t *testing.T) {
	f := start(t, detach(t, false, nil))
	connectTo(t, f, f.dial(), "")
}

// What goes on with a connection ends with the listener, and a panic in it ends
// nothing else.
func TestDetachedConnectionsEnd(t *testing.T) {
	t.Run("with the listener", func(t *testing.T) {
		f := start(t, detach(t, true, func(ctx context.Context, _ *net.TCPConn, _ []byte) {
			<-ctx.Done()
		}), func(c *Config) { c.DrainTimeout = 1 })
		br := connectTo(t, f, f.dialLoopback(), "")
		f.stop()
		if _, err := br.ReadByte(); err == nil {
			t.Error("the connection is open after the listener's end")
		}
	})
	t.Run("with the listener, when it was given away since", func(t *testing.T) {
		f := start(t, func(ctx context.Context, _ *Request, resp Response) {
			_ = resp.WriteHead(&l7.ResponseHead{Status: 200}, false)
			<-ctx.Done()
			ctx, stop := context.WithCancel(context.Background())
			resp.(Detacher).Detach(&detached{ctx, stop, func(ctx context.Context, _ *net.TCPConn, _ []byte) {
				<-ctx.Done()
			}})
		}, func(c *Config) { c.DrainTimeout = 1 })
		br := connectTo(t, f, f.dialLoopback(), "")
		f.stop()
		if _, err := br.ReadByte(); err == nil {
			t.Error("the connection is open after the listener's end")
		}
	})
	t.Run("by a panic", func(t *testing.T) {
		f := start(t, detach(t, true, func(context.Context, *net.TCPConn, []byte) { panic("broken") }))
		br := connectTo(t, f, f.dialLoopback(), "")
		if _, err := br.ReadByte(); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("after a panic: %v, want a reset", err)
		}
	})
}
