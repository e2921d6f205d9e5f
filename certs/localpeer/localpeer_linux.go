package localpeer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

func ofUnix(conn *net.UnixConn) (Peer, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return Peer{}, err
	}
	var cred *unix.Ucred
	var inner error
	if err := raw.Control(func(fd uintptr) {
		cred, inner = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return Peer{}, err
	}
	if inner != nil {
		return Peer{}, fmt.Errorf("%w: %w", ErrUnknown, inner)
	}
	return Peer{UID: cred.Uid}, nil
}

// What sock_diag(7) speaks: linux/inet_diag.h and linux/netlink.h. Numbers are in
// the host's order, ports and addresses in the network's.
const (
	requestSize  = 16 + 56 // nlmsghdr, inet_diag_req_v2
	answerSize   = 72      // inet_diag_msg
	stateAt      = 1       // in an inet_diag_msg, as the next ones
	socketAt     = 4       // an inet_diag_sockid: ports, then addresses
	uidAt        = 64
	inodeAt      = 68
	cgroupID     = 21      // INET_DIAG_CGROUP_ID, a u64
	roomOfAnswer = 4 << 10 // one socket's attributes are a few hundred bytes
)

// ofTCP asks for the socket whose own address is peer, in this network namespace.
func ofTCP(peer, own netip.AddrPort) (Peer, error) {
	// A socket for each question: a goroutine that shares one would have to tell
	// its answer from others'.
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return Peer{}, os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd) //nolint:errcheck // nothing is in it
	kernel := &unix.SockaddrNetlink{Family: unix.AF_NETLINK}
	if err := unix.Sendto(fd, question(peer, own), 0, kernel); err != nil {
		return Peer{}, os.NewSyscallError("sendto", err)
	}
	room := make([]byte, roomOfAnswer)
	n, from, err := unix.Recvfrom(fd, room, 0)
	if err != nil {
		return Peer{}, os.NewSyscallError("recvfrom", err)
	}
	if a, ok := from.(*unix.SockaddrNetlink); !ok || a.Pid != 0 {
		return Peer{}, fmt.Errorf("%w: somebody else than the kernel answered", ErrUnknown)
	}
	return parseAnswer(room[:n], peer, own)
}

// question is a SOCK_DIAG_BY_FAMILY request for one socket.
func question(peer, own netip.AddrPort) []byte {
	family := byte(unix.AF_INET6)
	if peer.Addr().Unmap().Is4() {
		family = unix.AF_INET
	}
	b := make([]byte, 0, requestSize)
	b = binary.NativeEndian.AppendUint32(b, requestSize)
	b = binary.NativeEndian.AppendUint16(b, unix.SOCK_DIAG_BY_FAMILY)
	b = binary.NativeEndian.AppendUint16(b, unix.NLM_F_REQUEST)
	b = append(b, make([]byte, 8)...) // sequence and sender
	b = append(b, family, unix.IPPROTO_TCP, 0, 0)
	b = binary.NativeEndian.AppendUint32(b, ^uint32(0)) // in any state
	b = binary.BigEndian.AppendUint16(b, peer.Port())
	b = binary.BigEndian.AppendUint16(b, own.Port())
	b = appendAddress(b, peer.Addr())
	b = appendAddress(b, own.Addr())
	b = binary.NativeEndian.AppendUint32(b, 0)             // by any interface
	return binary.NativeEndian.AppendUint64(b, ^uint64(0)) // INET_DIAG_NOCOOKIE
}

func appendAddress(b []byte, a netip.Addr) []byte {
	if a = a.Unmap(); a.Is4() {
		v4 := a.As4()
		return append(append(b, v4[:]...), make([]byte, 12)...)
	}
	v6 := a.As16()
	return append(b, v6[:]...)
}

var errAnswer = errors.New("answer of sock_diag is cut short")

// parseAnswer takes one netlink message: an error, or an inet_diag_msg with
// attributes. It must be about the socket that was asked for.
func parseAnswer(b []byte, peer, own netip.AddrPort) (Peer, error) {
	if len(b) < unix.SizeofNlMsghdr {
		return Peer{}, errAnswer
	}
	length, kind := int(binary.NativeEndian.Uint32(b)), binary.NativeEndian.Uint16(b[4:])
	if length < unix.SizeofNlMsghdr || length > len(b) {
		return Peer{}, errAnswer
	}
	b = b[unix.SizeofNlMsghdr:length]
	if kind == unix.NLMSG_ERROR {
		if len(b) < 4 {
			return Peer{}, errAnswer
		}
		return Peer{}, fmt.Errorf("%w: %w", ErrUnknown, unix.Errno(-int32(binary.NativeEndian.Uint32(b))))
	}
	if kind != unix.SOCK_DIAG_BY_FAMILY || len(b) < answerSize {
		return Peer{}, errAnswer
	}
	return ownerOf(b, peer, own)
}

// ownerOf reads an inet_diag_msg. A socket that no process has open any more has no
// inode; in TIME_WAIT it is told as user 0's, and by older kernels always. Where there
// is no such connection at all, the answer is about a socket that listens at the
// peer's port.
func ownerOf(b []byte, peer, own netip.AddrPort) (Peer, error) {
	if p, o := socketOf(b); p != plain(peer) || o != plain(own) || !connected(b[stateAt]) {
		return Peer{}, fmt.Errorf("%w: there is no such socket", ErrUnknown)
	}
	if binary.NativeEndian.Uint32(b[inodeAt:]) == 0 {
		return Peer{}, fmt.Errorf("%w: it was closed", ErrUnknown)
	}
	return Peer{UID: binary.NativeEndian.Uint32(b[uidAt:]), Cgroup: cgroupOf(b[answerSize:])}, nil
}

// connected says that a socket's connection was made, and is up, in a state of
// linux/tcp_states.h. Each end may have said all.
func connected(state byte) bool {
	switch state {
	case unix.BPF_TCP_ESTABLISHED, unix.BPF_TCP_FIN_WAIT1, unix.BPF_TCP_FIN_WAIT2, unix.BPF_TCP_CLOSE_WAIT, unix.BPF_TCP_CLOSING, unix.BPF_TCP_LAST_ACK:
		return true
	}
	return false
}

// isUp says that a connection was not lost.
func isUp(c *net.TCPConn) bool {
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	var info *unix.TCPInfo
	if err := raw.Control(func(fd uintptr) { info, err = unix.GetsockoptTCPInfo(int(fd), unix.SOL_TCP, unix.TCP_INFO) }); err != nil {
		return false
	}
	return err == nil && connected(info.State)
}

// socketOf is the address of an answer's socket, and of what it is connected to.
func socketOf(b []byte) (peer, own netip.AddrPort) {
	id := b[socketAt:]
	return addrPort(b[0], id[:2], id[4:20]), addrPort(b[0], id[2:4], id[20:36])
}

func addrPort(family byte, port, addr []byte) netip.AddrPort {
	if family == unix.AF_INET {
		addr = addr[:4] // the kernel leaves what is beyond as it is
	}
	a, _ := netip.AddrFromSlice(addr)
	return netip.AddrPortFrom(a.Unmap(), binary.BigEndian.Uint16(port))
}

// plain is an address as the kernel tells it.
func plain(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
}

// cgroupOf looks for the cgroup among attributes.
func cgroupOf(b []byte) uint64 {
	const align = 4
	for len(b) >= unix.SizeofNlAttr {
		length, kind := int(binary.NativeEndian.Uint16(b)), binary.NativeEndian.Uint16(b[2:])
		if length < unix.SizeofNlAttr || length > len(b) {
			return 0
		}
		if kind == cgroupID && length == unix.SizeofNlAttr+8 {
			return binary.NativeEndian.Uint64(b[unix.SizeofNlAttr:])
		}
		b = b[min((length+align-1)&^(align-1), len(b)):]
	}
	return 0
}
