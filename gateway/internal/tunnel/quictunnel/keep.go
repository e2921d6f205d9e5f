package quictunnel

import (
	"errors"
	"io"

	"github.com/quic-go/quic-go"

	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
)

// A connection's end takes with it what has arrived on its streams and was not
// read yet. So once an end has said GOAWAY, whatever the peer has ended in order
// is read into memory: the windows bound it, and it was in memory before.

// ending runs when the peer's direction has ended: in order, or by a reset that
// nobody may be reading to notice.
func (s *stream) ending() {
	s.mu.Lock()
	s.finKnown = true
	s.mu.Unlock()
	if s.c.leaving.Load() {
		s.keep()
		return
	}
	var reset *quic.StreamError
	if _, err := s.qs.Peek(make([]byte, 1)); errors.As(err, &reset) && reset.Remote {
		s.readFailed(err) //nolint:errcheck // whoever reads next gets it
	}
}

// keepEnded does so for a stream that may have ended before the GOAWAY.
func (s *stream) keepEnded() {
	s.mu.Lock()
	known := s.finKnown
	s.mu.Unlock()
	if known {
		s.keep()
	}
}

// keep reads to the end of the peer's direction. What came before a reset is kept
// like the rest, and the stream is over for the tunnel.
func (s *stream) keep() {
	s.reader <- struct{}{}
	defer func() { <-s.reader }()
	if s.whole || s.readable() != nil {
		return
	}
	rest, err := io.ReadAll(struct{ io.Reader }{s.qs})
	var reset *quic.StreamError
	if err != nil && (len(rest) == 0 || !errors.As(err, &reset) || !reset.Remote) {
		s.readFailed(err) //nolint:errcheck // whoever reads next gets it
		return
	}
	s.rest, s.whole, s.cut = rest, true, err
	if err != nil {
		s.wasReset(resetOf(err)) //nolint:errcheck // it is in cut
		s.c.remove(s)
		return
	}
	s.mu.Lock()
	s.arrived = true
	settled := s.ended || s.reset != nil
	s.mu.Unlock()
	if settled {
		s.c.remove(s)
	}
}

// lost resets the stream because its tunnel has ended. What the peer had ended
// in order is whole and can still be read.
func (s *stream) lost() {
	s.mu.Lock()
	first := s.reset == nil
	if first {
		s.reset = &tunnel.ResetError{Code: tunnel.TunnelClosed}
	}
	known := s.finKnown || s.arrived
	if !known && s.recvErr == nil {
		s.recvErr = s.reset
	}
	s.mu.Unlock()
	if first {
		s.breakOff(tunnel.TunnelClosed)
	}
	if !known {
		s.qs.CancelRead(quic.StreamErrorCode(tunnel.TunnelClosed))
	}
	s.finish(!known)
	if known {
		s.keep()
	}
}
