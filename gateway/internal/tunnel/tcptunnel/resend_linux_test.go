package tcptunnel

import (
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// TestResendSoon holds that a connection, dialled or accepted, gets the bound.
func TestResendSoon(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dialed, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer dialed.Close()
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer accepted.Close()
	for name, conn := range map[string]net.Conn{"dialled": dialed, "accepted": accepted} {
		resendSoon(conn)
		if got, err := option(t, conn, unix.TCP_USER_TIMEOUT); err != nil || got != int(giveUp.Milliseconds()) {
			t.Errorf("%s: gives up after %d ms, %v, want %s", name, got, err, giveUp)
		}
		if got, err := option(t, conn, unix.TCP_RTO_MAX_MS); err != nil {
			t.Skipf("needs a Linux with TCP_RTO_MAX_MS (6.15): %v", err)
		} else if got != resendWithin {
			t.Errorf("%s: resends after %d ms at most, want %d", name, got, resendWithin)
		}
	}
	near, far := net.Pipe()
	resendSoon(near) // no TCP: nothing to do, and no harm
	near.Close()
	far.Close()
}

func option(t *testing.T, conn net.Conn, name int) (ms int, err error) {
	t.Helper()
	raw, failed := conn.(*net.TCPConn).SyscallConn()
	if failed == nil {
		failed = raw.Control(func(fd uintptr) {
			ms, err = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, name)
		})
	}
	if failed != nil {
		t.Fatal(failed)
	}
	return ms, err
}
