//go:build !linux

package attest

import (
	"fmt"
	"runtime"
)

// supported: where there is no /proc that can be trusted, a user is all that is
// known.
func supported(k Kind) error {
	if k == UID {
		return nil
	}
	return fmt.Errorf("%s cannot be attested on %s, only unix:uid can", k, runtime.GOOS)
}

// look is one look at a peer.
type look struct {
	peer  *Peer
	found Process
}

func (l *look) open() error    { return supported(Path) }
func (l *look) close()         {}
func (l *look) confirm() error { return nil }
func (l *look) groups() error  { return supported(SupplementaryGID) }
func (l *look) cgroup() error  { return supported(Cgroup) }
func (l *look) program() error { return supported(Path) }
func (l *look) digest() error  { return supported(SHA256) }
