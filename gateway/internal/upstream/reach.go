package upstream

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// deadFor is how long an endpoint that could not be reached is tried last: a
// few calls' patience, and no longer than a restart takes.
const deadFor = 5 * time.Second

// unreached is a failure before a byte of the request was sent, so that another
// endpoint may be asked for the same.
type unreached struct {
	addr string
	err  error
}

func (e *unreached) Error() string { return fmt.Sprintf("reach %s: %v", e.addr, e.err) }

func (e *unreached) Unwrap() error { return e.err }

func notReached(err error) bool {
	if err == nil {
		return false
	}
	var failed *unreached
	return errors.As(err, &failed)
}

// attempt is what is tried at one endpoint after the other.
type attempt interface {
	// try has share to reach the endpoint.
	try(ctx context.Context, addr string, share time.Duration) error
}

// try asks the endpoints of a service, one after the other, until one is
// reached: each at most once, and all within dialTimeout.
func (u *Upstream) try(ctx context.Context, d Destination, a attempt) error {
	at, first := u.order(d)
	if len(at) == 0 {
		return fmt.Errorf("reach %s of %s: %w", d.Service.Name, d.Workload.Name, ErrNoEndpoint)
	}
	limit := time.Now().Add(u.dialTimeout)
	var faults []error
	for i := range at {
		addr := at[(first+i)%len(at)]
		share := time.Until(limit) / time.Duration(len(at)-i)
		err := a.try(ctx, addr, share)
		if !notReached(err) || ctx.Err() != nil {
			if err == nil {
				u.alive(addr)
			}
			return err
		}
		u.bury(addr)
		faults = append(faults, err)
	}
	return errors.Join(faults...)
}

// order is the endpoints of a service and the one to begin with: in turn, those
// last that could not be reached just now.
func (u *Upstream) order(d Destination) (at []string, first int) {
	at = u.endpoints.Endpoints(d.Workload.Name, d.Service.Name)
	if len(at) == 0 {
		return nil, 0
	}
	now := time.Now()
	u.mu.Lock()
	defer u.mu.Unlock()
	key := turnKey{d.Workload.Name, d.Service.Name}
	u.turns[key]++
	first = int(u.turns[key] % uint64(len(at))) // less than the number of endpoints
	if len(u.dead) == 0 {
		return at, first
	}
	at = slices.Concat(at[first:], at[:first])
	slices.SortStableFunc(at, func(a, b string) int { return u.rank(a, now) - u.rank(b, now) })
	return at, 0
}

// rank is 1 for an endpoint that is to be tried last. u.mu is held.
func (u *Upstream) rank(addr string, now time.Time) int {
	if now.Before(u.dead[addr]) {
		return 1
	}
	return 0
}

// bury remembers an endpoint that could not be reached, and forgets those whose
// time is over.
func (u *Upstream) bury(addr string) {
	now := time.Now()
	u.mu.Lock()
	defer u.mu.Unlock()
	maps.DeleteFunc(u.dead, func(_ string, until time.Time) bool { return now.After(until) })
	u.dead[addr] = now.Add(deadFor)
}

func (u *Upstream) alive(addr string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.dead) > 0 {
		delete(u.dead, addr)
	}
}
