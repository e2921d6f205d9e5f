//go:build linux

package eof

import (
	"errors"
	"io"
	"net"
	"syscall"
	"testing"

	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel/tunneltest"
)

func reset(t *testing.T, c *net.TCPConn) bool {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	return Reset(raw)
}

// TestResetThatAWriteHeardOf: the read that follows gives io.EOF, and it was none.
func TestResetThatAWriteHeardOf(t *testing.T) {
	here, there := tunneltest.TCPPair(t)
	there.SetLinger(0)
	there.Close()
	for {
		if _, err := here.Write([]byte("more")); errors.Is(err, syscall.ECONNRESET) {
			break
		} else if err != nil {
			t.Skipf("the write was told of %v, and the reset is still to be heard of", err)
		}
	}
	if n, err := here.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Fatalf("Read = %d, %v; this system tells of a reset more than once", n, err)
	}
	if !reset(t, here) {
		t.Error("the reset is taken for an end in order")
	}
}

func TestEndInOrder(t *testing.T) {
	here, there := tunneltest.TCPPair(t)
	there.CloseWrite()
	if _, err := here.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	if reset(t, here) {
		t.Error("an end in order is taken for a reset")
	}
}

// TestClosed: a connection that is closed here cannot be asked.
func TestClosed(t *testing.T) {
	here, _ := tunneltest.TCPPair(t)
	here.Close()
	if reset(t, here) {
		t.Error("a closed connection says that it was reset")
	}
}
