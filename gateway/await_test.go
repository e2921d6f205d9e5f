package gateway

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/internal/xdsclient"
	"github.com/sallyport-mesh/sallyport/gateway/policy"
)

// fakePolicies is a gateway's policy client.
type fakePolicies struct {
	mu      sync.Mutex // guards what follows
	held    *xdsclient.Policies
	changed chan struct{}
}

func (f *fakePolicies) Policies() *xdsclient.Policies {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.held
}

func (f *fakePolicies) Changed() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.changed
}

func (f *fakePolicies) set(held *xdsclient.Policies) {
	f.mu.Lock()
	defer f.mu.Unlock()
	close(f.changed)
	f.held, f.changed = held, make(chan struct{})
}

// TestPeersWaitForTheFirstPolicy, for a bounded time.
func TestPeersWaitForTheFirstPolicy(t *testing.T) {
	want := new(policy.Policy)
	for _, c := range []struct {
		name  string
		then  func(f *fakePolicies, closing chan struct{})
		want  *policy.Policy
		after time.Duration
	}{
		{"there", func(f *fakePolicies, _ chan struct{}) { f.set(&xdsclient.Policies{Current: want}) }, want, 0},
		{"soon", func(f *fakePolicies, _ chan struct{}) {
			time.AfterFunc(time.Second, func() { f.set(&xdsclient.Policies{Prepared: want}) })
			time.AfterFunc(2*time.Second, func() { f.set(&xdsclient.Policies{Current: want}) })
		}, want, 2 * time.Second},
		{"never", func(*fakePolicies, chan struct{}) {}, nil, policyWait},
		{"stopped", func(_ *fakePolicies, closing chan struct{}) {
			time.AfterFunc(time.Second, func() { close(closing) })
		}, nil, time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, closing, start := &fakePolicies{changed: make(chan struct{})}, make(chan struct{}), time.Now()
				c.then(f, closing)
				if got := awaitPolicy(f, closing); got != c.want || time.Since(start) != c.after {
					t.Errorf("policy %p after %v, want %p after %v", got, time.Since(start), c.want, c.after)
				}
			})
		})
	}
}
