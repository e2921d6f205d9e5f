package upstream

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/http2"
)

const (
	// maxConns to one endpoint in HTTP/2. With the 100 streams that servers allow at
	// least (RFC 9113 6.5.2) they carry 1,600 calls at a time.
	maxConns = 16
	// redialAfter is how long an endpoint that refused a further connection is not
	// asked for one, while those that there are carry on.
	redialAfter = time.Second
)

// h2Pool is the HTTP/2 connections to workloads of one identity: as few as carry
// all streams.
type h2Pool struct {
	u   *Upstream
	key transportKey

	mu         sync.Mutex // guards what follows, and what is in each site
	generation uint64     // connections of an earlier one take no streams
	sites      map[string]*site
}

var _ transport = (*h2Pool)(nil)

// site is one endpoint. The pool's mu guards it. One that has neither connections
// nor anybody who waits is let go of.
type site struct {
	conns   []*h2Conn          // that take streams, the one to fill first is first; replaced and not changed
	dialing context.CancelFunc // nil if no connection is being made
	refused time.Time          // when a further one could not be made last
	waiting []*waiter          // for a stream; who waits longest is first
	hungry  atomic.Int32       // how many wait, to be read without mu
}

// waiter is an asker for whom there was no room. It is woken once, out of the
// queue, to look again; or with the reason why there is no connection.
type waiter struct {
	woken chan error
	dials int // connections that it began
}

func newH2Pool(u *Upstream, key transportKey) *h2Pool {
	return &h2Pool{u: u, key: key, sites: map[string]*site{}}
}

// at is the endpoint's site. p.mu is held.
func (p *h2Pool) at(addr string) *site {
	st := p.sites[addr]
	if st == nil {
		st = new(site)
		p.sites[addr] = st
	}
	return st
}

// tidy lets go of a site with nothing in it. p.mu is held.
func (p *h2Pool) tidy(addr string) {
	if st := p.sites[addr]; st != nil && len(st.conns) == 0 && len(st.waiting) == 0 && st.dialing == nil {
		delete(p.sites, addr)
	}
}

// open opens a stream where there is room. None without an error says that there
// is none.
func (p *h2Pool) open(addr string, h *l7.RequestHead, end bool) (*h2Conn, *http2.Stream, error) {
	p.mu.Lock()
	var conns []*h2Conn
	if st := p.sites[addr]; st != nil {
		conns = st.conns
	}
	p.mu.Unlock()
	for _, c := range conns {
		if c.socket.retired() {
			p.forget(c)
			continue
		}
		s, err := c.Open(h, end)
		switch {
		case err == nil:
			return c, s, nil
		case errors.Is(err, http2.ErrGoingAway):
			p.forget(c)
		case !errors.Is(err, http2.ErrStreamLimit):
			return nil, nil, err
		}
	}
	return nil, nil, nil
}

// take opens a stream for the request, in a new connection or one that has room
// again if need be, within share.
func (p *h2Pool) take(ctx context.Context, addr string, share time.Duration, r *Request) (*h2Conn, *http2.Stream, error) {
	end := r.Body == nil
	if c, s, err := p.open(addr, r.Head, end); s != nil || err != nil {
		return c, s, err
	}
	ctx, cancel := context.WithTimeout(ctx, share)
	defer cancel()
	if err := r.goOn(cancelFunc(cancel)); err != nil {
		return nil, nil, err
	}
	defer r.goOn(nil) //nolint:errcheck // it does not fail for nothing
	w := &waiter{woken: make(chan error, 1)}
	for {
		p.queue(addr, w)
		// What became free before w was in the queue did not wake it.
		c, s, err := p.open(addr, r.Head, end)
		if s != nil || err != nil {
			p.leave(addr, w)
			return c, s, err
		}
		p.grow(ctx, addr, share, w)
		select {
		case err = <-w.woken:
		case <-ctx.Done():
			p.leave(addr, w)
			p.abandon(addr)
			err = fmt.Errorf("wait for a connection or room in one: %w", ctx.Err())
		}
		if err != nil {
			return nil, nil, &unreached{addr, err}
		}
		c, s, err = p.open(addr, r.Head, end)
		if err != nil {
			p.leave(addr, w) // the room is for the next one
		}
		if s != nil || err != nil {
			return c, s, err
		}
	}
}

// queue puts w behind those that wait.
func (p *h2Pool) queue(addr string, w *waiter) {
	p.mu.Lock()
	defer p.mu.Unlock()
	st := p.at(addr)
	st.waiting = append(st.waiting, w)
	st.hungry.Add(1)
}

// grow begins another connection, within share, if w waits still, there may be
// one more, and w has not begun too many that came to nothing.
func (p *h2Pool) grow(ctx context.Context, addr string, share time.Duration, w *waiter) {
	p.mu.Lock()
	defer p.mu.Unlock()
	st := p.sites[addr]
	if st == nil || st.dialing != nil || w.dials == maxAsked || !slices.Contains(st.waiting, w) {
		return
	}
	if n := len(st.conns); n >= maxConns || n > 0 && time.Since(st.refused) < redialAfter {
		return
	}
	w.dials++
	// It is for all who wait, and goes on when the first of them does not.
	ctx, st.dialing = context.WithTimeout(context.WithoutCancel(ctx), share)
	go p.dial(ctx, addr, st, st.dialing)
}

// leave takes w out. If it was woken meanwhile the next one is.
func (p *h2Pool) leave(addr string, w *waiter) {
	p.mu.Lock()
	defer p.mu.Unlock()
	st := p.sites[addr]
	if st == nil {
		return
	}
	if i := slices.Index(st.waiting, w); i >= 0 {
		st.waiting = slices.Delete(st.waiting, i, i+1)
		st.hungry.Add(-1)
	} else {
		st.wake(1, nil)
	}
	p.tidy(addr)
}

// abandon stops making a connection if nobody waits for it.
func (p *h2Pool) abandon(addr string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if st := p.sites[addr]; st != nil && st.dialing != nil && len(st.waiting) == 0 {
		st.dialing()
	}
}

// wake wakes the n that wait longest. The pool's mu is held.
func (st *site) wake(n int, err error) {
	n = min(n, len(st.waiting))
	for _, w := range st.waiting[:n] {
		w.woken <- err
	}
	st.waiting = slices.Delete(st.waiting, 0, n)
	st.hungry.Add(-int32(n))
}

func (st *site) wakeAll(err error) { st.wake(len(st.waiting), err) }

// dial makes one more connection to the endpoint, for all who wait.
func (p *h2Pool) dial(ctx context.Context, addr string, st *site, cancel context.CancelFunc) {
	defer cancel()
	p.mu.Lock()
	generation := p.generation
	p.mu.Unlock()
	c, err := p.connect(ctx, addr, st)
	p.mu.Lock()
	defer p.mu.Unlock()
	st.dialing = nil
	switch {
	case err == nil && generation == p.generation:
		st.conns = append(slices.Clip(st.conns), c)
	case err == nil:
		c.Drain()
	case errors.Is(ctx.Err(), context.Canceled):
		err = nil // it says nothing about the endpoint to who came meanwhile
	case len(st.conns) > 0: // in which there may be room before long
		st.refused = time.Now()
		time.AfterFunc(redialAfter, func() { p.roomier(st, math.MaxInt) })
		return
	}
	st.wakeAll(err)
	p.tidy(addr)
}

// forget opens no stream in a connection any more. Those that are open go on.
func (p *h2Pool) forget(c *h2Conn) {
	c.Drain()
	p.mu.Lock()
	defer p.mu.Unlock()
	i := slices.Index(c.site.conns, c)
	if i < 0 {
		return
	}
	c.site.conns = slices.Delete(slices.Clone(c.site.conns), i, i+1)
	c.site.wakeAll(nil) // one may be made in its place
	p.tidy(c.addr)
}

// roomier wakes n who wait for room in connections to an endpoint.
func (p *h2Pool) roomier(st *site, n int) {
	if st.hungry.Load() == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	st.wake(n, nil)
}

func (p *h2Pool) closeIdle(old bool) {
	p.mu.Lock()
	if old {
		p.generation++
	}
	var all []*h2Conn
	for _, st := range p.sites {
		all = append(all, st.conns...)
	}
	p.mu.Unlock()
	for _, c := range all {
		if old || c.Streams() == 0 {
			p.forget(c)
		}
	}
}
