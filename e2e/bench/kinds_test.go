//go:build linux

package bench

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/sallyport-mesh/sallyport/e2e/bench/load"
	"github.com/sallyport-mesh/sallyport/e2e/bench/usage"
)

// kind is one thing that is measured of a running pair.
type kind struct {
	name    string  // with the unit
	far     bool    // over the emulated path, not on loopback
	loss    float64 // of that path
	http    bool    // needs a pair that understands HTTP
	measure func(ctx context.Context, b *bench, r *running) (float64, error)
}

// Kinds, in the order in which they are measured: memory first, before traffic
// has left anything in it, and last what takes a while to be cleared away.
const (
	fresh   = "fresh gateway, MiB"
	idle    = "idle client connection, KiB"
	keep    = "L4 stream, HTTP/1.1 64 conns, us/request"
	added   = "added p50 at 1 connection, us"
	conn    = "new client connection, us"
	bulk1   = "bulk, 1 stream, s/GiB"
	bulk4   = "bulk, 4 streams, s/GiB"
	streams = "10,000 streams, MiB"
	beside  = "p99 of interactive calls beside a bulk transfer, ms, loss "
	bulk16  = "16 bulk streams, 50 ms, MB/s, loss "
)

var kinds = append([]kind{
	{name: fresh, measure: measureFresh},
	{name: idle, measure: measureIdle},
	{name: keep, measure: func(ctx context.Context, b *bench, r *running) (float64, error) {
		return measureKeep(ctx, b, r, r.target)
	}},
	{name: added, measure: measureAdded},
	{name: conn, measure: func(ctx context.Context, b *bench, r *running) (float64, error) {
		return perRequest(r, func() (load.Result, error) { return load.Fresh(ctx, r.target, 16, b.size.conn) })
	}},
	{name: bulk1, measure: measureBulk(1)},
	{name: bulk4, measure: measureBulk(4)},
	{name: streams, measure: measureStreams},
}, slices.Concat(httpKinds, abroadKinds())...)

// size is how much load a measurement takes.
type size struct {
	keep, conn, added load.Bound
	bulk              int64         // bytes
	idle, streams     int           // connections
	over              time.Duration // of a measurement over the emulated path
	calls, warm       load.Bound    // HTTP/2, and what comes before it and is not measured
	exchanges         load.Bound    // over which allocations are counted
	tokens            int           // of each event stream
}

// whole is what a figure needs; glimpse only shows that everything works. Idle
// connections are so many that a process's first growth, which is paid once, is
// no part of what one takes.
var (
	whole = size{
		keep: load.Bound{Time: 2 * time.Second}, conn: load.Bound{Time: 2 * time.Second, Count: 8000},
		added: load.Bound{Time: time.Second}, bulk: 512 << 20, idle: 4000, streams: 10_000, over: 10 * time.Second,
		calls: load.Bound{Time: 1500 * time.Millisecond}, warm: load.Bound{Count: 1000}, exchanges: load.Bound{Count: 5000}, tokens: 150,
	}
	glimpse = size{
		keep: load.Bound{Count: 1000}, conn: load.Bound{Count: 32},
		added: load.Bound{Count: 50}, bulk: 16 << 20, idle: 64, streams: 256, over: 2 * time.Second, // what TCP takes to get over a packet that was lost early
		calls: load.Bound{Count: 1000}, warm: load.Bound{Count: 200}, exchanges: load.Bound{Count: 1000}, tokens: 5,
	}
)

// cost is the CPU time that a pair spends because of f, including what it does
// later: records are delivered, and connections are taken down.
func cost(r *running, f func() error) (time.Duration, error) {
	before, err := usage.CPU(r.pids()...)
	if err != nil {
		return 0, err
	}
	if err := f(); err != nil {
		return 0, err
	}
	after, err := settled(func() (time.Duration, error) { return usage.CPU(r.pids()...) }, 10*time.Millisecond)
	return after - before, err
}

// settled reads a figure until it stays within slack for three looks, or for a
// bounded time.
func settled[N int64 | time.Duration](read func() (N, error), slack N) (N, error) {
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	enough := time.After(5 * time.Second)
	last, err := read()
	for same := 0; err == nil && same < 3; {
		select {
		case <-ticker.C:
		case <-enough:
			return last, nil
		}
		var now N
		if now, err = read(); now-last > slack || last-now > slack {
			same = 0
		} else {
			same++
		}
		last = now
	}
	return last, err
}

// memory of the pair, with what its processes share counted once.
func memory(r *running) (int64, error) { return steady(r, usage.Memory) }

// resident is the memory of the pair as if each were alone on its host.
func resident(r *running) (int64, error) { return steady(r, usage.Resident) }

func steady(r *running, read func(...int) (int64, error)) (int64, error) {
	const slack = 64 << 10
	return settled(func() (int64, error) { return read(r.pids()...) }, slack)
}

// measureFresh is the larger of the two gateways just started.
func measureFresh(_ context.Context, _ *bench, r *running) (float64, error) {
	if _, err := resident(r); err != nil {
		return 0, err
	}
	most := int64(0)
	for _, pid := range r.pids() {
		n, err := usage.Resident(pid)
		if err != nil {
			return 0, err
		}
		most = max(most, n)
	}
	return float64(most) / (1 << 20), nil
}

// measureIdle is what one connection that carries nothing holds at both ends.
func measureIdle(ctx context.Context, b *bench, r *running) (float64, error) {
	before, err := memory(r)
	if err != nil {
		return 0, err
	}
	held, err := load.Hold(ctx, r.target, b.size.idle)
	if err != nil {
		return 0, err
	}
	defer held.Close()
	after, err := memory(r)
	return float64(after-before) / float64(b.size.idle) / (1 << 10), err
}

// measureStreams is all that the pair holds with so many open streams.
func measureStreams(ctx context.Context, b *bench, r *running) (float64, error) {
	held, err := load.Hold(ctx, r.target, b.size.streams)
	if err != nil {
		return 0, err
	}
	defer held.Close()
	n, err := resident(r)
	return float64(n) / (1 << 20), err
}

// perRequest is the pair's CPU time for one request, in microseconds.
func perRequest(r *running, f func() (load.Result, error)) (float64, error) {
	var got load.Result
	used, err := cost(r, func() (err error) {
		got, err = f()
		return err
	})
	if err != nil {
		return 0, err
	}
	return float64(used.Microseconds()) / float64(got.Requests), nil
}

// measureKeep is for one request of 64 connections that stay.
func measureKeep(ctx context.Context, b *bench, r *running, t load.Target) (float64, error) {
	held, err := load.Hold(ctx, t, 64)
	if err != nil {
		return 0, err
	}
	defer held.Close()
	return perRequest(r, func() (load.Result, error) { return held.KeepAlive(ctx, b.size.keep) })
}

// measureAdded is the median over the pair less the median straight to the
// backend, one after the other.
func measureAdded(ctx context.Context, b *bench, r *running) (float64, error) {
	direct, err := load.KeepAlive(ctx, load.Target{Address: b.here.backend}, 1, b.size.added)
	if err != nil {
		return 0, fmt.Errorf("straight to the backend: %w", err)
	}
	through, err := load.KeepAlive(ctx, r.target, 1, b.size.added)
	return float64((through.P50 - direct.P50).Microseconds()), err
}

// measureBulk is the pair's CPU time for a GiB, in seconds.
func measureBulk(connections int) func(context.Context, *bench, *running) (float64, error) {
	return func(ctx context.Context, b *bench, r *running) (float64, error) {
		each := b.size.bulk / int64(connections)
		var got load.Result
		used, err := cost(r, func() (err error) {
			got, err = load.Download(ctx, r.bulk(), connections, each, load.Bound{Count: connections})
			return err
		})
		return used.Seconds() / (float64(got.Bytes) / (1 << 30)), err
	}
}
