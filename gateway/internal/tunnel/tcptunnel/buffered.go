package tcptunnel

import "github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"

var _ tunnel.Buffered = (*stream)(nil)

// Buffered implements tunnel.Buffered.
func (s *stream) Buffered() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.in.Len()
}
