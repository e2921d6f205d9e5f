//go:build unix

package tcptunnel

import (
	"errors"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
)

var _ tunnel.Relayer = (*stream)(nil)

// Relay implements tunnel.Relayer.
func (s *stream) Relay(local *net.TCPConn, code tunnel.ResetCode) tunnel.Relayed {
	r, err := newRelay(local, code)
	if err == nil {
		err = local.SetDeadline(time.Time{})
	}
	if err != nil {
		s.Reset(code)
		return tunnel.Relayed{Local: err}
	}
	s.header = nil
	s.attach(r)
	o := outgoing{s: s}
	if err := r.raw.Read(o.read); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		o.local = err
	}
	if o.local == nil && o.err == nil && s.CloseWrite() == nil {
		<-s.done // the other direction goes on
	}
	if o.local != nil {
		s.Reset(code)
	}
	s.detach(r)
	return s.outcome(r, &o)
}

// outcome says how the relay ended. Whoever failed first made the other one
// fail.
func (s *stream) outcome(r *relay, o *outgoing) tunnel.Relayed {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	end := tunnel.Relayed{Sent: o.sent, Received: r.received}
	switch {
	case s.reset != nil && s.reset.Code != r.code:
		end.Stream = s.reset
	case o.local != nil:
		end.Local = o.local
	case r.err != nil && !errors.Is(r.err, os.ErrDeadlineExceeded):
		end.Local = r.err
	case s.reset != nil:
		end.Stream = s.reset
	case o.err != nil:
		end.Stream = o.err
	}
	return end
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
