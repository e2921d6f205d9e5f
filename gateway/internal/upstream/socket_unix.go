//go:build unix

package upstream

import "golang.org/x/sys/unix"

// peek asks for what can be read, or has ended: neither is so on a quiet socket.
func (s *socket) peek(fd uintptr) {
	events := [1]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN | unix.POLLPRI}}
	n, err := unix.Poll(events[:], 0)
	s.quiet = n == 0 && err == nil
}
