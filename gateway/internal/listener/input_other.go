//go:build !unix

package listener

import (
	"errors"
	"net"
	"syscall"
)

// Here no connection is tried without waiting.

func rawOf(net.Conn) syscall.RawConn { return nil }

func readNow(uintptr, []byte) (int, error) { return 0, errors.ErrUnsupported }

func pending(net.Conn) bool { return false }
