package tcptunnel

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.uber.org/zap"

	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel/carrier"
	"github.com/sallyport-mesh/sallyport/gateway/mux"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// header is a crossing's header with an ID to tell it by.
func header(id string) *crossingv1.Header { return &crossingv1.Header{Id: id} }

func peerID(name string) spiffeid.ID {
	return spiffeid.RequireFromString("spiffe://" + name + ".demo/sallyport/gateway/gw-1")
}

// pair is the two ends of a tunnel over an unbuffered pipe, without TLS. Both
// are closed when the test ends.
func pair(t testing.TB, l carrier.Limits) (dialler, acceptor *conn) {
	t.Helper()
	a, b := net.Pipe()
	return pairOver(t, a, b, l)
}

func pairOver(t testing.TB, a, b net.Conn, l carrier.Limits) (dialler, acceptor *conn) {
	t.Helper()
	l = l.WithDefaults()
	log := zap.NewNop()
	dialler = newConn(a, mux.Dialler, settings(l), tunnel.Info{Peer: peerID("azure")}, l, carrier.Guard{}, log)
	acceptor = newConn(b, mux.Acceptor, settings(l), tunnel.Info{Peer: peerID("aws")}, l, carrier.Guard{}, log)
	t.Cleanup(func() {
		dialler.Close()
		acceptor.Close()
	})
	return dialler, acceptor
}

// half is one end whose peer the test plays itself, frame by frame.
func half(t testing.TB, l carrier.Limits) (*conn, net.Conn) {
	t.Helper()
	a, b := net.Pipe()
	l = l.WithDefaults()
	c := newConn(a, mux.Acceptor, settings(l), tunnel.Info{Peer: peerID("aws")}, l, carrier.Guard{}, zap.NewNop())
	t.Cleanup(func() {
		b.Close()
		c.Close()
	})
	return c, b
}

func open(t testing.TB, c *conn, id string) *stream {
	t.Helper()
	s, err := c.Open(t.Context(), header(id))
	if err != nil {
		t.Fatalf("Open(%s): %v", id, err)
	}
	return s.(*stream)
}

func accept(t testing.TB, c *conn) *stream {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	s, err := c.Accept(ctx)
	if err != nil {
		t.Fatalf("Accept: %v", err)
	}
	return s.(*stream)
}

// streams opens a stream and gives both ends of it.
func streams(t testing.TB, from, to *conn) (near, far *stream) {
	t.Helper()
	near = open(t, from, "x")
	return near, accept(t, to)
}

func write(t testing.TB, w io.Writer, text string) {
	t.Helper()
	if n, err := io.WriteString(w, text); n != len(text) || err != nil {
		t.Fatalf("Write(%q) = %d, %v", text, n, err)
	}
}

func wantRead(t testing.TB, r io.Reader, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(r, got); err != nil || string(got) != want {
		t.Fatalf("Read = %q, %v, want %q", got, err, want)
	}
}

func wantEOF(t testing.TB, r io.Reader) {
	t.Helper()
	if n, err := r.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Fatalf("Read = %d, %v, want the end", n, err)
	}
}

func wantReset(t testing.TB, err error, code tunnel.ResetCode, remote bool) {
	t.Helper()
	var reset *tunnel.ResetError
	if !errors.As(err, &reset) || reset.Code != code || reset.Remote != remote {
		t.Fatalf("error is %v, want a reset with code %q, remote %v", err, code, remote)
	}
	if !errors.Is(err, net.ErrClosed) {
		t.Errorf("%v is not net.ErrClosed", err)
	}
}

// pass lets virtual time go by.
func pass(d time.Duration) { <-time.After(d) }

func isDone(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}
