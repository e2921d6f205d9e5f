package tcptunnel

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel/carrier"
	"github.com/sallyport-mesh/sallyport/gateway/mux"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// readBuffer holds the longest frame, and several of the usual ones.
const readBuffer = 128 << 10

// readLoop takes frames until the connection ends. It never waits for anything
// else, so that two ends cannot wait for each other.
func (c *conn) readLoop() {
	r := bufio.NewReaderSize(c.nc, readBuffer)
	for {
		if err := c.readFrame(r); err != nil {
			c.readFailed(err)
			return
		}
	}
}

func (c *conn) readFrame(r *bufio.Reader) error {
	head, err := r.Peek(mux.HeaderLen)
	if err != nil {
		return truncated(err, len(head))
	}
	h, err := mux.ParseHeader(head)
	if err != nil {
		return err
	}
	if h.Type == mux.Data {
		return c.readData(r, h)
	}
	frame, err := r.Peek(mux.HeaderLen + h.Length)
	if err != nil {
		return truncated(err, len(frame))
	}
	if err := c.receive(h, frame[mux.HeaderLen:]); err != nil {
		return err
	}
	_, err = r.Discard(len(frame))
	return err
}

// readData hands a frame's payload on as it comes: a frame may be longer than
// what arrives at a time.
func (c *conn) readData(r *bufio.Reader, h mux.Header) error {
	e, err := c.account(h, nil, nil)
	if err != nil {
		return err
	}
	r.Discard(mux.HeaderLen) //nolint:errcheck // it was there
	for left := h.Length; ; {
		if left > 0 && r.Buffered() == 0 {
			if _, err := r.Peek(1); err != nil {
				return truncated(err, mux.HeaderLen)
			}
		}
		piece, _ := r.Peek(min(left, r.Buffered()))
		left -= len(piece)
		if e.Kind == mux.Arrived {
			e.Stream.User.take(piece, e.Fin && left == 0)
		}
		r.Discard(len(piece)) //nolint:errcheck // it was there
		if left == 0 {
			return nil
		}
	}
}

// truncated tells an end between frames from one inside a frame.
func truncated(err error, got int) error {
	if got > 0 && errors.Is(err, io.EOF) {
		return &mux.FaultError{Reason: mux.Truncated, Detail: fmt.Sprintf("after %d bytes", got)}
	}
	return err
}

func (c *conn) readFailed(err error) {
	var fault *mux.FaultError
	c.mu.Lock()
	unsent := c.out.failed
	c.mu.Unlock()
	switch {
	case unsent != nil:
		c.end(unsent, 0)
	case errors.As(err, &fault):
		if c.guard.Broke != nil {
			c.guard.Broke(fault)
		}
		c.end(fmt.Errorf("peer broke the protocol: %w", fault), fault.Reason)
	case errors.Is(err, io.EOF):
		c.end(fmt.Errorf("peer closed the connection: %w", net.ErrClosed), 0)
	default:
		c.end(fmt.Errorf("read: %w", err), 0)
	}
}

// receive takes one frame, not of data. The payload is used until it returns.
func (c *conn) receive(h mux.Header, payload []byte) error {
	var header *crossingv1.Header
	if h.Type == mux.Open {
		var err error
		if header, err = carrier.DecodeHeader(h.Stream, payload); err != nil {
			return err
		}
	}
	_, err := c.account(h, payload, header)
	return err
}

// account does what belongs to mu.
func (c *conn) account(h mux.Header, payload []byte, header *crossingv1.Header) (mux.Event[stream], error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause != nil {
		return mux.Event[stream]{}, c.cause
	}
	e, err := c.mux.Receive(h, payload)
	if err != nil {
		return e, err
	}
	c.probes.heard = true
	c.grant(0, e.Grant)
	c.apply(&e, header)
	if c.out.broken {
		c.out.pending = c.out.pending[:0] // nobody will write it
	}
	if len(c.out.pending) > outHard {
		return e, &mux.FaultError{Reason: mux.Flood, Type: h.Type, Stream: h.Stream}
	}
	return e, nil
}

// apply does what an event asks for. The caller holds mu.
func (c *conn) apply(e *mux.Event[stream], header *crossingv1.Header) {
	switch e.Kind {
	case mux.Arrived:
		c.carried(&e.Stream.User, e.Length)
	case mux.Opened:
		c.opened(e.Stream, header)
	case mux.Refused:
		c.refuse(e.ID)
	case mux.WasReset:
		c.wasReset(e.Stream, tunnel.ResetCode(e.Code))
	case mux.Credited:
		c.credited(e.Stream)
	case mux.Asked:
		c.out.pending = mux.AppendPong(c.out.pending, mux.Probe{Opaque: e.Probe.Opaque, Clock: time.Now()})
		c.kick()
	case mux.Answered:
		c.probes.answered(e.Probe, time.Now())
		c.mux.Tune(c.probes.roundTrip, c.limits.LargestWindow)
		c.agreed = c.agreed || c.idle != nil && e.Probe.Opaque == c.last
	case mux.GoingAway:
		c.goingAway(e)
	}
	c.checkIdle()
}

// opened puts a new stream where Accept finds it. Streams that were reset count
// in the backlog until they are accepted: a peer that opens and resets without
// end gets no further than one that only opens.
func (c *conn) opened(state *mux.Stream[stream], header *crossingv1.Header) {
	if c.backlog.len() >= int(c.limits.Streams) {
		c.mux.Reset(state)
		c.refuse(state.ID())
		return
	}
	s := c.newStream(state, header)
	c.backlog.push(s)
	c.hasten(s)
	signal(c.accept)
}

func (c *conn) refuse(id uint32) {
	c.out.pending = mux.AppendReset(c.out.pending, id, uint32(tunnel.Refused))
	c.kick()
}

// wasReset ends a stream that the peer has reset.
func (c *conn) wasReset(state *mux.Stream[stream], code tunnel.ResetCode) {
	s := &state.User
	s.fail(&tunnel.ResetError{Code: code, Remote: true}, code.AtOnce())
	if code.AtOnce() && !state.Received() {
		c.grant(0, c.mux.Discard(state))
	}
}

// credited lets those go on who waited for credit.
func (c *conn) credited(state *mux.Stream[stream]) {
	if state != nil && len(state.User.data) > 0 {
		c.out.queue(&state.User).push(&state.User)
	}
	c.fill()
	if len(c.out.pending) > 0 {
		c.kick()
	}
}

// goingAway takes a GOAWAY. With any reason but Draining the peer ends the
// tunnel, and streams that it never took end with it as if it were lost: nobody
// refused them.
func (c *conn) goingAway(e *mux.Event[stream]) {
	if e.Reason == mux.Draining {
		return
	}
	c.mux.Streams(func(s *mux.Stream[stream]) {
		if c.mine(s.ID()) && s.ID() > e.Last {
			c.mux.Reset(s)
			s.User.fail(&tunnel.ResetError{Code: tunnel.TunnelClosed, Remote: true}, false)
		}
	})
	c.endLocked(fmt.Errorf("peer closed the tunnel: %s: %w", e.Reason, net.ErrClosed), 0)
}

func (c *conn) mine(id uint32) bool { return (id%2 == 1) == c.info.Dialed }
