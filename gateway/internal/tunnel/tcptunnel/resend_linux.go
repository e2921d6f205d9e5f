package tcptunnel

import (
	"net"

	"golang.org/x/sys/unix"
)

// resendWithin bounds the time between two retransmissions, in milliseconds. It
// is the least that the kernel takes.
const resendWithin = 1000

// resendSoon bounds the time between a connection's retransmissions. TCP doubles
// it each time, so that without a bound crossings wait for as long again as a path
// was cut, after it is back. A kernel before 6.15 knows no bound and goes on
// without one. TCP gives up after a number of retransmissions, which would now be
// half as long as a peer may be silent (TCP_USER_TIMEOUT of RFC 5482 is a time).
// A listener's connections do not inherit it.
func resendSoon(conn net.Conn) {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return // closed: the next use of it tells
	}
	_ = raw.Control(func(fd uintptr) { // as above
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_RTO_MAX_MS, resendWithin) // an older kernel
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(giveUp.Milliseconds()))
	})
}
