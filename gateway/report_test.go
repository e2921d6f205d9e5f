package gateway

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// signal is closed and replaced at each change.
type signal struct {
	mu sync.Mutex // guards ch
	ch chan struct{}
}

func (s *signal) changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ch
}

func (s *signal) change() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.ch)
	s.ch = make(chan struct{})
}

// TestReports: the control plane learns of a policy at once, of bundles and tunnels
// soon, however many come, and else every few seconds.
func TestReports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		policy, bundles, tunnels := &signal{ch: make(chan struct{})}, &signal{ch: make(chan struct{})}, &signal{ch: make(chan struct{})}
		start := time.Now()
		var said []time.Duration
		at := func(d time.Duration, f func()) { time.AfterFunc(d, f) }
		at(1000*time.Millisecond, tunnels.change)
		at(1050*time.Millisecond, bundles.change)
		at(1100*time.Millisecond, tunnels.change)
		at(2000*time.Millisecond, policy.change)
		at(3000*time.Millisecond, bundles.change)
		at(3010*time.Millisecond, policy.change)
		at(10_500*time.Millisecond, cancel)
		r := reporter{policy: policy.changed, bundles: bundles.changed, tunnels: tunnels.changed, say: func() { said = append(said, time.Since(start)) }}
		r.run(ctx)
		want := []time.Duration{
			0, 1200 * time.Millisecond, 2000 * time.Millisecond, 3010 * time.Millisecond, 5 * time.Second, 10 * time.Second,
		}
		if !slices.Equal(said, want) {
			t.Errorf("reported at %v, want %v", said, want)
		}
	})
}
