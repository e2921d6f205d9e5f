//go:build linux

package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport-mesh/sallyport/e2e/bench/load"
	"github.com/sallyport-mesh/sallyport/e2e/bench/usage"
)

// Kinds that need a pair which understands HTTP: each request is decided and
// recorded by itself.
const (
	http1       = "HTTP/1.1, 64 conns, us/request"
	h2Unary     = "h2 unary, 8 conns x 16 streams, us/request"
	grpcUnary   = "gRPC unary, 8 conns x 16 streams, us/request"
	grpcStream  = "gRPC ping-pong, 8 conns x 16 streams, us/message"
	sseAdded    = "SSE, 50 streams x 50 tokens/s, added p99, ms"
	sseCPU      = "SSE, 50 streams x 50 tokens/s, us/token"
	allocsHTTP1 = "HTTP/1.1, 64 conns, allocations/exchange"
	allocsGRPC  = "gRPC unary, 8 conns x 16 streams, allocations/exchange"
	objects     = "objects over HTTP/1.1, 1 stream, s/GiB"
	digested    = "objects over HTTP/1.1, CPU times that without their digest"
)

// The load of those kinds.
const (
	h2Conns      = 8
	h2Streams    = 16
	tokenStreams = 50
	tokenPace    = time.Second / 50
)

// Event streams come first: they are a light load, and what is left to be done
// of a heavy one would be in their way.
var httpKinds = []kind{
	{name: sseAdded, http: true, measure: measureSSEAdded},
	{name: sseCPU, http: true, measure: func(ctx context.Context, b *bench, r *running) (float64, error) {
		if err := b.warmTokens(ctx, r); err != nil {
			return 0, err
		}
		return perRequest(r, func() (load.Result, error) { return b.readTokens(ctx, r.web) })
	}},
	{name: http1, http: true, measure: func(ctx context.Context, b *bench, r *running) (float64, error) {
		return measureKeep(ctx, b, r, r.web)
	}},
	{name: h2Unary, http: true, measure: func(ctx context.Context, b *bench, r *running) (float64, error) {
		return measureCalls(ctx, b, r, r.h2, load.Get)
	}},
	{name: grpcUnary, http: true, measure: func(ctx context.Context, b *bench, r *running) (float64, error) {
		return measureCalls(ctx, b, r, r.grpc, load.Unary)
	}},
	{name: grpcStream, http: true, measure: func(ctx context.Context, b *bench, r *running) (float64, error) {
		const messages = 2 // there and back
		v, err := measureCalls(ctx, b, r, r.grpc, load.PingPong)
		return v / messages, err
	}},
	{name: objects, http: true, measure: func(ctx context.Context, b *bench, r *running) (float64, error) {
		return perGiB(ctx, b, r, "GET")
	}},
	{name: digested, http: true, measure: measureDigested},
	{name: allocsHTTP1, http: true, measure: func(ctx context.Context, b *bench, r *running) (float64, error) {
		held, err := load.Hold(ctx, r.web, 64)
		if err != nil {
			return 0, err
		}
		defer held.Close()
		return allocations(ctx, b, r, func(bound load.Bound) (load.Result, error) { return held.KeepAlive(ctx, bound) })
	}},
	{name: allocsGRPC, http: true, measure: func(ctx context.Context, b *bench, r *running) (float64, error) {
		return allocations(ctx, b, r, func(bound load.Bound) (load.Result, error) {
			return load.Calls(ctx, r.grpc, h2Conns, h2Streams, load.Unary, bound)
		})
	}},
}

// measureCalls is for one call over HTTP/2, after some that are not measured.
func measureCalls(ctx context.Context, b *bench, r *running, t load.Target, call load.Call) (float64, error) {
	if _, err := load.Calls(ctx, t, h2Conns, h2Streams, call, b.size.warm); err != nil {
		return 0, err
	}
	return perRequest(r, func() (load.Result, error) {
		return load.Calls(ctx, t, h2Conns, h2Streams, call, b.size.calls)
	})
}

// measureSSEAdded is the 99th percentile of the time from a token's sending to
// its reading, over the pair, less that straight from the backend just before:
// what it costs to have two more processes on the way, and what this machine
// itself delays, which both have, left out. In milliseconds.
func measureSSEAdded(ctx context.Context, b *bench, r *running) (float64, error) {
	if err := b.warmTokens(ctx, r); err != nil {
		return 0, err
	}
	direct, err := b.readTokens(ctx, load.Target{Address: b.here.backend})
	if err != nil {
		return 0, fmt.Errorf("straight from the backend: %w", err)
	}
	through, err := b.readTokens(ctx, r.web)
	return float64((through.P99 - direct.P99).Microseconds()) / 1000, err
}

func (b *bench) readTokens(ctx context.Context, t load.Target) (load.Result, error) {
	return load.Tokens(ctx, t, tokenStreams, b.size.tokens, tokenPace)
}

func (b *bench) warmTokens(ctx context.Context, r *running) error {
	const few = 5
	_, err := load.Tokens(ctx, r.web, tokenStreams, few, tokenPace)
	return err
}

// measureDigested is the CPU time of the pair for an object over that for the same
// bytes as the answer to a POST, of which gateways make no digest.
func measureDigested(ctx context.Context, b *bench, r *running) (float64, error) {
	with, err1 := perGiB(ctx, b, r, "GET")
	without, err2 := perGiB(ctx, b, r, "POST")
	return with / without, errors.Join(err1, err2)
}

// perGiB is the pair's CPU time for a GiB in one answer, in seconds.
func perGiB(ctx context.Context, b *bench, r *running, method string) (float64, error) {
	t := r.web
	t.Method = method
	var got load.Result
	used, err := cost(r, func() (err error) {
		got, err = load.Download(ctx, t, 1, b.size.bulk, load.Bound{Count: 1})
		return err
	})
	return used.Seconds() / (float64(got.Bytes) / (1 << 30)), err
}

// allocations is how many objects both gateways together allocate for an
// exchange, with all that they do later because of it, and without what it
// takes to ask them.
func allocations(ctx context.Context, b *bench, r *running, exchange func(load.Bound) (load.Result, error)) (float64, error) {
	if _, err := exchange(b.size.warm); err != nil {
		return 0, err
	}
	rest := func() error {
		_, err := settled(func() (time.Duration, error) { return usage.CPU(r.pids()...) }, 10*time.Millisecond)
		return err
	}
	if err := rest(); err != nil {
		return 0, err
	}
	first, err1 := allocated(ctx, r.admins)
	before, err2 := allocated(ctx, r.admins)
	got, err3 := exchange(b.size.exchanges)
	if err := errors.Join(err1, err2, err3, rest()); err != nil {
		return 0, err
	}
	after, err := allocated(ctx, r.admins)
	asking := before - first
	return (after - before - asking) / float64(got.Requests), err
}

// allocated is how many objects the gateways have allocated so far.
func allocated(ctx context.Context, admins []string) (float64, error) {
	total := 0.0
	for _, admin := range admins {
		n, err := metric(ctx, admin, "go_memstats_mallocs_total")
		if err != nil {
			return 0, err
		}
		total += n
	}
	return total, nil
}

// metric reads one figure without labels that a gateway has for Prometheus.
func metric(ctx context.Context, admin, name string) (float64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+admin+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	resp, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		if value, found := strings.CutPrefix(lines.Text(), name+" "); found {
			return strconv.ParseFloat(value, 64)
		}
	}
	return 0, fmt.Errorf("the gateway has no %s: %w", name, lines.Err())
}
