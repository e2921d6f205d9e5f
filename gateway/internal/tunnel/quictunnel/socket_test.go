package quictunnel

import (
	"net"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/ipv4"

	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel/carrier"
)

// TestSocketKeepsOffload: the library finds in our sockets what it finds in
// bare ones.
func TestSocketKeepsOffload(t *testing.T) {
	bare, _ := barePair(t)
	near, far := configs(t, carrier.Limits{})
	ours, _ := systemPair(t, near, far)
	if got, want := ours.qc.ConnectionState().GSO, bare.ConnectionState().GSO; got != want {
		t.Errorf("segmentation offload is %v over our socket, %v over a bare one", got, want)
	}
}

// TestRetiredSocket: its descriptor is gone, writing loses packets, and reading
// ends with Close only.
func TestRetiredSocket(t *testing.T) {
	s, err := openSocket("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := s.LocalAddr().(*net.UDPAddr)
	read := make(chan error, 1)
	go func() {
		_, err := s.ReadBatch([]ipv4.Message{{Buffers: [][]byte{make([]byte, 1500)}}}, 0)
		read <- err
	}()
	s.retire()
	again, err := net.ListenUDP("udp", addr)
	if err != nil {
		t.Fatalf("the port is still taken: %v", err)
	}
	again.Close()
	if n, _, err := s.WriteMsgUDP([]byte("lost"), nil, addr); n != 4 || err != nil {
		t.Errorf("WriteMsgUDP = %d, %v, want a loss that nobody sees", n, err)
	}
	select {
	case err := <-read:
		t.Fatalf("reading ended with %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	s.Close()
	if err := <-read; err == nil {
		t.Error("reading a closed socket succeeded")
	}
}

func TestErrorsOfSendingThatPass(t *testing.T) {
	for err, want := range map[error]bool{
		&net.OpError{Err: syscall.ENETUNREACH}: true,
		&net.OpError{Err: syscall.EPERM}:       true,
		&net.OpError{Err: syscall.EMSGSIZE}:    false, // path MTU discovery wants it
		&net.OpError{Err: syscall.EIO}:         false, // so does segmentation offload
		net.ErrClosed:                          false,
	} {
		if got := passes(err); got != want {
			t.Errorf("passes(%v) = %v, want %v", err, got, want)
		}
	}
}
