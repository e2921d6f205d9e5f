//go:build !linux && !darwin

package attest

import (
	"fmt"
	"runtime"
)

// credentials refuse everybody where the kernel cannot be asked.
func (p *Peer) credentials(int) error {
	return fmt.Errorf("peers of Unix sockets are unknown on %s", runtime.GOOS)
}
