package attest

import "golang.org/x/sys/unix"

// credentials are LOCAL_PEERCRED: those of the process that connected, then.
func (p *Peer) credentials(fd int) error {
	c, err := unix.GetsockoptXucred(fd, unix.SOL_LOCAL, unix.LOCAL_PEERCRED)
	if err != nil {
		return err
	}
	p.uid = c.Uid
	return nil
}
