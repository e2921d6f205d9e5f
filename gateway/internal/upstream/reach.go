package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
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
	var failed *unreached
	return errors.As(err, &failed)
}

// try asks the endpoints of a service, one after the other, until one is
// reached: each at most once, and all within dialTimeout.
func (u *Upstream) try(ctx context.Context, d Destination, ask func(ctx context.Context, addr string) error) error {
	addrs := u.order(d)
	if len(addrs) == 0 {
		return fmt.Errorf("reach %s of %s: %w", d.Service.Name, d.Workload.Name, ErrNoEndpoint)
	}
	limit := time.Now().Add(u.dialTimeout)
	var faults []error
	for i, addr := range addrs {
		share := time.Until(limit) / time.Duration(len(addrs)-i)
		err := ask(context.WithValue(ctx, shareKey{}, share), addr)
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

// order is the endpoints of a service as they are to be tried: in turn, those
// last that could not be reached just now.
func (u *Upstream) order(d Destination) []string {
	at := u.endpoints.Endpoints(d.Workload.Name, d.Service.Name)
	if len(at) == 0 {
		return nil
	}
	now := time.Now()
	u.mu.Lock()
	defer u.mu.Unlock()
	key := turnKey{d.Workload.Name, d.Service.Name}
	u.turns[key]++
	first := int(u.turns[key] % uint64(len(at))) //nolint:gosec // less than the number of endpoints
	addrs := slices.Concat(at[first:], at[:first])
	if len(u.dead) > 0 {
		slices.SortStableFunc(addrs, func(a, b string) int { return u.rank(a, now) - u.rank(b, now) })
	}
	return addrs
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
	delete(u.dead, addr)
}

// shareKey carries an attempt's share of dialTimeout in a context: a transport
// has no other way to pass it on to who dials.
type shareKey struct{}

// connecting dials and does what else a connection needs before it can be sent
// a byte, within the share of the attempt.
func (u *Upstream) connecting(ctx context.Context, addr string, then func(ctx context.Context, raw net.Conn) (net.Conn, error)) (net.Conn, error) {
	share, ok := ctx.Value(shareKey{}).(time.Duration)
	if !ok {
		share = u.dialTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, share)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err == nil && then != nil {
		conn, err = then(ctx, conn)
	}
	if err != nil {
		return nil, &unreached{addr, err}
	}
	return conn, nil
}

// heldBody keeps a request's body for the next attempt: a transport closes it
// where it could not connect. Once a byte was asked for it holds nothing back.
type heldBody struct {
	io.ReadCloser

	mu     sync.Mutex // guards what follows
	free   bool
	closed bool // while it was not free
}

// hold gives the body of one attempt and what lets go of it.
func hold(body io.ReadCloser) (held io.ReadCloser, release func()) {
	if body == http.NoBody {
		return body, func() {}
	}
	b := &heldBody{ReadCloser: body}
	return b, b.release
}

func (b *heldBody) Read(p []byte) (int, error) {
	b.release()
	return b.ReadCloser.Read(p)
}

func (b *heldBody) Close() error {
	b.mu.Lock()
	b.closed = true
	free := b.free
	b.mu.Unlock()
	if !free {
		return nil
	}
	return b.ReadCloser.Close()
}

func (b *heldBody) release() {
	b.mu.Lock()
	due := b.closed && !b.free
	b.free = true
	b.mu.Unlock()
	if due {
		b.ReadCloser.Close()
	}
}
