//go:build unix

package tcptunnel

import (
	"errors"
	"net"
	"syscall"

	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
)

var _ tunnel.Relayer = (*stream)(nil)

// Relay implements tunnel.Relayer.
func (s *stream) Relay(local *net.TCPConn, code tunnel.ResetCode, count *tunnel.Count, done func(tunnel.Relayed)) {
	r, err := newRelay(s, local, code, count, done)
	if err != nil {
		s.Reset(code)
		done(tunnel.Relayed{Local: err})
		return
	}
	s.header = nil
	s.attach(r)
	go r.carry()
}

// writeNow writes as much as the local connection takes at once.
func (r *relay) writeNow(fd uintptr) bool {
	for r.n < len(r.p) {
		n, err := syscall.Write(int(fd), r.p[r.n:])
		switch {
		case n > 0:
			r.n += n
		case errors.Is(err, syscall.EINTR):
		case errors.Is(err, syscall.EAGAIN):
			return true
		default:
			r.err = err
			return true
		}
	}
	return true
}

// readNow reads what there is.
func readNow(fd uintptr, p []byte) (int, error) { return syscall.Read(int(fd), p) }
