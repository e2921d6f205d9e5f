package quictunnel

import (
	"errors"
	"net"
	"sync"
	"syscall"

	"golang.org/x/net/ipv4"
)

// socket is a UDP socket that a path which is cut for a while does not break:
// an error that says so counts as a lost packet, for the QUIC library ends the
// connection at any error. It passes on what the library needs for batches,
// segmentation offload and path MTU discovery.
type socket struct {
	*net.UDPConn
	batch    *ipv4.PacketConn // reads IPv6 as well
	once     sync.Once        // closes retired
	retired  chan struct{}    // closed when the descriptor is not used any more
	finished chan struct{}    // closed when its readers are to end, too
}

func newSocket(conn *net.UDPConn) *socket {
	return &socket{
		UDPConn: conn, batch: ipv4.NewPacketConn(conn),
		retired: make(chan struct{}), finished: make(chan struct{}),
	}
}

// openSocket binds HOST:PORT.
func openSocket(addr string) (*socket, error) {
	local, err := net.ResolveUDPAddr("udp", addr)
	if err != nil {
		return nil, err
	}
	conn, err := net.ListenUDP("udp", local)
	if err != nil {
		return nil, err
	}
	return newSocket(conn), nil
}

// retire gives the descriptor back and leaves the reader waiting: the library
// ends every connection that ever used a transport with it.
func (s *socket) retire() {
	s.once.Do(func() {
		close(s.retired)
		s.UDPConn.Close() //nolint:errcheck // what was left needs no closing
	})
}

// Close implements net.PacketConn. It is called once.
func (s *socket) Close() error {
	close(s.finished)
	s.retire()
	return nil
}

// ReadBatch implements what the library looks for beside net.PacketConn.
func (s *socket) ReadBatch(ms []ipv4.Message, flags int) (int, error) {
	n, err := s.batch.ReadBatch(ms, flags)
	if err != nil && isClosed(s.retired) {
		<-s.finished
	}
	return n, err
}

// WriteMsgUDP implements quic.OOBCapablePacketConn.
func (s *socket) WriteMsgUDP(b, oob []byte, addr *net.UDPAddr) (n, oobn int, err error) {
	n, oobn, err = s.UDPConn.WriteMsgUDP(b, oob, addr)
	if err != nil && (passes(err) || isClosed(s.retired)) {
		return len(b), len(oob), nil
	}
	return n, oobn, err
}

// passes says whether an error of sending may be gone with the next packet.
func passes(err error) bool {
	var no syscall.Errno
	if !errors.As(err, &no) {
		return false
	}
	switch no { //nolint:exhaustive // all others stay
	case syscall.ENETUNREACH, syscall.EHOSTUNREACH, syscall.ENETDOWN, syscall.EHOSTDOWN,
		syscall.EADDRNOTAVAIL, syscall.ENOBUFS, syscall.EPERM, syscall.EACCES:
		return true
	}
	return false
}

func isClosed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}
