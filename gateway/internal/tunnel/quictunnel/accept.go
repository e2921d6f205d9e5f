package quictunnel

import (
	"context"
	"errors"

	"github.com/quic-go/quic-go"

	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	"github.com/sallyport-mesh/sallyport/gateway/mux"
)

// acceptLoop takes streams that the peer opens until the connection ends. Their
// headers are read apart from one another, so that a lost packet holds up one.
func (c *conn) acceptLoop() {
	for {
		qs, err := c.qc.AcceptStream(context.Background())
		if err != nil {
			return // watch says why
		}
		if s := c.take(qs); s != nil {
			c.ended.Go(s.opening)
		} else {
			refuse(qs)
		}
	}
}

// take counts a stream, before anything of it was read. It gives nil if the
// tunnel has ended here: the peer may open it elsewhere.
func (c *conn) take(qs *quic.Stream) *stream {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.taken++
	if c.cause != nil {
		return nil
	}
	opening := make(chan struct{}, 1)
	opening <- struct{}{} // is its first reader
	s := newStream(c, qs, opening)
	c.streams[s] = struct{}{}
	c.stir()
	return s
}

func refuse(qs *quic.Stream) {
	qs.CancelRead(quic.StreamErrorCode(tunnel.Refused))
	qs.CancelWrite(quic.StreamErrorCode(tunnel.Refused))
}

// opening reads the crossing's header and puts the stream where Accept finds it.
// One that is reset before that was never there.
func (s *stream) opening() {
	header, err := readOpening(s.qs, s.qs.StreamID())
	s.header = header
	<-s.reader
	var fault *mux.FaultError
	switch {
	case errors.As(err, &fault):
		s.c.broke(err)
	case err != nil:
		s.readFailed(err) //nolint:errcheck // nobody has it yet
	case !s.c.queue(s):
		s.Reset(tunnel.Refused)
	}
}

// queue adds a stream to the backlog. Streams that were reset count there until
// they are accepted: a peer that opens and resets without end gets no further
// than one that only opens.
func (c *conn) queue(s *stream) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause != nil {
		return true // it was reset with the others
	}
	if len(c.backlog) >= int(c.limits.Streams) {
		return false
	}
	c.backlog = append(c.backlog, s)
	signal(c.accept)
	return true
}
