package capture

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/sallyport-mesh/sallyport/certs/localpeer"
)

// Transparent lets a TCP listener take connections that were made to other
// addresses, which the packet filter hands to it.
func Transparent(l net.Listener) error {
	tcp, ok := l.(*net.TCPListener)
	if !ok {
		return fmt.Errorf("capture: %T is no TCP listener", l)
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = transparent(int(fd)) }); err != nil {
		return err
	}
	if errors.Is(inner, unix.EPERM) {
		return fmt.Errorf("capture at %s: IP_TRANSPARENT needs CAP_NET_RAW, as by AmbientCapabilities= and CapabilityBoundingSet= in the unit: %w", l.Addr(), inner)
	}
	return inner
}

// transparent asks first: a socket that was handed over has it already.
func transparent(fd int) error {
	domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil {
		return err
	}
	level, option := unix.SOL_IP, unix.IP_TRANSPARENT
	if domain == unix.AF_INET6 {
		level, option = unix.SOL_IPV6, unix.IPV6_TRANSPARENT
	}
	if is, err := unix.GetsockoptInt(fd, level, option); err == nil && is == 1 {
		return nil
	}
	return unix.SetsockoptInt(fd, level, option, 1)
}

// cgroupRoot is where cgroups of version 2 are: alone, or beside those of version 1.
func cgroupRoot() (string, error) {
	for _, at := range [...]string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		var fs unix.Statfs_t
		if unix.Statfs(at, &fs) == nil && fs.Type == unix.CGROUP2_SUPER_MAGIC {
			return at, nil
		}
	}
	return "", errors.New("capture: there are no cgroups (v2) at /sys/fs/cgroup")
}

// inCgroup says whether a process's socket was opened in that very cgroup. It looks
// each time: a service that is restarted has a new one at the same path.
func inCgroup(p localpeer.Peer, root, cgroup string) bool {
	var dir unix.Stat_t
	return p.Cgroup != 0 && unix.Stat(filepath.Join(root, cgroup), &dir) == nil && dir.Ino == p.Cgroup
}
