//go:build unix

package listener

import (
	"net"
	"syscall"
)

// rawOf is a connection that can be tried without waiting; nil if it cannot.
func rawOf(nc net.Conn) syscall.RawConn {
	tcp, ok := nc.(*net.TCPConn)
	if !ok {
		return nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}

// readNow reads what there is.
func readNow(fd uintptr, p []byte) (int, error) { return syscall.Read(int(fd), p) }

// pending says that something has come on a connection, and was not read.
func pending(nc net.Conn) bool {
	raw, n := rawOf(nc), 0
	if raw == nil {
		return false
	}
	_ = raw.Control(func(fd uintptr) {
		var first [1]byte
		n, _, _ = syscall.Recvfrom(int(fd), first[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	})
	return n > 0
}
