package tunnel

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.uber.org/zap"
)

const (
	firstRetry = 250 * time.Millisecond
	lastRetry  = 10 * time.Second
	// dialPause is the least time between two attempts, also of those that wait
	// for one: a peer that is down is not dialled once for each request.
	dialPause = 100 * time.Millisecond
	// headStart is what the preferred carrier has before the other one is tried:
	// the Connection Attempt Delay of RFC 8305, section 5.
	headStart = 250 * time.Millisecond
	// bulkHeadStart is the same for bulk, which QUIC carries fifty times slower
	// where packets are lost, and which stays where it begins. Until then TCP has
	// another attempt after each headStart: one whose first packet is lost takes
	// longer than a second.
	bulkHeadStart = 3 * headStart
)

var (
	// errDialsOut says why a peer cannot be dialled.
	errDialsOut = errors.New("it dials by itself, and has no tunnel here now")
	// errNotNeeded ends an attempt that another one has overtaken.
	errNotNeeded = errors.New("another attempt was faster")
)

// way is one way to a peer.
type way struct {
	carrier string
	class   Class
	lane    int // the how-manieth tunnel of those, from 0
}

// dialling is how dialling a peer one way goes.
type dialling struct {
	flight   *flight // the attempt under way
	failures int
	last     time.Time // when the last attempt ended
	retry    time.Time // when the next one in the background is due
}

// dialling is how dialling one way goes. The caller holds the pool's mu.
func (pr *peer) dialling(w way) *dialling {
	d := pr.ways[w]
	if d == nil {
		d = &dialling{}
		pr.ways[w] = d
	}
	return d
}

// forgive forgets what has failed.
func (pr *peer) forgive() {
	for _, d := range pr.ways {
		d.failures, d.retry = 0, time.Time{}
	}
}

// flight is one attempt to dial a peer, for all who want it.
type flight struct {
	peer spiffeid.ID
	way  way
	done chan struct{}
	err  error // readable after done is closed
}

func (f *flight) underway() bool {
	select {
	case <-f.done:
		return false
	default:
		return true
	}
}

// dialAll starts or joins attempts for each peer that matches, each way that
// has no tunnel of the class to it. If hurried, none has a head start. The
// caller holds mu.
func (p *Pool) dialAll(to *wanted, hurried bool) []*flight {
	flights := []*flight{}
	for _, pr := range p.peers {
		if !to.match(pr) || p.count(pr.ID) >= maxTunnels {
			continue
		}
		for w, after := range p.ways(pr, to.class) {
			if hurried {
				after = 0
			}
			if !p.linked(pr, w) {
				flights = append(flights, p.dial(pr, w, after))
			}
			if pr.Address == "" {
				break // it cannot be dialled by the other one either
			}
		}
	}
	return flights
}

// ways are those to dial a peer for a class, and how long after the first.
func (p *Pool) ways(pr *peer, class Class) map[way]time.Duration {
	ways := map[way]time.Duration{}
	for carrier := range p.cfg.Dialers {
		w := way{carrier: carrier, class: class}
		switch {
		case class == Interactive:
			ways[w] = 0
		case carrier != pr.path.prefers(class):
			ways[w] = bulkHeadStart
		default:
			for after := time.Duration(0); after < bulkHeadStart; after += headStart {
				ways[w] = after
				w.lane++
			}
		}
	}
	return ways
}

// dial starts an attempt after a while, or joins the one under way. The caller
// holds mu.
func (p *Pool) dial(pr *peer, w way, after time.Duration) *flight {
	d := pr.dialling(w)
	if d.flight != nil {
		return d.flight
	}
	f := &flight{peer: pr.ID, way: w, done: make(chan struct{})}
	switch {
	case p.run.stopping:
		f.err = errStopped
	case pr.Address == "":
		f.err = errDialsOut
	}
	if f.err != nil {
		close(f.done)
		return f
	}
	d.flight = f
	target, wait := pr.Peer, max(after, time.Until(d.last.Add(dialPause)))
	p.run.group.Go(func() {
		t, err := p.attempt(target, w, wait, after > 0)
		p.landed(pr, f, t, err)
	})
	return f
}

// attempt dials once, for all who wait for it: its time is the pool's, not that
// of the request which happened to come first. One that yields is not made if
// before its turn another one has made a tunnel of its class.
func (p *Pool) attempt(target Peer, w way, wait time.Duration, yields bool) (Tunnel, error) {
	ctx, cancel := context.WithTimeout(p.run.dialling, max(0, wait)+p.cfg.DialTimeout)
	defer cancel()
	for turn, now := time.After(max(0, wait)), false; !now; {
		changed := p.Changed()
		if yields && p.answers(target.ID, w.class) {
			return nil, errNotNeeded
		}
		select {
		case <-turn:
			now = true
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return p.cfg.Dialers[w.carrier].Dial(ctx, target.Address, target.ID, w.class)
}

// answers says whether there is a tunnel of the class whose peer answers.
func (p *Pool) answers(id spiffeid.ID, class Class) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	m, r := p.best(&wanted{gateway: id}, class)
	return m != nil && !r.silent
}

// landed takes note of an attempt's end, and in the same breath takes the
// tunnel: whoever finds it finds no attempt under way.
func (p *Pool) landed(pr *peer, f *flight, t Tunnel, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil {
		if err = p.take(pr, f.peer, t); err != nil {
			p.run.group.Go(func() { t.Close() }) // nobody is to use it
		}
	}
	d := pr.dialling(f.way)
	f.err, d.flight = err, nil
	if !errors.Is(err, errNotNeeded) {
		d.last = time.Now()
	}
	switch {
	case err == nil:
		d.failures, d.retry = 0, time.Time{}
	case !errors.Is(err, errNotNeeded):
		d.failures++
		d.retry = d.last.Add(backoff(d.failures))
		p.cfg.Log.Debug("peer not reached", zap.Stringer("peer", f.peer), zap.String("carrier", f.way.carrier),
			zap.Int("failures", d.failures), zap.Error(err))
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		p.bury(f.peer)
	}
	close(f.done)
	p.broadcast()
	p.nudge()
}

// take adds a tunnel that was dialled, if it is still wanted. The caller holds
// mu.
func (p *Pool) take(pr *peer, id spiffeid.ID, t Tunnel) error {
	if p.peers[id] != pr {
		return errors.New("it was removed meanwhile")
	}
	if !p.add(t) {
		return errors.New("its tunnel was not wanted any more")
	}
	return nil
}

// bury closes tunnels that do not answer to a peer whose host refuses new ones:
// the gateway there is gone, and no packet will say so in QUIC. The caller
// holds mu.
func (p *Pool) bury(id spiffeid.ID) {
	for _, m := range p.members {
		if i := m.Info(); m.id == id && i.mute() {
			p.run.group.Go(func() { m.Close() }) // whoever waits in it is told so
		}
	}
}

// backoff doubles from firstRetry to lastRetry, less up to a half by chance so
// that gateways do not dial in step.
func backoff(failures int) time.Duration {
	d := min(firstRetry<<min(failures-1, 16), lastRetry)
	return d/2 + rand.N(d/2)
}

// attempts is an error that says what became of each gateway.
type attempts []*flight

// Error names each gateway and why it could not be reached.
func (a attempts) Error() string {
	if len(a) == 0 {
		return "the policy has no gateway there"
	}
	texts := make([]string, len(a))
	for i, f := range a {
		switch {
		case f.underway():
			texts[i] = fmt.Sprintf("%s by %s: still dialling", f.peer, f.way.carrier)
		case f.err == nil:
			texts[i] = fmt.Sprintf("%s by %s: tunnel was lost at once", f.peer, f.way.carrier)
		default:
			texts[i] = fmt.Sprintf("%s by %s: %v", f.peer, f.way.carrier, f.err)
		}
	}
	return strings.Join(texts, "; ")
}

// Unwrap gives the causes of those that have failed.
func (a attempts) Unwrap() []error {
	var errs []error
	for _, f := range a {
		if !f.underway() && f.err != nil {
			errs = append(errs, f.err)
		}
	}
	return errs
}
