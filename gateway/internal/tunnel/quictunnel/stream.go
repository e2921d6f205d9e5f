package quictunnel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"
	"go.uber.org/zap"

	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel/carrier"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// shortOpening is what the library takes at once, whatever else is on its way.
const shortOpening = 1200

// stream is one stream. A QUIC stream is two halves that know nothing of each
// other; this makes one thing of them.
type stream struct {
	c      *conn
	qs     *quic.Stream
	header *crossingv1.Header
	done   chan struct{}
	once   sync.Once // closes done
	volume *carrier.Volume
	wrote  atomic.Bool // something of this end's direction

	writing sync.Mutex // held by who writes

	reader chan struct{} // holds one token for who reads; guards what follows
	rest   []byte        // what was kept when the tunnel went
	whole  bool          // rest is all there is before the end
	cut    error         // which is a reset, if this is not nil

	mu       sync.Mutex  // guards what follows
	unwatch  func() bool // stops waiting for the peer's STOP_SENDING
	reset    *tunnel.ResetError
	recvErr  *tunnel.ResetError // the same, once reading fails with it
	ended    bool               // CloseWrite was called
	finKnown bool               // the peer's direction has ended, one way or the other
	arrived  bool               // all of it is here
	eofRead  bool               // and Read said so
}

var _ tunnel.Interruptible = (*stream)(nil)

// newStream makes a stream of the one that QUIC has. The channel reader is full
// if somebody is to read it before anybody else may.
func newStream(c *conn, qs *quic.Stream, reader chan struct{}) *stream {
	s := &stream{c: c, qs: qs, done: make(chan struct{}), reader: reader, volume: carrier.NewVolume()}
	s.mu.Lock() // the peer may have stopped it already: stopped then waits for unwatch
	s.unwatch = context.AfterFunc(qs.Context(), s.stopped)
	s.mu.Unlock()
	qs.SetReceiveFinalSizeCallback(func(int64) { c.ended.Go(s.ending) })
	return s
}

// begin sends the opening. One that fits into a packet does not wait.
func (s *stream) begin(ctx context.Context, opening []byte) error {
	s.wrote.Store(true)
	if len(opening) <= shortOpening {
		if _, err := s.qs.Write(opening); err != nil {
			return s.writeFailed(err)
		}
		return nil
	}
	stop := context.AfterFunc(ctx, func() { s.qs.SetWriteDeadline(past) }) //nolint:errcheck // writing says what is wrong
	_, err := s.qs.Write(opening)
	switch {
	case !stop():
		return ctx.Err()
	case err != nil:
		return s.writeFailed(err)
	}
	return nil
}

// Header implements tunnel.Stream.
func (s *stream) Header() *crossingv1.Header { return s.header }

// Done implements tunnel.Stream. The peer's direction has ended when Read said
// so: what has arrived and is not read yet is not lost on those who wait here.
func (s *stream) Done() <-chan struct{} { return s.done }

// finish tells those who wait for Done, and lets the tunnel forget the stream
// unless the peer's direction, which it had ended in order, is still to be read.
func (s *stream) finish(forget bool) {
	s.once.Do(func() { close(s.done) })
	if forget {
		s.c.remove(s)
	}
}

// Write implements tunnel.Stream. It returns when all of p is on its way; p is
// not used afterwards.
func (s *stream) Write(p []byte) (int, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := s.writable(); err != nil {
		return 0, err
	}
	s.wrote.Store(true)
	n, err := s.qs.Write(p)
	s.carried(n)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		if err := s.writable(); err != nil { // Reset has set the deadline
			return n, err
		}
		return n, tunnel.ErrInterrupted
	case err != nil:
		return n, s.writeFailed(err)
	}
	return n, nil
}

// Interrupt implements tunnel.Interruptible.
func (s *stream) Interrupt() { s.setDeadline(past) }

// Resume implements tunnel.Interruptible.
func (s *stream) Resume() { s.setDeadline(time.Time{}) }

// setDeadline sets that of writes, unless the stream was reset: then it is the
// reset's own.
func (s *stream) setDeadline(t time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reset == nil {
		s.qs.SetWriteDeadline(t) //nolint:errcheck // it never fails
	}
}

// carried counts bytes, and turns the tunnel bulk if they are too many.
func (s *stream) carried(n int) {
	c := s.c
	if s.volume.Add(n) && !c.bulk.Swap(true) && c.info.Class == tunnel.Interactive {
		c.log.Info("tunnel turns bulk", zap.Stringer("peer", c.info.Peer), zap.Bool("dialed", c.info.Dialed))
	}
}

var errEnded = fmt.Errorf("write after the end of the stream: %w", net.ErrClosed)

func (s *stream) writable() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reset != nil {
		return s.reset
	}
	if s.ended {
		return errEnded
	}
	return nil
}

// writeFailed gives an error of the library its meaning.
func (s *stream) writeFailed(err error) error {
	if errors.Is(err, quic.ErrStreamClosed) {
		return errEnded
	}
	return s.wasReset(resetOf(err))
}

// CloseWrite implements tunnel.Stream. A second call does nothing.
func (s *stream) CloseWrite() error {
	s.mu.Lock()
	if s.reset != nil || s.ended {
		defer s.mu.Unlock()
		if s.reset != nil {
			return s.reset
		}
		return nil
	}
	s.ended = true
	unwatch, over, settled := s.unwatch, s.eofRead, s.arrived
	s.mu.Unlock()
	unwatch()
	if err := s.qs.Close(); err != nil { // the peer's STOP_SENDING came first
		return s.wasReset(resetOf(context.Cause(s.qs.Context())))
	}
	if over {
		s.finish(true)
	} else if settled {
		s.c.remove(s)
	}
	return nil
}

// Reset implements tunnel.Stream. It never waits. What was written before still
// arrives.
func (s *stream) Reset(code tunnel.ResetCode) {
	s.mu.Lock()
	if s.ended && s.arrived {
		s.mu.Unlock()
		return
	}
	first := s.reset == nil
	if first {
		s.reset = &tunnel.ResetError{Code: code}
	}
	if s.recvErr == nil {
		s.recvErr = s.reset
	}
	s.mu.Unlock()
	if first {
		s.breakOff(code)
	}
	s.qs.CancelRead(quic.StreamErrorCode(code))
	s.finish(true)
}

// wasReset takes note that the peer reset the stream, or that the tunnel was
// lost, as far as writing tells. Reading fails by itself, or goes on to the end
// if the peer had ended its direction in order.
func (s *stream) wasReset(r *tunnel.ResetError) error {
	s.mu.Lock()
	first := s.reset == nil
	if first {
		s.reset = r
	}
	r = s.reset
	arrived := s.arrived
	s.mu.Unlock()
	if first {
		s.cancelWrite(r.Code)
	}
	s.finish(arrived)
	return r
}

// stopped runs when the QUIC stream's sending half has ended: if the peer did
// that, nobody may be writing to notice.
func (s *stream) stopped() {
	var stop *quic.StreamError
	if err := context.Cause(s.qs.Context()); errors.As(err, &stop) && stop.Remote {
		s.wasReset(resetOf(err)) //nolint:errcheck // whoever writes next gets it
	}
}

// Read implements tunnel.Stream.
func (s *stream) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	s.reader <- struct{}{}
	defer func() { <-s.reader }()
	if err := s.readable(); err != nil {
		return 0, err
	}
	if s.whole {
		n := copy(p, s.rest)
		s.rest = s.rest[n:]
		switch {
		case n > 0:
			return n, nil
		case s.cut != nil:
			return 0, s.readFailed(s.cut)
		}
		return 0, s.sawEnd()
	}
	n, err := s.qs.Read(p)
	s.carried(n)
	switch {
	case n > 0: // the error comes again
		return n, nil
	case errors.Is(err, io.EOF):
		return 0, s.sawEnd()
	}
	return 0, s.readFailed(err)
}

func (s *stream) readable() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.recvErr != nil {
		return s.recvErr
	}
	return nil
}

// sawEnd takes note that Read gives the end.
func (s *stream) sawEnd() error {
	s.mu.Lock()
	s.arrived, s.eofRead = true, true
	over := s.ended || s.reset != nil
	s.mu.Unlock()
	if over {
		s.finish(true)
	}
	return io.EOF
}

// readFailed gives an error of the library its meaning and ends the stream.
func (s *stream) readFailed(err error) error {
	r := resetOf(err)
	s.mu.Lock()
	first := s.reset == nil
	if first {
		s.reset = r
	}
	if s.recvErr == nil {
		s.recvErr = s.reset
	}
	r = s.recvErr
	s.mu.Unlock()
	if first { // else who was first ends this end's direction
		s.cancelWrite(r.Code)
	}
	s.qs.CancelRead(quic.StreamErrorCode(r.Code))
	s.finish(true)
	return r
}
