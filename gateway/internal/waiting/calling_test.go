package waiting

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
)

// noted is a stream that notes how it was reset.
type noted struct {
	tunnel.Stream

	mu    sync.Mutex
	codes []tunnel.ResetCode
}

func (n *noted) Reset(code tunnel.ResetCode) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.codes = append(n.codes, code)
}

// wantResets checks how the stream was reset.
func (n *noted) wantResets(t *testing.T, want ...tunnel.ResetCode) {
	t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	if !slices.Equal(n.codes, want) {
		t.Errorf("reset with %v, want %v", n.codes, want)
	}
}

// TestCalling: who waits on the context of an exchange hears of its caller's leaving
// and of its connection's end, whichever comes first, however late he asks.
func TestCalling(t *testing.T) {
	for name, leave := range map[string]func(c *Calling, end func()){
		"the caller leaves":         func(c *Calling, _ func()) { c.Leave() },
		"its connection ends":       func(_ *Calling, end func()) { end() },
		"first one, then the other": func(c *Calling, end func()) { c.Leave(); end(); synctest.Wait() },
		"the other one first":       func(c *Calling, end func()) { end(); synctest.Wait(); c.Leave() },
	} {
		for _, early := range []bool{true, false} {
			synctest.Test(t, func(t *testing.T) {
				conn, end := context.WithCancel(t.Context())
				defer end()
				var c Calling
				c.Begin(conn)
				if c.Err() != nil {
					t.Error(c.Err())
				}
				if early {
					child, cancel := context.WithCancel(&c)
					defer cancel()
					synctest.Wait()
					defer func() {
						if synctest.Wait(); !errors.Is(child.Err(), context.Canceled) {
							t.Errorf("%s: a context within is %v", name, child.Err())
						}
					}()
				}
				leave(&c, end)
				<-c.Done()
				if !errors.Is(c.Err(), context.Canceled) {
					t.Errorf("%s: %v", name, c.Err())
				}
				if !c.Over() {
					t.Errorf("%s: nobody has waited", name)
				}
			})
		}
	}
}

// TestCallingFollows: a caller that leaves takes the stream with it, whether it is open
// by then or not, and only that of its own exchange.
func TestCallingFollows(t *testing.T) {
	var c Calling
	before, after, other := new(noted), new(noted), new(noted)
	c.Begin(t.Context())
	c.Follow(before)
	c.Leave()
	c.Begin(t.Context())
	c.Leave()
	c.Follow(after)
	c.Begin(t.Context())
	c.Follow(other)
	if c.Over() {
		t.Error("somebody has waited")
	}
	c.Leave()
	before.wantResets(t, tunnel.CallerGone)
	after.wantResets(t, tunnel.CallerGone)
	other.wantResets(t) // its exchange was over
}
