//go:build unix

package upstream

import "golang.org/x/sys/unix"

func (s *socket) peek(fd uintptr) {
	var one [1]byte
	_, _, err := unix.Recvfrom(int(fd), one[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
	s.quiet = err == unix.EAGAIN
}
