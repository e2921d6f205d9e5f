//go:build !linux

package capture

import (
	"errors"
	"fmt"
	"net"
	"runtime"

	"github.com/sallyport-mesh/sallyport/certs/localpeer"
)

// Transparent fails: no other system than Linux hands connections over so.
func Transparent(net.Listener) error {
	return fmt.Errorf("capture on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}

func cgroupRoot() (string, error) {
	return "", fmt.Errorf("cgroups on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}

func inCgroup(localpeer.Peer, string, string) bool { return false }
