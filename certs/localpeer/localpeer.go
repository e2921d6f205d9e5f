// Package localpeer says who is at the other end of a connection that stays on
// this host, as the kernel knows it and the peer cannot forge it. It decides
// nothing.
package localpeer

import (
	"errors"
	"fmt"
	"net"
)

// ErrUnknown says that the kernel does not know the other end: it is on another
// host or in another network namespace, has closed, or this system cannot be asked.
var ErrUnknown = errors.New("peer is not known on this host")

// Peer is the other end of a connection.
type Peer struct {
	// UID is the effective user that opened the socket.
	UID uint32
	// Cgroup is the id of the cgroup (v2) that the socket was opened in, which is the
	// inode of its directory; 0 where it is not known.
	Cgroup uint64
}

// Of asks the kernel about the other end of a connection, a *net.TCPConn or a
// *net.UnixConn.
func Of(conn net.Conn) (Peer, error) {
	switch c := conn.(type) {
	case *net.UnixConn:
		return ofUnix(c)
	case *net.TCPConn:
		local, ok1 := c.LocalAddr().(*net.TCPAddr)
		remote, ok2 := c.RemoteAddr().(*net.TCPAddr)
		if !ok1 || !ok2 {
			return Peer{}, fmt.Errorf("%w: the connection is closed", ErrUnknown)
		}
		p, err := ofTCP(remote.AddrPort(), local.AddrPort())
		if err != nil {
			return Peer{}, err
		}
		// Who is there now is who was there all the time only if the connection is still
		// up: else it may be another one, at the same addresses.
		if !isUp(c) {
			return Peer{}, fmt.Errorf("%w: the connection has ended", ErrUnknown)
		}
		return p, nil
	}
	return Peer{}, fmt.Errorf("%w: %T is no socket", ErrUnknown, conn)
}
