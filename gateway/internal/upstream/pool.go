package upstream

import (
	"context"
	"net"
	"sync"
	"time"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// sweepEvery is how long an idle connection may be closed by the destination,
// or too old, before it is let go of.
const sweepEvery = 15 * time.Second

// pool is the HTTP/1.1 connections to workloads of one identity. It has no
// goroutine: a timer runs while there are idle ones.
type pool struct {
	u   *Upstream
	key transportKey

	mu         sync.Mutex         // guards what follows
	generation uint64             // connections of an earlier one are not used again
	idle       map[string][]*conn // by endpoint; the last used is last
	sweeping   bool               // the timer runs
}

var _ transport = (*pool)(nil)

func newPool(u *Upstream, key transportKey) *pool {
	return &pool{u: u, key: key, idle: map[string][]*conn{}}
}

// conn is one connection. It carries one exchange at a time.
type conn struct {
	net.Conn // over the socket, or the socket itself
	socket   *socket
	peer     *crossingv1.Peer // not to be changed: every record of the connection has it

	generation uint64
	used       bool // it has carried an exchange
	since      time.Time
}

// cut breaks the connection, whoever reads or writes it.
func (c *conn) cut() { c.socket.cut() }

// take gives an idle connection that the destination has not closed, nil if
// there is none.
func (p *pool) take(addr string) *conn {
	for {
		c := p.pop(addr)
		if c == nil || time.Since(c.since) < idleTimeout && !c.socket.retired() && c.socket.isQuiet() {
			return c
		}
		c.cut()
	}
}

func (p *pool) pop(addr string) *conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := p.idle[addr]
	if len(all) == 0 {
		return nil
	}
	c := all[len(all)-1]
	all[len(all)-1] = nil
	p.idle[addr] = all[:len(all)-1]
	return c
}

// put keeps a connection that carries nothing for whoever asks next.
func (p *pool) put(addr string, c *conn) {
	c.used, c.since = true, time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.generation != p.generation || len(p.idle[addr]) >= maxIdle {
		c.cut()
		return
	}
	p.idle[addr] = append(p.idle[addr], c)
	if !p.sweeping {
		p.sweeping = true
		time.AfterFunc(sweepEvery, p.sweep)
	}
}

// sweep lets go of idle connections that nobody can use any more.
func (p *pool) sweep() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for addr, all := range p.idle {
		kept := all[:0]
		for _, c := range all {
			if time.Since(c.since) < idleTimeout && !c.socket.retired() && c.socket.isQuiet() {
				kept = append(kept, c)
			} else {
				c.cut()
			}
		}
		clear(all[len(kept):])
		if p.idle[addr] = kept; len(kept) == 0 {
			delete(p.idle, addr)
		}
	}
	if p.sweeping = len(p.idle) > 0; p.sweeping {
		time.AfterFunc(sweepEvery, p.sweep)
	}
}

func (p *pool) closeIdle(old bool) {
	p.mu.Lock()
	idle := p.idle
	p.idle = map[string][]*conn{}
	if old {
		p.generation++
	}
	p.mu.Unlock()
	for _, all := range idle {
		for _, c := range all {
			c.Close() // in good order, which over TLS is said
		}
	}
}

// dial makes a connection within share, unless the request is cancelled.
func (p *pool) dial(ctx context.Context, addr string, share time.Duration, r *Request) (*conn, error) {
	ctx, cancel := context.WithTimeout(ctx, share)
	defer cancel()
	if err := r.goOn(cancelFunc(cancel)); err != nil {
		return nil, err
	}
	defer r.goOn(nil) //nolint:errcheck // it does not fail for nothing
	p.mu.Lock()
	generation := p.generation
	p.mu.Unlock()
	nc, s, err := p.u.dial(ctx, addr, p.key, "http/1.1")
	if err != nil {
		return nil, &unreached{addr, err}
	}
	return &conn{Conn: nc, socket: s, peer: peerOf(nc, addr), generation: generation}, nil
}

// ask implements transport. A request whose idle connection turns out to be
// closed is asked once more, in a new one, if it may be.
func (p *pool) ask(ctx context.Context, addr string, share time.Duration, r *Request) (*Response, error) {
	if r.call == nil {
		r.call = p.u.calls.Get().(*call)
		r.call.r, r.call.pool = r, p
	}
	r.call.addr = addr
	if c := p.take(addr); c != nil {
		resp, again, err := r.call.ask(c)
		if !again {
			return resp, err
		}
		r.tries++
	}
	c, err := p.dial(ctx, addr, share, r)
	if err != nil {
		return nil, err
	}
	resp, _, err := r.call.ask(c)
	return resp, err
}
