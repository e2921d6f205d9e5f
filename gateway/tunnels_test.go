package gateway

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport-mesh/sallyport/certs/certstest"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel/carrier"
)

func TestResetKeyOutlivesARun(t *testing.T) {
	file := filepath.Join(t.TempDir(), "quic.key")
	first, err := resetKey(file)
	if err != nil || first == ([32]byte{}) {
		t.Fatalf("resetKey = %x, %v", first, err)
	}
	if again, err := resetKey(file); err != nil || again != first {
		t.Errorf("resetKey of the next run = %x, %v, want %x", again, err, first)
	}
	if err := os.WriteFile(file, first[:7], 0o600); err != nil { // a crash in mid-write
		t.Fatal(err)
	}
	if fresh, err := resetKey(file); err != nil || fresh == first {
		t.Errorf("resetKey after a broken file = %x, %v, want another", fresh, err)
	}
	if _, err := resetKey(filepath.Join(file, "x")); err == nil {
		t.Error("a key that cannot be kept is used")
	}
}

// TestLateQUIC: the port of another process is waited for, and dialled from
// elsewhere meanwhile.
func TestLateQUIC(t *testing.T) {
	mesh := certstest.Mesh(t, "aws.test")
	cfg := carrier.Config{Source: mesh["aws.test"].Source("/sallyport/gateway/aws-1")}
	other, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	q := newLateQUIC(other.LocalAddr().String(), cfg)
	defer q.Close()
	if err := q.bind(); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("bind = %v, want EADDRINUSE", err)
	}
	elsewhere := q.dialer
	ctx, cancel := context.WithCancel(t.Context())
	accepted := make(chan error, 1)
	go func() {
		_, err := q.Accept(ctx)
		accepted <- err
	}()
	other.Close()
	for deadline := time.Now().Add(30 * time.Second); q.bind() != nil; <-time.After(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the port was not taken")
		}
	}
	if q.dialer == elsewhere {
		t.Error("still dials from elsewhere")
	}
	cancel()
	if err := <-accepted; !errors.Is(err, context.Canceled) {
		t.Errorf("Accept = %v", err)
	}
	if err := q.Close(); err != nil {
		t.Error(err)
	}
	if _, err := q.Accept(t.Context()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept after Close = %v, want net.ErrClosed", err)
	}
}
