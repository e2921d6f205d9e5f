//go:build !linux

package localpeer

import (
	"fmt"
	"net"
	"net/netip"
	"runtime"
)

func ofUnix(*net.UnixConn) (Peer, error) { return Peer{}, unknown() }

func ofTCP(_, _ netip.AddrPort) (Peer, error) { return Peer{}, unknown() }

func isUp(*net.TCPConn) bool { return false }

func unknown() error { return fmt.Errorf("%w: %s cannot be asked", ErrUnknown, runtime.GOOS) }
