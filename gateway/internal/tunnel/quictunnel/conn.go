// Package quictunnel carries tunnels over QUIC: each crossing is one QUIC stream,
// and the first one is for what the two ends say about the tunnel itself.
// FORMAT.md is the format as a document. The package decides nothing about
// crossings and reads no bytes of theirs. It is the carrier for paths that lose
// packets: a lost packet holds up no other stream, and a tunnel outlives the
// path that it was dialled on.
//
// One invariant holds: a tunnel holds memory for its peer only within the
// windows that it announced, and a stream that nobody reads holds up no other
// one while the tunnel's window lasts.
package quictunnel

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"
	"go.uber.org/zap"

	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel/carrier"
	"github.com/sallyport-mesh/sallyport/gateway/mux"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// conn is one tunnel. Four goroutines serve it until it ends: one reads the
// control stream, one takes streams, one tends (pings, identity, path), one
// waits for the connection's end. Lock order: mu, then a stream's own.
type conn struct {
	qc      *quic.Conn
	control *quic.Stream
	ep      *endpoint
	paths   *paths      // nil if this end did not dial
	info    tunnel.Info // what does not change
	limits  carrier.Limits
	guard   carrier.Guard
	log     *zap.Logger
	accept  chan struct{} // holds one signal: the backlog is not empty
	busy    chan struct{} // holds one signal: a stream was opened
	done    chan struct{}
	ended   sync.WaitGroup
	partial bool        // the peer knows resets that come after what was written
	bulk    atomic.Bool // a stream turned the tunnel bulk
	leaving atomic.Bool // a GOAWAY was said: what arrives is kept

	out controlOutput

	mu         sync.Mutex // guards what follows
	streams    map[*stream]struct{}
	backlog    []*stream // opened by the peer and not accepted yet
	opened     uint32    // streams that this end has opened
	taken      uint32    // streams of the peer that have arrived
	lastOpened time.Time // a stream, by either end
	slow       bool      // PINGs are at their slow pace
	probes     probes
	cause      error         // why the tunnel ended; nil while it has not
	idle       chan struct{} // closed when the tunnel has drained; nil before goAway
	peerGoing  bool          // the peer said GOAWAY
	peerOpened uint32        // and that it has opened so many streams
}

var _ tunnel.Tunnel = (*conn)(nil)

// serve begins to serve the tunnel, until it ends. Close waits for that.
func (c *conn) serve() {
	c.accept, c.busy, c.done = make(chan struct{}, 1), make(chan struct{}, 1), make(chan struct{})
	c.streams = map[*stream]struct{}{}
	c.control.SetPriority(0, true)
	c.ended.Go(c.watch)
	c.ended.Go(c.readLoop)
	c.ended.Go(c.acceptLoop)
	c.ended.Go(c.tend)
}

// Open implements tunnel.Tunnel. It waits for no answer: what follows may be
// written at once.
func (c *conn) Open(ctx context.Context, h *crossingv1.Header) (tunnel.Stream, error) {
	buffer := carrier.NewBuffer()
	defer buffer.Free()
	opening, err := encodeOpening(buffer.B, h)
	if err != nil {
		return nil, err
	}
	s, err := c.open(ctx)
	if err != nil {
		return nil, fmt.Errorf("open stream to %s: %w", c.info.Peer, err)
	}
	if err := s.begin(ctx, opening); err != nil {
		s.Reset(tunnel.CallerGone)
		return nil, fmt.Errorf("open stream to %s: %w", c.info.Peer, err)
	}
	return s, nil
}

// open counts the stream and opens it in one step, for the count goes into a
// GOAWAY.
func (c *conn) open(ctx context.Context) (*stream, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.cause != nil:
		return nil, fmt.Errorf("%w: %w", tunnel.ErrDraining, c.cause)
	case c.going():
		return nil, tunnel.ErrDraining
	case ctx.Err() != nil:
		return nil, ctx.Err()
	}
	qs, err := c.qc.OpenStream()
	if err != nil {
		var limit quic.StreamLimitReachedError
		if errors.As(err, &limit) {
			return nil, fmt.Errorf("%w: %d", mux.ErrStreamLimit, len(c.streams))
		}
		return nil, explain(err)
	}
	s := newStream(c, qs, make(chan struct{}, 1))
	c.streams[s] = struct{}{}
	c.opened++
	c.stir()
	return s, nil
}

// stir takes note that a stream was opened, and lets PINGs begin at their fast
// pace at once. The caller holds mu.
func (c *conn) stir() {
	c.lastOpened = time.Now()
	if c.slow {
		c.slow = false
		signal(c.busy)
	}
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
	if len(c.backlog) == 0 || c.cause != nil {
		return nil
	}
	s := c.backlog[0]
	c.backlog[0] = nil
	c.backlog = c.backlog[1:]
	if len(c.backlog) > 0 {
		signal(c.accept)
	} else {
		c.backlog = nil
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
	stats := c.qc.ConnectionStats()
	c.mu.Lock()
	defer c.mu.Unlock()
	i := c.info
	i.Streams, i.Draining = len(c.streams), c.going()
	if stats.LatestRTT > 0 {
		i.RoundTrip = stats.SmoothedRTT
	}
	i.ClockOffset, i.Loss = c.probes.offset, c.probes.loss.share()
	if c.cause == nil {
		i.Silent = c.probes.silent(time.Now(), stats.PacketsReceived)
	}
	if i.Streams == 0 {
		c.bulk.Store(false) // what had turned it bulk is over
	}
	if c.bulk.Load() {
		i.Class = tunnel.Bulk
	}
	return i
}

// Done implements tunnel.Tunnel.
func (c *conn) Done() <-chan struct{} { return c.done }

// lost is why the tunnel ended.
func (c *conn) lost() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cause
}

// end ends the tunnel at once and tells the peer why.
func (c *conn) end(cause error, r mux.Reason) {
	if c.down(cause) {
		c.qc.CloseWithError(quic.ApplicationErrorCode(r), r.String()) //nolint:errcheck // it never fails
	}
}

// broke ends the tunnel if the error is a fault of the peer.
func (c *conn) broke(err error) {
	var fault *mux.FaultError
	if !errors.As(err, &fault) {
		return // the connection's end says more
	}
	if c.guard.Broke != nil {
		c.guard.Broke(fault)
	}
	c.end(fmt.Errorf("peer broke the protocol: %w", fault), fault.Reason)
}

// down marks the tunnel as ended and resets its streams. It says whether it had
// not ended before.
func (c *conn) down(cause error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause != nil {
		return false
	}
	c.cause = cause
	c.backlog = nil
	for s := range c.streams {
		c.ended.Go(s.lost)
	}
	close(c.done)
	c.log.Info("tunnel down", zap.Stringer("peer", c.info.Peer), zap.Bool("dialed", c.info.Dialed), zap.Error(cause))
	return true
}

// watch waits for the connection's end and gives back what the tunnel holds.
func (c *conn) watch() {
	ctx := c.qc.Context()
	<-ctx.Done()
	err := context.Cause(ctx)
	if brokeQUIC(err) && c.guard.Broke != nil {
		c.guard.Broke(err)
	}
	c.down(explain(err))
	if c.paths != nil {
		c.paths.close()
	}
	c.ep.release()
}

var errClosed = fmt.Errorf("tunnel was closed here: %w", net.ErrClosed)
