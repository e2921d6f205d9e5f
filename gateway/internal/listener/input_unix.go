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
