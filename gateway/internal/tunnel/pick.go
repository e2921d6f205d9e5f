package tunnel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"syscall"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

const (
	// answerPatience is how long Pick waits for a peer that does not answer: to
	// open a crossing in its tunnels would be to hang.
	answerPatience = 5 * time.Second
	// answerLook is how often it looks whether the peer answers again.
	answerLook = 50 * time.Millisecond
	// dialOutPatience is how long Pick waits for a peer that is here, dials by
	// itself and has no tunnel of the class yet.
	dialOutPatience = 2 * time.Second
	// openTries bounds the tunnels that a stream is tried to be opened in. A gateway
	// that drains ends all that it has, one after the other, and has the next process
	// make new ones.
	openTries = 2 * maxTunnels
	// awaitedFor is how long after a handover peers that dial by themselves are
	// expected: they come when the process before this one has sent them away.
	awaitedFor = 30 * time.Second
)

// errSilent says that there are tunnels, and that nobody answers in them.
var errSilent = errors.New("no gateway answers in the tunnels that there are")

// Pick gives a tunnel for a class of traffic to a gateway of the environment,
// as rank orders those that live and whose peer answers. If there is none it
// dials all gateways of the environment that have an address, by each carrier,
// and takes the first to answer. It fails when all have failed, with what
// became of each, or when the context ends. If the tunnel starts to drain, or
// falls silent, before a stream is opened in it, opening finds another one to the
// same gateway.
func (p *Pool) Pick(ctx context.Context, environment string, class Class) (Tunnel, error) {
	t, err := p.find(ctx, wanted{environment: environment, class: class})
	if err != nil {
		return nil, fmt.Errorf("reach environment %q: %w", environment, err)
	}
	p.cfg.Chose(t.carrier, class, t.choice)
	return t, nil
}

// wanted is what a stream is for.
type wanted struct {
	environment string      // of whose gateways any will do
	gateway     spiffeid.ID // the only one that does, where no environment is named
	class       Class
}

func (w *wanted) match(pr *peer) bool {
	if w.environment == "" {
		return pr.ID == w.gateway
	}
	return pr.Environment == w.environment
}

// find gives the best tunnel, which it may have to wait for.
func (p *Pool) find(ctx context.Context, w wanted) (*picked, error) {
	if t := p.atHand(&w); t != nil {
		return t, nil
	}
	s := search{wanted: w, pool: p}
	return s.run(ctx)
}

// atHand is what look finds for nearly all interactive streams, and makes nothing:
// the best tunnel, whose peer answers. It is nil where there is more to consider.
func (p *Pool) atHand(w *wanted) *picked {
	p.mu.Lock()
	defer p.mu.Unlock()
	if w.class != Interactive || p.run == nil || p.run.stopping {
		return nil
	}
	best, r := p.best(w, w.class)
	if best == nil || r.silent {
		return nil
	}
	return p.give(best, &r, w.class)
}

// give gives out a member. The caller holds mu.
func (p *Pool) give(m *member, r *rank, class Class) *picked {
	choice := p.choice(m, *r, class)
	given := &m.given[class][choice]
	if *given == nil {
		*given = &picked{Tunnel: m.Tunnel, member: m, pool: p, class: class, carrier: r.carrier, choice: choice}
	}
	return *given
}

// search is one that has to wait, or to dial.
type search struct {
	wanted
	pool  *Pool
	tried []*flight // nil before anything was dialled
	again bool      // it was dialled a second time
}

func (s *search) run(ctx context.Context) (*picked, error) {
	select {
	case <-s.pool.started:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	var over <-chan time.Time
	for patient := true; ; {
		found := s.look(patient)
		switch {
		case found.stopping:
			return nil, errStopped
		case found.best != nil:
			return found.best, nil
		case found.silent && !patient:
			return nil, errSilent
		case !found.silent && !found.waits, !patient && !s.underway():
			return nil, attempts(s.tried)
		}
		if over == nil && found.patience > 0 {
			over = time.After(found.patience)
		}
		select {
		case <-found.changed:
		case <-found.again:
		case <-over:
			patient = false
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", ctx.Err(), attempts(s.tried))
		}
	}
}

// underway says whether an attempt to dial goes on.
func (s *search) underway() bool { return slices.ContainsFunc(s.tried, (*flight).underway) }

// cutOff says, once, that all attempts have failed and that one of them had come
// to a gateway: one that drains ends handshakes, and has peers turn to the process
// that takes its place.
func (s *search) cutOff() bool {
	if s.again || s.underway() {
		return false
	}
	return slices.ContainsFunc(s.tried, func(f *flight) bool {
		return f.err == nil || errors.Is(f.err, io.EOF) || errors.Is(f.err, syscall.ECONNRESET)
	})
}

// found is what there is now.
type found struct {
	best     *picked // nil if there is none that answers
	silent   bool    // there are tunnels in which nobody answers
	waits    bool    // another one may come
	patience time.Duration
	changed  <-chan struct{}
	again    <-chan time.Time // when to look again by itself
	stopping bool
}

// look looks for the best tunnel, and dials if there is none that will do. Who is
// patient waits for one that has nothing else to carry.
func (s *search) look(patient bool) found {
	p := s.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	f := found{changed: p.changed, stopping: p.run.stopping}
	best, r := p.best(&s.wanted, s.class)
	if best == nil && p.crowded(&s.wanted) {
		best, r = p.best(&s.wanted, Bulk-s.class) // better behind bulk than not at all
	}
	switch {
	case best != nil && !r.silent:
		if patient && p.widen(best, r) {
			f.waits, f.patience = true, lanePatience
			return f
		}
		if s.class == Bulk {
			best.picks.add(time.Now())
		}
		f.best = p.give(best, &r, s.class)
		return f
	case best != nil:
		f.silent, f.patience, f.again = true, answerPatience, time.After(answerLook)
	}
	if s.tried == nil || best == nil && s.cutOff() {
		s.again = s.tried != nil
		s.tried = p.dialAll(&s.wanted, f.silent)
	}
	f.waits = s.underway()
	if best == nil && p.expects(&s.wanted) {
		f.waits, f.patience = true, dialOutPatience
	}
	return f
}

// best is the tunnel of a class to open the next stream in; nil if there is none.
// The caller holds mu.
func (p *Pool) best(w *wanted, class Class) (best *member, least rank) {
	for _, m := range p.members {
		pr := p.peers[m.id]
		if pr == nil || !w.match(pr) {
			continue
		}
		i, usable := m.look()
		if !usable || i.Class != class {
			continue
		}
		soon := 0
		if class == Bulk {
			soon = m.picks.recent(time.Now())
		}
		if r := pr.path.rank(&i, soon); best == nil || r.less(least) {
			best, least = m, r
		}
	}
	return best, least
}

// crowded says whether a peer has all the tunnels that it may have. The caller
// holds mu.
func (p *Pool) crowded(w *wanted) bool {
	for id, pr := range p.peers {
		if w.match(pr) && p.count(id) >= maxTunnels {
			return true
		}
	}
	return false
}

// expects says whether a peer that dials by itself is here, and may dial for
// another class soon, or is about to come. The caller holds mu.
func (p *Pool) expects(w *wanted) bool {
	if p.cfg.Awaits && time.Since(p.run.began) < awaitedFor {
		for _, pr := range p.peers {
			if pr.Address == "" && w.match(pr) {
				return true
			}
		}
	}
	return slices.ContainsFunc(p.members, func(m *member) bool {
		pr := p.peers[m.id]
		return pr != nil && pr.Address == "" && w.match(pr) && m.usable()
	})
}

// picked is a tunnel as Pick gives it. One does for all streams of a class that are
// there for the same reason: it does not change.
type picked struct {
	Tunnel
	member  *member
	pool    *Pool
	class   Class
	carrier string
	choice  Choice
}

// Info implements Tunnel. It says why this one was picked.
func (t *picked) Info() Info {
	i := t.Tunnel.Info()
	i.Choice = t.choice
	return i
}

// Open implements Tunnel. Between Pick and Open a crossing is recorded, which
// is time enough for a tunnel to begin to drain, or to fall silent and have no
// room. The stream is unsettled.
func (t *picked) Open(ctx context.Context, h *crossingv1.Header) (Stream, error) {
	return t.orElsewhere(ctx, func(in *picked, why Choice) (Stream, error) { return in.open(ctx, h, why) })
}

// orElsewhere opens a stream in this tunnel or, if that cannot be, in another one to
// the same gateway. why is why in that one, 0 for this one.
func (t *picked) orElsewhere(ctx context.Context, open func(in *picked, why Choice) (Stream, error)) (Stream, error) {
	s, err := open(t, 0)
	for tries := 1; tries < openTries && elsewhere(err); tries++ {
		other, serr := t.pool.find(ctx, wanted{gateway: t.member.id, class: t.class})
		if serr != nil {
			return nil, fmt.Errorf("%w, and no other: %w", err, serr)
		}
		s, err = open(other, other.choice)
	}
	return s, err
}

// elsewhere says that a stream was not opened, and may be in another tunnel.
func elsewhere(err error) bool { return errors.Is(err, ErrDraining) || errors.Is(err, ErrInterrupted) }

// open opens a stream in this tunnel, and why is why in this one and not where
// it was picked.
func (t *picked) open(ctx context.Context, h *crossingv1.Header, why Choice) (Stream, error) {
	known := t.pool.added.Load()
	s, err := t.Tunnel.Open(ctx, h)
	if err != nil {
		return nil, err
	}
	return newUnsettled(t, s, h, known, why), nil
}
