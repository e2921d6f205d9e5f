package quictunnel

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/sallyport-mesh/sallyport/gateway/mux"
)

// closeTimeout is how long what was written may take to arrive when a tunnel is
// closed.
const closeTimeout = time.Second

// going says whether streams are opened no more. The caller holds mu.
func (c *conn) going() bool { return c.idle != nil || c.peerGoing }

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

// goAway says GOAWAY, once, and gives a channel that is closed when the peer has
// said it, too, all streams that it had opened by then have arrived, and none is
// open any more.
func (c *conn) goAway() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.idle != nil {
		return c.idle
	}
	c.idle = make(chan struct{})
	if c.cause == nil {
		c.leaving.Store(true)
		for s := range c.streams {
			c.ended.Go(s.keepEnded)
		}
		c.say(mux.AppendGoAway(nil, c.opened, mux.Draining)) //nolint:errcheck // one frame is no flood
	}
	return c.idle
}

// goingAway takes a GOAWAY. An end that hears that the other one drains says so
// itself: each must know how many streams the other has opened.
func (c *conn) goingAway(f controlFrame) error {
	if f.cause != mux.Draining {
		c.farewell(f.cause)
		return nil
	}
	c.mu.Lock()
	bad := f.count < c.taken || c.peerGoing && f.count != c.peerOpened
	c.peerGoing, c.peerOpened = true, f.count
	c.mu.Unlock()
	if bad {
		return &mux.FaultError{Reason: mux.BadGoAway, Type: mux.GoAway, Detail: fmt.Sprintf("%d streams", f.count)}
	}
	c.goAway()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.checkIdle()
	return nil
}

// remove forgets a stream that has ended.
func (c *conn) remove(s *stream) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.streams, s)
	c.checkIdle()
}

// checkIdle tells those who drain. The caller holds mu.
func (c *conn) checkIdle() {
	if c.idle == nil || !c.peerGoing || c.taken < c.peerOpened || len(c.streams) > 0 || isClosed(c.idle) {
		return
	}
	close(c.idle)
}

// Close implements tunnel.Tunnel. What is written already still arrives, if that
// takes at most closeTimeout.
func (c *conn) Close() error {
	c.leave(errClosed)
	c.ended.Wait()
	return nil
}

// leave ends the tunnel in order: QUIC throws away what was not acknowledged, so
// the peer is told first, and closes the connection when it has everything.
func (c *conn) leave(cause error) {
	if !c.down(cause) {
		return
	}
	c.mu.Lock()
	opened := c.opened
	c.mu.Unlock()
	c.say(mux.AppendGoAway(nil, opened, mux.Closed)) //nolint:errcheck // one frame is no flood
	timer := time.NewTimer(closeTimeout)
	defer timer.Stop()
	select {
	case <-c.qc.Context().Done():
	case <-timer.C:
	}
	c.hangUp()
}

func (c *conn) hangUp() {
	c.qc.CloseWithError(quic.ApplicationErrorCode(mux.Closed), mux.Closed.String()) //nolint:errcheck // it never fails
}

// farewell takes the news that the peer leaves: what it has written is kept, and
// then the connection closed.
func (c *conn) farewell(r mux.Reason) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.peerGoing = true
	if c.cause != nil { // both leave: neither wants anything any more
		c.ended.Go(c.hangUp)
		return
	}
	c.leaving.Store(true)
	var keeping sync.WaitGroup
	for s := range c.streams {
		keeping.Go(s.keep)
	}
	kept := make(chan struct{})
	c.ended.Go(func() {
		keeping.Wait()
		close(kept)
	})
	c.ended.Go(func() {
		timer := time.NewTimer(closeTimeout)
		defer timer.Stop()
		select {
		case <-kept:
		case <-timer.C:
		case <-c.done:
		}
		c.end(fmt.Errorf("peer closed the tunnel: %s: %w", r, net.ErrClosed), mux.Closed)
	})
}
