package quictunnel

import (
	"errors"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
)

// A RESET_STREAM overtakes what was written before it, and takes it back. One with
// a part to be delivered all the same (RESET_STREAM_AT, draft-ietf-quic-reliable-
// stream-reset) does not, where both ends know it. The library lets its final size
// be more than the peer has given credit for, if what was written last has not left
// yet, and the peer would then end the connection for that. So it is sent when all
// has left, or, if there is no room for that long, as one that takes back.

// lingering is how long what was written before a reset may wait for room.
const lingering = 2 * time.Second

// past interrupts who waits.
var past = time.Unix(1, 0)

// breakOff ends this end's direction, unless it has ended, because of a reset here.
func (s *stream) breakOff(code tunnel.ResetCode) {
	if !s.c.partial || !s.wrote.Load() || code.AtOnce() {
		s.cancelWrite(code)
		return
	}
	if !s.stopWatching() {
		go s.cancelBehind(code)
	}
}

// cancelWrite resets this end's direction, unless it has ended: what was written need
// not arrive any more.
func (s *stream) cancelWrite(code tunnel.ResetCode) {
	if !s.stopWatching() {
		s.qs.CancelWrite(quic.StreamErrorCode(code))
	}
}

// stopWatching does not wait for the peer's STOP_SENDING any more. It says whether
// this end's direction has ended.
func (s *stream) stopWatching() (ended bool) {
	s.mu.Lock()
	unwatch, ended := s.unwatch, s.ended
	s.mu.Unlock()
	unwatch()
	return ended
}

// cancelBehind resets this end's direction behind what was written.
func (s *stream) cancelBehind(code tunnel.ResetCode) {
	s.qs.SetWriteDeadline(past) //nolint:errcheck // it never fails
	s.writing.Lock()
	defer s.writing.Unlock()
	s.qs.SetWriteDeadline(time.Now().Add(lingering)) //nolint:errcheck // as above
	if s.left() {
		s.qs.SetReliableBoundary()
	}
	s.qs.CancelWrite(quic.StreamErrorCode(code))
}

// left waits until all that was written is in packets. There is no question for
// that: but the limit of a write is asked only when nothing stands before it, and
// one that is of nothing lets nothing through.
func (s *stream) left() bool {
	_, err := s.qs.WriteWithLimit([]byte{0}, func(int) int { return 0 })
	return errors.Is(err, quic.ErrWriteLimitReached)
}
