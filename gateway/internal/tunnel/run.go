package tunnel

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/sallyport-mesh/sallyport/gateway/internal/crew"
)

const (
	// maxServing is how many streams of one tunnel are served at a time. Above
	// the carriers' own limit, it only holds where a peer opens and resets
	// faster than streams are let go.
	maxServing = 20_000
	// lookInterval is how often Run looks for tunnels that drain by themselves.
	lookInterval = time.Second
	// strangerGrace is how long a tunnel may stay whose peer SetPeers did not
	// name: it may have been let in under a policy that SetPeers follows soon.
	strangerGrace = 5 * time.Second
	// spareAfter is how long a tunnel may be idle beside another one of its kind.
	spareAfter = 5 * time.Second
)

// run is what Run adds to a Pool.
type run struct {
	pool     *Pool
	handle   Serve
	serving  context.Context // ends when the drain is over
	dialling context.Context // ends when Run's context does
	group    sync.WaitGroup
	crew     *crew.Crew // receives streams
	began    time.Time
	stopping bool // the pool's mu guards it

	mu    sync.Mutex // guards what follows
	first *served    // streams that are served
}

// Serve serves a stream that the peer of a tunnel opened. It has a goroutine of
// its own, but may return before the stream is served: it calls over then, once.
// That is soon after its context ends. What it leaves of a stream is reset.
type Serve func(ctx context.Context, t Tunnel, s Stream, over func())

// service is one tunnel whose streams are served.
type service struct {
	*run
	member  *member
	streams sync.WaitGroup
	slots   chan struct{}
}

// served is a stream in the list of those that are served: for each of many that
// may be idle for long, less than the context of its own would be. It serves one
// stream after another.
type served struct {
	stream     Stream
	in         *service
	next, prev *served
	over       func() // release, made once
}

var spareServed sync.Pool // of *served

// newServed takes a stream of a tunnel.
func newServed(in *service, stream Stream) *served {
	s, ok := spareServed.Get().(*served)
	if !ok {
		s = new(served)
		s.over = s.release
	}
	s.in, s.stream = in, stream
	return s
}

// Run serves streams that peers open, in every tunnel, and keeps tunnels to every
// peer that has an address. When the context ends, Run opens nothing more, waits
// until all streams have ended, for at most the drain timeout, and closes all
// tunnels. It returns nil, and is called once.
func (p *Pool) Run(ctx context.Context, serve Serve) error {
	serving, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	r := &run{pool: p, handle: serve, serving: serving, dialling: ctx, crew: crew.New(), began: time.Now()}
	if err := p.begin(r); err != nil {
		return err
	}
	timer, watch := time.NewTimer(0), time.NewTimer(watchInterval)
	defer timer.Stop()
	defer watch.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-p.wake:
			timer.Reset(p.look(time.Now()))
		case <-timer.C:
			timer.Reset(p.look(time.Now()))
		case <-p.watched.wake:
			p.watched.idle = 0
			watch.Reset(watchInterval)
		case <-watch.C:
			if p.watch() {
				watch.Reset(watchInterval)
			}
		}
	}
	r.stop(ctx, cancel)
	return nil
}

func (p *Pool) begin(r *run) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.run != nil {
		return errors.New("run tunnels: the pool has run already")
	}
	p.run = r
	for _, m := range p.members {
		r.serve(m)
	}
	close(p.started)
	return nil
}

// look does what is due and says when to look again.
func (p *Pool) look(now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	next := lookInterval
	for _, pr := range p.peers {
		pr.path.saw(p.loss(pr), now)
		next = min(next, p.keep(pr, now))
	}
	for _, m := range p.members {
		if p.known && p.peers[m.id] == nil && now.Sub(m.since) > strangerGrace || p.spare(m, now) {
			p.leave(m)
		}
	}
	return next
}

// keep dials a peer each way that is always to be there, and says when the next
// attempt is due. The caller holds mu.
func (p *Pool) keep(pr *peer, now time.Time) time.Duration {
	next := lookInterval
	if p.retired || pr.Address == "" || p.count(pr.ID) >= maxTunnels {
		return next
	}
	for _, w := range p.always(pr) {
		d := pr.dialling(w)
		if d.flight != nil || p.linked(pr, w) {
			continue
		}
		if wait := d.retry.Sub(now); wait > 0 {
			next = min(next, wait)
		} else {
			p.dial(pr, w, 0)
		}
	}
	return next
}

// always is the ways to each peer that are kept open: for interactive traffic
// by every carrier, so that none has to be dialled when another one fails; for
// bulk where the peer could not dial it.
func (p *Pool) always(pr *peer) []way {
	ways := make([]way, 0, len(p.cfg.Dialers)+1)
	for carrier := range p.cfg.Dialers {
		ways = append(ways, way{carrier: carrier, class: Interactive})
	}
	if p.cfg.DialsOut {
		ways = append(ways, way{carrier: pr.path.prefers(Bulk), class: Bulk})
	}
	return ways
}

// linked says whether there is a tunnel that way. The caller holds mu.
func (p *Pool) linked(pr *peer, w way) bool { return p.links(pr, w) > w.lane }

// links counts the tunnels by a way's carrier for its class. The caller holds mu.
func (p *Pool) links(pr *peer, w way) int {
	n := 0
	for _, m := range p.members {
		if m.id != pr.ID || !m.usable() {
			continue
		}
		if i := m.Info(); i.Carrier == w.carrier && i.Class == w.class {
			n++
		}
	}
	return n
}

// loss is the most that a tunnel to the peer has lost lately. The caller holds mu.
func (p *Pool) loss(pr *peer) float64 {
	most := 0.0
	for _, m := range p.members {
		if m.id == pr.ID && m.usable() {
			most = max(most, m.Info().Loss)
		}
	}
	return most
}

// spare says whether a tunnel that this end dialled has carried nothing for a
// while, and another such one stands in its place: those that were dialled while
// others were bulk would pile up. The caller holds mu.
func (p *Pool) spare(m *member, now time.Time) bool {
	i := m.Info()
	if i.Streams > 0 || !i.Dialed || m.leaves {
		m.idle = time.Time{}
		return false
	}
	if m.idle.IsZero() {
		m.idle = now
	}
	return now.Sub(m.idle) >= spareAfter && slices.ContainsFunc(p.members, func(o *member) bool {
		if o == m || o.id != m.id || !o.usable() {
			return false
		}
		other := o.Info()
		return other.Dialed && other.Carrier == i.Carrier && other.Class == i.Class && !other.mute()
	})
}

// leave drains and closes a tunnel, once. The caller holds mu.
func (p *Pool) leave(m *member) {
	if m.leaves || p.run == nil || p.run.stopping {
		return
	}
	m.leaves = true
	p.cfg.Log.Info("tunnel drains", zap.Stringer("peer", m.id))
	retired := p.retired
	p.run.group.Go(func() {
		ctx, cancel := p.run.serving, context.CancelFunc(func() {})
		if !retired { // else its streams may take as long as those of other tunnels
			ctx, cancel = context.WithTimeout(ctx, p.cfg.DrainTimeout)
		}
		defer cancel()
		m.drain(ctx)
	})
}

// drain closes the tunnel when its streams have ended or the context does.
func (m *member) drain(ctx context.Context) {
	m.Drain(ctx) //nolint:errcheck // it is closed either way
	m.Close()    // there is nothing left to do
}

// drainAll drains tunnels until their streams have ended or the context does.
func drainAll(ctx context.Context, members []*member) {
	var drains sync.WaitGroup
	for _, m := range members {
		drains.Go(func() { m.Drain(ctx) }) //nolint:errcheck // who calls sees what is left
	}
	drains.Wait()
}

// serve serves a tunnel until it ends. The caller holds the pool's mu.
func (r *run) serve(m *member) {
	r.group.Go(func() {
		in := &service{run: r, member: m, slots: make(chan struct{}, maxServing)}
		for {
			s, err := m.Accept(r.serving)
			if err != nil {
				break
			}
			in.slots <- struct{}{}
			in.streams.Add(1)
			r.crew.Do(r.serving, newServed(in, s))
		}
		r.pool.remove(m)
		in.streams.Wait() // first, so that peers are told why their streams end
		m.Close()         // it has ended, or Run has
	})
}

// Do implements crew.Task.
func (s *served) Do() {
	in := s.in
	in.enter(s)
	in.handle(in.serving, in.member.Tunnel, s.stream, s.over)
}

// release lets go of a stream that was served, and of which nobody else knows here
// once it has left the list.
func (s *served) release() {
	in, stream := s.in, s.stream
	if in.serving.Err() != nil {
		stream.Reset(Stopped)
	}
	stream.Reset(DestinationGone) // nothing, if the stream was ended as it should be
	in.leave(s)
	*s = served{over: s.over}
	spareServed.Put(s)
	<-in.slots
	in.streams.Done()
}

// enter puts a stream where resetAll finds it.
func (r *run) enter(s *served) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.next = r.first; s.next != nil {
		s.next.prev = s
	}
	r.first = s
	if r.serving.Err() != nil {
		s.stream.Reset(Stopped) // resetAll may have come before
	}
}

func (r *run) leave(s *served) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.prev == nil {
		r.first = s.next
	} else {
		s.prev.next = s.next
	}
	if s.next != nil {
		s.next.prev = s.prev
	}
}

// resetAll resets the streams that are served. Reset never waits.
func (r *run) resetAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for s := r.first; s != nil; s = s.next {
		s.stream.Reset(Stopped)
	}
}

// stop drains all tunnels and waits for everything that Run has started.
func (r *run) stop(ctx context.Context, cancel context.CancelFunc) {
	p := r.pool
	p.mu.Lock()
	r.stopping = true
	members := slices.Clone(p.members)
	p.broadcast()
	p.mu.Unlock()
	bound, done := context.WithTimeout(context.WithoutCancel(ctx), p.cfg.DrainTimeout)
	defer done()
	drainAll(bound, members) // what is left is reset below
	cancel()
	r.resetAll()
	r.group.Wait()
}
