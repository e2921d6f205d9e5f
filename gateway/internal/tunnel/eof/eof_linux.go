// Package eof tells an end that the other side of a connection said from what is left
// of a reset. A socket tells of a reset once: if a write heard of it, a read gives an
// end as if it had been one in order.
package eof

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// tcpClose is the state of a connection that is none any more (Linux, net/tcp_states.h).
const tcpClose = 7

// Reset says of a TCP connection whose reading has ended, and whose own direction was
// not ended before, that it was reset: had the other side ended it in order, it would
// still be half open.
func Reset(c syscall.RawConn) bool {
	state := uint8(0)
	err := c.Control(func(fd uintptr) {
		if info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			state = info.State
		}
	})
	return err == nil && state == tcpClose
}
