package tunnel

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
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
)

// errDialsOut says why a peer cannot be dialled.
var errDialsOut = errors.New("it dials by itself, and has no tunnel here now")

// flight is one attempt to dial a peer, for all who want it.
type flight struct {
	peer spiffeid.ID
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

// dialAll starts or joins an attempt for each peer that matches. The caller
// holds mu.
func (p *Pool) dialAll(match func(*peer) bool) []*flight {
	flights := []*flight{}
	for _, pr := range p.peers {
		if match(pr) {
			flights = append(flights, p.dial(pr))
		}
	}
	return flights
}

// dial starts an attempt, or joins the one under way. The caller holds mu.
func (p *Pool) dial(pr *peer) *flight {
	if pr.flight != nil {
		return pr.flight
	}
	f := &flight{peer: pr.ID, done: make(chan struct{})}
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
	pr.flight = f
	target, wait := pr.Peer, time.Until(pr.last.Add(dialPause))
	p.run.group.Go(func() {
		t, err := p.attempt(target, wait)
		p.landed(pr, f, t, err)
	})
	return f
}

// attempt dials once, for all who wait for it: its time is the pool's, not that
// of the request which happened to come first.
func (p *Pool) attempt(target Peer, wait time.Duration) (Tunnel, error) {
	ctx, cancel := context.WithTimeout(p.run.dialling, max(0, wait)+p.cfg.DialTimeout)
	defer cancel()
	if wait > 0 {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return p.cfg.Dialer.Dial(ctx, target.Address, target.ID, Interactive)
}

// landed takes note of an attempt's end.
func (p *Pool) landed(pr *peer, f *flight, t Tunnel, err error) {
	p.mu.Lock()
	wanted := p.peers[f.peer] == pr
	p.mu.Unlock()
	switch {
	case err != nil:
	case !wanted:
		err = errors.New("it was removed meanwhile")
		t.Close() // nobody is to use it
	case !p.add(t):
		err = errors.New("its tunnel was not wanted any more")
		t.Close() // nobody is to use it
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	f.err, pr.flight, pr.last = err, nil, time.Now()
	if err == nil {
		pr.failures, pr.retry = 0, time.Time{}
	} else {
		pr.failures++
		pr.retry = pr.last.Add(backoff(pr.failures))
		p.cfg.Log.Debug("peer not reached", zap.Stringer("peer", f.peer), zap.Int("failures", pr.failures), zap.Error(err))
	}
	close(f.done)
	p.broadcast()
	p.nudge()
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
			texts[i] = fmt.Sprintf("%s: still dialling", f.peer)
		case f.err == nil:
			texts[i] = fmt.Sprintf("%s: tunnel was lost at once", f.peer)
		default:
			texts[i] = fmt.Sprintf("%s: %v", f.peer, f.err)
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
