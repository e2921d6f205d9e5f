// Package tcptunnel carries tunnels over TCP and TLS 1.3: gateway/mux's frames
// around one connection. It decides nothing about crossings and reads no bytes
// of theirs.
//
// One invariant holds: a tunnel holds memory for its peer only within the
// windows that it announced, and a stream that nobody reads holds up no other
// one while the tunnel's window lasts.
package tcptunnel

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel/carrier"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel/parking"
	"github.com/sallyport-mesh/sallyport/gateway/mux"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// closeTimeout is how long the last frames may take to leave.
const closeTimeout = time.Second

// conn is one tunnel. Three goroutines serve it until it ends: one reads, one
// writes what the streams' own goroutines did not write themselves, one tends
// (pings, identity); a fourth wakes relays that are parked. Lock order: mu, then
// a stream's own.
type conn struct {
	nc     net.Conn
	info   tunnel.Info // what does not change
	limits carrier.Limits
	guard  carrier.Guard
	log    *zap.Logger
	accept chan struct{} // holds one signal: the backlog is not empty
	haste  chan struct{} // holds one signal: tend must look more often
	done   chan struct{}
	ended  sync.WaitGroup

	mu      sync.Mutex // guards what follows, and the sending half of each stream
	mux     *mux.Conn[stream]
	out     output
	backlog backlog
	lot     *parking.Lot // where relays wait that have nothing to do; nil until one begins
	probes  probes
	path    path    // of tend
	loss    float64 // as the path last told
	class   tunnel.Class
	// lastOpen is when a stream was opened last, and slow says that it was long ago.
	lastOpen time.Time
	slow     bool
	cause    error         // why the tunnel ended; nil while it has not
	idle     chan struct{} // closed when the tunnel has drained; nil before goAway
	last     uint64        // the PING after our GOAWAY
	agreed   bool          // and it was answered
}

var _ tunnel.Tunnel = (*conn)(nil)

// newConn makes a tunnel of a connection whose prefaces were exchanged, and
// serves it until it ends. Close waits for that.
func newConn(nc net.Conn, role mux.Role, peer mux.Settings, info tunnel.Info, l carrier.Limits, g carrier.Guard, log *zap.Logger) *conn {
	c := &conn{
		nc: nc, info: info, limits: l, guard: g, log: log,
		accept: make(chan struct{}, 1),
		haste:  make(chan struct{}, 1),
		done:   make(chan struct{}),
		mux:    mux.NewConn[stream](role, settings(l), peer),
	}
	c.info.Carrier, c.info.Dialed, c.info.Since = "TCP", role == mux.Dialler, time.Now()
	c.class = info.Class
	c.path.of(nc)
	c.out.wake.L = &c.mu
	c.ended.Go(c.readLoop)
	c.ended.Go(c.writeLoop)
	c.ended.Go(c.tend)
	return c
}

// openLot makes sure of a lot, if there can be one. The caller holds mu.
func (c *conn) openLot() *parking.Lot {
	if c.lot == nil && c.cause == nil {
		lot, err := parking.Open()
		if err != nil {
			return nil // relays wait with a goroutine each
		}
		c.lot = lot
		c.ended.Go(lot.Run)
	}
	return c.lot
}

// settings is what this end announces of its limits.
func settings(l carrier.Limits) mux.Settings {
	return mux.Settings{StreamWindow: l.StreamWindow, TunnelWindow: l.TunnelWindow, MaxStreams: l.Streams}
}

// Open implements tunnel.Tunnel. The OPEN frame waits for room, but for no
// answer: what follows may be written at once.
func (c *conn) Open(ctx context.Context, h *crossingv1.Header) (tunnel.Stream, error) {
	buffer := carrier.NewBuffer()
	defer buffer.Free()
	header, err := carrier.AppendHeader(buffer.B, h)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.waitForRoom(ctx); err != nil {
		return nil, fmt.Errorf("open stream to %s: %w", c.info.Peer, err)
	}
	state, err := c.mux.Open()
	if errors.Is(err, mux.ErrGoingAway) || errors.Is(err, mux.ErrExhausted) {
		err = tunnel.ErrDraining
	}
	if err != nil {
		return nil, fmt.Errorf("open stream to %s: %w", c.info.Peer, err)
	}
	s := c.newStream(state, nil) // who opens it knows its header
	c.hasten(s)
	c.out.pending = mux.AppendOpen(c.out.pending, state.ID(), header)
	c.out.wake.Signal() // by the time it runs, the first data is often in the same write
	return s, nil
}

// Accept implements tunnel.Tunnel. A stream that was reset meanwhile is given
// out all the same, so that whoever serves it sees why.
func (c *conn) Accept(ctx context.Context) (tunnel.Stream, error) {
	for {
		if s := c.next(); s != nil {
			return s, nil
		}
		select {
		case <-c.accept:
		case <-c.done:
			return nil, fmt.Errorf("accept stream of %s: %w", c.info.Peer, c.lost())
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (c *conn) next() *stream {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.backlog.len() == 0 || c.cause != nil {
		return nil
	}
	s := c.backlog.pop()
	if c.backlog.len() > 0 {
		signal(c.accept)
	}
	return s
}

func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// Info implements tunnel.Tunnel.
func (c *conn) Info() tunnel.Info {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := c.info
	i.Streams = c.mux.Len()
	if i.Streams == 0 {
		c.class = c.info.Class // what had turned it bulk is over
	}
	i.Class, i.Loss, i.Silent = c.class, c.loss, c.probes.silent(time.Now())
	i.RoundTrip, i.ClockOffset = c.probes.roundTrip, c.probes.offset
	i.Draining = c.mux.Going()
	return i
}

// Drain implements tunnel.Tunnel. Streams that the peer opened before it heard
// of it are still taken.
func (c *conn) Drain(ctx context.Context) error {
	select {
	case <-c.goAway():
		return nil
	case <-c.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("drain tunnel to %s: %w", c.info.Peer, ctx.Err())
	}
}

var _ tunnel.Retirer = (*conn)(nil)

// Retire implements tunnel.Retirer.
func (c *conn) Retire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.retire()
}

// retire says GOAWAY, once. The caller holds mu.
func (c *conn) retire() {
	if c.idle != nil {
		return
	}
	c.idle = make(chan struct{})
	if c.cause == nil {
		c.last = rand.Uint64()
		c.out.pending = mux.AppendGoAway(c.out.pending, c.mux.GoAway(), mux.Draining)
		c.out.pending = mux.AppendPing(c.out.pending, mux.Probe{Opaque: c.last, Clock: time.Now()})
		c.out.wake.Signal()
	}
}

// goAway says GOAWAY, opens no more streams, and gives a channel that is closed
// when none is open any more, all has been written, and the peer has answered a
// PING that follows the GOAWAY: then all streams that it opened before it knew
// have arrived.
func (c *conn) goAway() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.retire()
	c.mux.Rest()
	c.checkIdle()
	return c.idle
}

// checkIdle tells those who drain. The caller holds mu.
func (c *conn) checkIdle() {
	if !c.agreed || !c.mux.Going() || c.mux.Len() > 0 || len(c.out.pending) > 0 || c.out.writing {
		return
	}
	select {
	case <-c.idle:
	default:
		close(c.idle)
	}
}

// Done implements tunnel.Tunnel.
func (c *conn) Done() <-chan struct{} { return c.done }

// Close implements tunnel.Tunnel. What is written already still leaves, for at
// most a second.
func (c *conn) Close() error {
	c.end(errClosed, mux.Closed)
	c.ended.Wait()
	return nil
}

var errClosed = fmt.Errorf("tunnel was closed here: %w", net.ErrClosed)

// lost is why the tunnel ended.
func (c *conn) lost() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cause
}

// end ends the tunnel: the peer is told the reason unless it is 0, all streams
// are reset, and the writer closes the connection.
func (c *conn) end(cause error, r mux.Reason) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.endLocked(cause, r)
}

func (c *conn) endLocked(cause error, r mux.Reason) {
	if c.cause != nil {
		return
	}
	c.cause = cause
	c.mux.Rest()
	if r != 0 {
		c.out.pending = mux.AppendGoAway(c.out.pending, c.mux.GoAway(), r)
	}
	c.mux.Streams(func(s *mux.Stream[stream]) {
		c.mux.Reset(s)
		s.User.fail(&tunnel.ResetError{Code: tunnel.TunnelClosed}, false)
	})
	c.backlog = backlog{}
	if c.lot != nil {
		c.lot.Close() // all that waited there have been reset
	}
	c.nc.SetWriteDeadline(time.Now().Add(closeTimeout)) //nolint:errcheck // a connection that is closed already needs none
	c.out.wake.Signal()
	close(c.done)
	c.log.Info("tunnel down", zap.Stringer("peer", c.info.Peer), zap.Bool("dialed", c.info.Dialed), zap.Error(cause))
}
