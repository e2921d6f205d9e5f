//go:build linux

package bench

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/sallyport-mesh/sallyport/e2e/bench/load"
	"github.com/sallyport-mesh/sallyport/e2e/bench/usage"
	"github.com/sallyport-mesh/sallyport/e2e/meshtest"
)

var soak = flag.Duration("soak", 10*time.Second, "how long TestSoak keeps the load up")

// What a pair may hold at rest after the soak beyond what it held at rest after
// a warm-up of the same load. Memory that a garbage collector has not given back
// yet is a share of what there was.
const (
	moreGoroutines  = 32
	moreDescriptors = 16
	moreThreads     = 12
	moreMemory      = 24 << 20
	shareOfMemory   = 4 // a quarter more
)

// holding is what a pair holds at rest.
type holding struct {
	memory               int64
	descriptors, threads int
	goroutines           int // counted at the end alone: that ends the pair
}

func (h holding) String() string {
	return fmt.Sprintf("%.1f MiB, %d descriptors, %d threads, %d goroutines",
		float64(h.memory)/(1<<20), h.descriptors, h.threads, h.goroutines)
}

// TestSoak keeps a mix of crossings going and then finds the pair as it was:
// small ones over connections that stay, new connections, downloads, and
// downloads that the caller breaks off.
func TestSoak(t *testing.T) {
	meshtest.Long(t)
	b := newBench(t, false)
	lap := min(30*time.Second, *soak/5)
	before := b.soak(t, 0, lap)
	after := b.soak(t, *soak, lap)
	t.Logf("at rest after a warm-up of %s: %s", lap, before)
	t.Logf("at rest after a soak of %s: %s", *soak, after)
	for _, c := range []struct {
		what                string
		before, after, more int64
	}{
		{"goroutines", int64(before.goroutines), int64(after.goroutines), moreGoroutines},
		{"descriptors", int64(before.descriptors), int64(after.descriptors), moreDescriptors},
		{"threads", int64(before.threads), int64(after.threads), moreThreads},
		{"bytes", before.memory, after.memory, moreMemory + before.memory/shareOfMemory},
	} {
		if c.after > c.before+c.more {
			t.Errorf("%d %s at rest after the soak, %d before; want at most %d more", c.after, c.what, c.before, c.more)
		}
	}
}

// soak starts the pair anew, warms it up for a lap, keeps the load up for a
// time, and gives what the pair holds then at rest.
func (b *bench) soak(t *testing.T, total, lap time.Duration) holding {
	t.Helper()
	r, err := sallyport("azure", "llm", nil)(b, b.here)
	if err != nil {
		t.Fatal(err)
	}
	defer r.stop()
	if err := r.awaitAnswer(b.ctx); err != nil {
		t.Fatalf("%v\n%s", err, r.said())
	}
	for began := time.Now(); ; {
		if err := b.lap(r, lap); err != nil {
			t.Fatalf("after %s: %v\n%s", time.Since(began).Round(time.Second), err, r.said())
		}
		if time.Since(began) >= lap+total {
			break
		}
	}
	h := b.rest(t, r)
	for _, p := range r.counts {
		n, err := p.goroutines()
		if err != nil {
			t.Fatal(err)
		}
		h.goroutines += n
	}
	return h
}

// lap is all kinds of load at a time.
func (b *bench) lap(r *running, d time.Duration) error {
	token, err := b.here.token(b.ctx) // it lasts for minutes, and a soak for longer
	if err != nil {
		return err
	}
	target := r.target
	target.Token = token
	held, err := load.Hold(b.ctx, target, 16)
	if err != nil {
		return err
	}
	defer held.Close()
	rate := func(perSecond float64) load.Bound {
		return load.Bound{Count: max(1, int(perSecond*d.Seconds())), Time: d}
	}
	faults := make([]error, 4)
	var group sync.WaitGroup
	for i, f := range []func(context.Context) (load.Result, error){
		func(ctx context.Context) (load.Result, error) { return held.KeepAlive(ctx, rate(2000)) },
		func(ctx context.Context) (load.Result, error) { return load.Fresh(ctx, target, 8, rate(100)) },
		func(ctx context.Context) (load.Result, error) {
			return load.Download(ctx, target, 2, 8<<20, rate(4))
		},
		func(ctx context.Context) (load.Result, error) { return load.Abort(ctx, target, 4, rate(20)) },
	} {
		group.Go(func() { _, faults[i] = f(b.ctx) })
	}
	group.Wait()
	return errors.Join(faults...)
}

// spareTunnels is when a gateway has let go of the tunnels that it dialled while
// others carried bulk: they are idle for five seconds first.
const spareTunnels = 8 * time.Second

// rest waits until the pair does nothing any more, and looks at what it holds.
func (b *bench) rest(t *testing.T, r *running) holding {
	t.Helper()
	<-time.After(spareTunnels)
	pids := r.pids()
	var h holding
	_, err := settled(func() (time.Duration, error) { return usage.CPU(pids...) }, 10*time.Millisecond)
	if err == nil {
		h.memory, err = memory(r)
	}
	if err == nil {
		h.descriptors, err = usage.Descriptors(pids...)
	}
	if err == nil {
		h.threads, err = usage.Threads(pids...)
	}
	if err != nil {
		t.Fatal(err)
	}
	return h
}
