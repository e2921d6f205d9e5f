// Package load is the one load generator of the benchmarks, and the backend
// behind every pair of gateways: each pair is given the same requests, over
// HTTP/1.1 or HTTP/2, by the same code, so that what differs is the pair. It
// measures what a client sees and judges nothing.
//
// The invariant: every run is bounded in count and in time, and reaches only
// this machine: 127.0.0.0/8, or a network namespace of the caller's own.
package load

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Bound ends a run: after so many requests in all or so much time, whichever
// comes first. Zero of either is no bound; both zero is refused.
type Bound struct {
	Count int
	Time  time.Duration
}

// longest is the most that any run may take.
const longest = 15 * time.Minute

// Result is what the clients saw.
type Result struct {
	Requests int
	Bytes    int64 // of bodies
	Took     time.Duration
	P50, P99 time.Duration // of a request, or of what else is said to be timed
}

// Rate is the body bytes a second.
func (r Result) Rate() float64 { return float64(r.Bytes) / r.Took.Seconds() }

// worker does one request after another.
type worker struct {
	ready func(ctx context.Context)                // waits until the next is due; nil if it always is
	ask   func(ctx context.Context) (int64, error) // one request; the bytes of its body
	end   func()                                   // nil if there is nothing to let go of
}

// run lets so many workers ask until the bound. The first error ends it; the
// end of ctx is none.
func run(ctx context.Context, b Bound, workers int, begin func(ctx context.Context, number int) (worker, error)) (Result, error) {
	return drive(ctx, b, workers, func(ctx context.Context, r *running, number int) error {
		return r.work(ctx, number, begin)
	})
}

// drive is the same for workers that do more than one request at a time.
func drive(ctx context.Context, b Bound, workers int, work func(ctx context.Context, r *running, number int) error) (Result, error) {
	if b.Count <= 0 && b.Time <= 0 {
		return Result{}, errors.New("load: a run needs a bound")
	}
	if b.Time <= 0 || b.Time > longest {
		b.Time = longest
	}
	r := &running{bound: b, latencies: make([][]time.Duration, workers)}
	ctx, r.stop = context.WithTimeoutCause(ctx, b.Time, errOver)
	defer r.stop()
	began := time.Now()
	var group sync.WaitGroup
	for w := range workers {
		group.Go(func() { r.note(ctx, work(ctx, r, w)) })
	}
	group.Wait()
	return r.result(time.Since(began))
}

var errOver = errors.New("the run's time is over")

// running is a run that goes on.
type running struct {
	bound     Bound
	stop      context.CancelFunc
	given     atomic.Int64 // requests handed out
	bytes     atomic.Int64
	latencies [][]time.Duration // by worker, each its worker's own

	mu  sync.Mutex // guards err
	err error
}

func (r *running) work(ctx context.Context, number int, begin func(context.Context, int) (worker, error)) error {
	w, err := begin(ctx, number)
	if err != nil {
		return err
	}
	if w.end != nil {
		defer w.end()
	}
	for {
		if w.ready != nil {
			w.ready(ctx)
		}
		if !r.another(ctx) {
			return nil
		}
		began := time.Now()
		n, err := w.ask(ctx)
		r.bytes.Add(n)
		if err != nil {
			return err
		}
		r.latencies[number] = append(r.latencies[number], time.Since(began))
	}
}

// another says whether one more request may be begun, and hands it out.
func (r *running) another(ctx context.Context) bool {
	n := r.given.Add(1)
	return ctx.Err() == nil && (r.bound.Count <= 0 || n <= int64(r.bound.Count))
}

// over says that the run has ended. A dialler gives up at the deadline, which
// may be just before the context says so.
func over(ctx context.Context) bool {
	deadline, bounded := ctx.Deadline()
	return ctx.Err() != nil || bounded && !time.Now().Before(deadline)
}

// note keeps the first error. One that came of the end of the run is none.
func (r *running) note(ctx context.Context, err error) {
	if err == nil || over(ctx) {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		r.err = err
	}
	r.stop()
}

func (r *running) result(took time.Duration) (Result, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return Result{}, r.err
	}
	all := slices.Concat(r.latencies...)
	if len(all) == 0 && r.bytes.Load() == 0 {
		return Result{}, fmt.Errorf("load: not one answer within %s", took)
	}
	slices.Sort(all)
	return Result{
		Requests: len(all), Bytes: r.bytes.Load(), Took: took,
		P50: quantile(all, 0.50), P99: quantile(all, 0.99),
	}, nil
}

// quantile of what is sorted; 0 of nothing.
func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}
