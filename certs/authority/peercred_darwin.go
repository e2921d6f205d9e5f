package authority

import (
	"net"

	"golang.org/x/sys/unix"
)

// peerUID asks the kernel for the user of the process that connected.
func peerUID(conn *net.UnixConn) (uid uint32, err error) {
	err = control(conn, func(fd int) error {
		cred, err := unix.GetsockoptXucred(fd, unix.SOL_LOCAL, unix.LOCAL_PEERCRED)
		if err == nil {
			uid = cred.Uid
		}
		return err
	})
	return uid, err
}
