package localmesh

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"syscall"
)

// A part of the mesh is found again where it was, after a restart and in the
// files of those who run a gateway themselves. Its ports are not of the range
// from which a system gives any port to whoever asks for one (from 32768 on
// Linux, from 49152 on macOS): one of those may be gone while nobody listens.
const (
	firstPort = 20_000
	lastPort  = 32_767
)

// tries bounds how often something else than what just failed is tried.
const tries = 100

// freeAddress is a loopback address that nobody listens on now, and that this
// mesh has given to none of its parts.
func (m *Mesh) freeAddress() (string, error) {
	var taken error
	for range tries {
		at := fmt.Sprintf("127.0.0.1:%d", firstPort+rand.IntN(lastPort-firstPort+1))
		if m.given[at] {
			continue
		}
		l, err := net.Listen("tcp", at)
		if err != nil {
			taken = err
			continue
		}
		m.given[at] = true
		return at, l.Close()
	}
	return "", fmt.Errorf("find a free port: %w", taken)
}

// atFreeAddresses starts a part at n free addresses, and at others if somebody
// took one of them meanwhile.
func (m *Mesh) atFreeAddresses(n int, start func(at []string) error) error {
	for try := 1; ; try++ {
		at := make([]string, n)
		for i := range at {
			var err error
			if at[i], err = m.freeAddress(); err != nil {
				return err
			}
		}
		if err := start(at); try == tries || !errors.Is(err, syscall.EADDRINUSE) {
			return err
		}
	}
}
