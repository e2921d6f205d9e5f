// Package waiting bounds what an exchange waits for: on behalf of a caller who may leave, and
// for a peer who may not answer.
package waiting

import (
	"context"
	"sync"

	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
)

// Calling is the context of an exchange on its way out: it ends with that of the
// connection, and when the caller leaves, which also resets the crossing's stream.
// Hardly any exchange waits for anything before its stream is open. So it has no
// channel until somebody asks for it.
type Calling struct {
	context.Context // the connection's

	mu     sync.Mutex // guards what follows
	left   bool
	stream tunnel.Stream // nil until it is open
	done   chan struct{} // nil while nobody has asked for it
	forget func() bool   // ends waiting for the connection's end
}

// Leave is called when the caller leaves.
func (c *Calling) Leave() {
	c.mu.Lock()
	c.left = true
	c.end()
	stream := c.stream
	c.mu.Unlock()
	if stream != nil {
		stream.Reset(tunnel.CallerGone)
	}
}

// Follow resets a stream from now on if the caller leaves, or has left.
func (c *Calling) Follow(s tunnel.Stream) {
	c.mu.Lock()
	c.stream = s
	left := c.left
	c.mu.Unlock()
	if left {
		s.Reset(tunnel.CallerGone)
	}
}

// end closes the channel, if there is one. The caller holds mu.
func (c *Calling) end() {
	if c.done == nil {
		return
	}
	select {
	case <-c.done:
	default:
		close(c.done)
	}
}

// Done implements context.Context.
func (c *Calling) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done == nil {
		c.done = make(chan struct{})
		c.forget = context.AfterFunc(c.Context, func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.end()
		})
		if c.left {
			c.end()
		}
	}
	return c.done
}

// Err implements context.Context.
func (c *Calling) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left {
		return context.Canceled
	}
	return c.Context.Err()
}

// Begin is for another exchange.
func (c *Calling) Begin(ctx context.Context) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.Context, c.left, c.stream, c.done, c.forget = ctx, false, nil, nil, nil
}

// Over ends it. It says whether anybody has waited for its end, and may hold it.
func (c *Calling) Over() (waited bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	waited = c.done != nil
	if waited {
		c.forget()
	}
	c.stream = nil
	return waited
}
