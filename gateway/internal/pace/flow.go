package pace

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/internal/budget"
	"github.com/sallyport-mesh/sallyport/gateway/internal/budget/spend"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel/relay"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

var (
	// ErrOverBudget says that there is no room for more in the caller's budget.
	ErrOverBudget = errors.New("the caller's budget of bytes is used up")
	// errEnded says that the exchange is over for who still waits to go on with it.
	errEnded = errors.New("the exchange has ended")
)

// Flow takes the bytes of an exchange from its caller's budget before they pass, those of
// both directions together, and waits where there is little left. What is taken is a
// slice; only who uses one up asks the ledger. A nil Flow lets everything pass.
type Flow struct {
	credit atomic.Int64    // what may pass; less than nothing if some has passed already
	ctx    context.Context // of who is waited for: the caller, or the gateway
	stream tunnel.Stream
	watch  *Watch
	over   chan struct{} // closed when the exchange ends

	mu        sync.Mutex // guards what follows; nobody waits with it
	budget    *spend.Exchange
	ended     bool
	refused   *budget.Refused // why there is no room, once there was none
	waiting   int             // directions that wait
	since     time.Time       // when the first of them began to
	throttled time.Duration
}

// NewFlow is of an exchange that has a budget of bytes; of others it is nil.
func NewFlow(b *spend.Exchange) *Flow {
	first, counts := b.CountsBytes()
	if !counts {
		return nil
	}
	f := &Flow{budget: b, over: make(chan struct{})}
	f.credit.Store(first)
	return f
}

// Follow says by what a wait ends: the context, or a reset of the stream.
func (f *Flow) Follow(ctx context.Context, s tunnel.Stream, w *Watch) {
	if f != nil {
		f.ctx, f.stream, f.watch = ctx, s, w
	}
}

// Passed takes note of what has passed without being asked for.
func (f *Flow) Passed(n uint64) {
	if f != nil {
		f.credit.Add(-int64(n)) //nolint:gosec // what a request has held, or a ClientHello
	}
}

// Pass says how many of n bytes may pass now; fewer than n only with the reason.
func (f *Flow) Pass(n int) (int, error) {
	if f == nil || f.credit.Add(-int64(n)) >= 0 {
		return n, nil
	}
	return f.take(n)
}

// take is Pass where a slice is used up.
func (f *Flow) take(n int) (int, error) {
	for waited := time.Duration(0); ; {
		wait, err := f.more(waited)
		if err == nil && wait == 0 {
			return n, nil
		}
		if err == nil {
			err = f.wait(wait)
		}
		if err != nil {
			return f.giveBack(n), err
		}
		waited += wait
	}
}

// more takes what is missing, or says how long to wait before it is tried again.
func (f *Flow) more(waited time.Duration) (time.Duration, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		missing := -f.credit.Load()
		switch {
		case f.ended:
			return 0, errEnded
		case f.refused != nil:
			return 0, ErrOverBudget
		case missing <= 0:
			return 0, nil
		}
		grant, refused := f.budget.Take(missing, waited, time.Now())
		if f.refused = refused; refused == nil && grant.Bytes == 0 {
			return grant.Wait, nil
		}
		f.credit.Add(grant.Bytes)
	}
}

// giveBack is how many of n bytes there is room for, of which the rest does not pass.
func (f *Flow) giveBack(n int) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	short := int(min(max(-f.credit.Load(), 0), int64(n)))
	f.credit.Add(int64(short))
	return n - short
}

// wait returns after that time, or sooner if the exchange is to end: no limit of silence
// counts meanwhile.
func (f *Flow) wait(d time.Duration) error {
	f.waits(1)
	defer f.waits(-1)
	defer f.watch.pause()()
	timer := time.NewTimer(d)
	defer timer.Stop()
	for done := f.stream.Done(); ; {
		select {
		case <-timer.C:
			return nil
		case <-f.over:
			return errEnded
		case <-f.ctx.Done():
			return f.ctx.Err()
		case <-done:
			if err := f.cut(); err != nil {
				return err
			}
			done = nil
		}
	}
}

// cut is why nothing is to pass any more. A stream that has come to its end, or that the
// peer has broken off, leaves what came before, unless that was for a caller who left.
func (f *Flow) cut() error {
	_, err := f.stream.Write(nil)
	reset, ok := errors.AsType[*tunnel.ResetError](err)
	if !ok || reset.Remote && reset.Code != tunnel.CallerGone && !reset.Code.AtOnce() {
		return nil
	}
	return reset
}

// waits counts who waits, and for how long there was anybody.
func (f *Flow) waits(more int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.waiting == 0 {
		f.since = time.Now()
	}
	if f.waiting += more; f.waiting == 0 && !f.ended {
		f.throttled += time.Since(f.since)
	}
}

// End lets nobody go on any more. It says how long the exchange waited, and why there was
// no room for more of it, if there was none.
func (f *Flow) End() (throttled time.Duration, refused *budget.Refused) {
	if f == nil {
		return 0, nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.ended {
		f.ended = true
		close(f.over)
		if f.waiting > 0 {
			f.throttled += time.Since(f.since)
		}
	}
	return f.throttled, f.refused
}

// Over says that there was no room for more, and in how many seconds there may be.
func (f *Flow) Over() (retryAfter int, is bool) {
	if f == nil {
		return 0, false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refused == nil {
		return 0, false
	}
	return f.refused.RetryAfter, true
}

// Deny resets the stream of an exchange that may not go on, if it is for its budget.
func Deny(s tunnel.Stream, err error) bool {
	is := errors.Is(err, ErrOverBudget)
	if is {
		s.Reset(tunnel.Denied(crossingv1.Reason_OVER_BUDGET))
	}
	return is
}

// Local is the local side of a byte stream, as far as there is room for it. It is for
// relay.Copy: a stream's own relay looks at nothing that passes.
func (f *Flow) Local(l relay.Local) relay.Local {
	if f == nil {
		return l
	}
	return metered{l, f}
}

// metered is the local side of a byte stream that has a budget.
type metered struct {
	relay.Local
	flow *Flow
}

// Read implements relay.Local.
func (m metered) Read(p []byte) (int, error) {
	n, err := m.Local.Read(p)
	allowed, none := m.flow.Pass(n)
	if none == nil {
		return n, err
	}
	if allowed > 0 {
		return allowed, nil // the next one says it
	}
	Deny(m.flow.stream, none)
	return 0, none
}

// Write implements relay.Local.
func (m metered) Write(p []byte) (int, error) {
	allowed, none := m.flow.Pass(len(p))
	n, err := m.Local.Write(p[:allowed])
	if err == nil {
		err = none
	}
	Deny(m.flow.stream, none)
	return n, err
}
