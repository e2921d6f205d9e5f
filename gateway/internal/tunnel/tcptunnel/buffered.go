package tcptunnel

import "github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"

var _ tunnel.Buffered = (*stream)(nil)

// Buffered implements tunnel.Buffered.
func (s *stream) Buffered() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for b := s.in.first; b != nil; b = b.next {
		n += b.w - b.r
	}
	return n
}
