package pace

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/internal/budget"
	"github.com/sallyport-mesh/sallyport/gateway/internal/budget/spend"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/inspect"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	"github.com/sallyport-mesh/sallyport/gateway/policy/limits"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

const kib, mib = 1 << 10, 1 << 20

// free has prices of nothing.
type free struct{}

func (free) CostOf(string, int64, int64) int64 { return 0 }

// newFlow is of an exchange under one limit.
func newFlow(t testing.TB, what, limit string) (*Flow, *noted) {
	t.Helper()
	l, err := limits.Parse(what, limit)
	if err != nil {
		t.Fatal(err)
	}
	items := []spend.Item{{Ask: inspect.NewAsk(), Intent: "any", Limits: []limits.Limit{l}}}
	b, refused := spend.Reserve(budget.New(), free{}, "caller", items, 0, time.Now())
	if refused != nil {
		t.Fatal(refused)
	}
	f, s := NewFlow(b), newNoted()
	f.Follow(t.Context(), s, nil)
	return f, s
}

// TestPass: what there is room for passes, to the last byte, and then nothing.
func TestPass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, s := newFlow(t, "bytes", "1MiB/day")
		passed := 0
		for {
			n, err := f.Pass(30_000)
			if passed += n; n == 30_000 && err == nil {
				continue
			}
			if !errors.Is(err, ErrOverBudget) || passed != mib || !Deny(s, err) {
				t.Errorf("%d passed: %v", passed, err)
			}
			break
		}
		s.wantResets(t, tunnel.Denied(crossingv1.Reason_OVER_BUDGET))
		if again, over := f.Over(); !over || again < 1 {
			t.Errorf("over %t, again after %d", over, again)
		}
		if throttled, refused := f.End(); throttled < time.Second/2 || refused == nil {
			t.Errorf("it waited for %v, and then %v", throttled, refused)
		}
	})
}

// TestFlowOfOthers: what counts no bytes has no flow, and that lets all pass.
func TestFlowOfOthers(t *testing.T) {
	f, _ := newFlow(t, "requests", "1/day")
	if n, err := f.Pass(mib); f != nil || n != mib || err != nil {
		t.Errorf("%v: %d, %v", f, n, err)
	}
	f.Passed(mib)
	if throttled, refused := f.End(); throttled != 0 || refused != nil {
		t.Errorf("%v, %v", throttled, refused)
	}
}

// TestWaits: a wait ends when nothing is to pass any more; what came before a stream's end
// still is to.
func TestWaits(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(f *Flow, s *noted)
		ends bool
	}{
		{"the operator ends it here", func(_ *Flow, s *noted) { s.Reset(tunnel.Denied(crossingv1.Reason_REVOKED_GATEWAY)) }, true},
		{"the operator ends it there", func(_ *Flow, s *noted) { s.lose(tunnel.Denied(crossingv1.Reason_REVOKED_GATEWAY)) }, true},
		{"the caller has left", func(_ *Flow, s *noted) { s.lose(tunnel.CallerGone) }, true},
		{"the gateway stops", func(_ *Flow, s *noted) { s.Reset(tunnel.Stopped) }, true},
		{"the exchange is over", func(f *Flow, _ *noted) { f.End() }, true},
		{"the peer has no room for more", func(_ *Flow, s *noted) { s.lose(tunnel.Denied(crossingv1.Reason_OVER_BUDGET)) }, false},
		{"the destination breaks off", func(_ *Flow, s *noted) { s.lose(tunnel.DestinationGone) }, false},
		{"both have said all", func(_ *Flow, s *noted) { s.lose(0) }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, s := newFlow(t, "bytes", "1MiB/day")
				time.AfterFunc(time.Second, func() { c.end(f, s) })
				began, err := time.Now(), f.wait(2*time.Second)
				took := time.Since(began)
				if (err != nil) != c.ends || (took == time.Second) != c.ends {
					t.Errorf("%v after %v", err, took)
				}
				if throttled, _ := f.End(); throttled != took {
					t.Errorf("it counts %v", throttled)
				}
			})
		})
	}
}

// TestNoSilenceWhileItWaits: who waits for a budget is not silent, and a total still counts.
func TestNoSilenceWhileItWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, s := newFlow(t, "bytes", "1MiB/day")
		w := NewWatch(s, Limits{Silence: time.Second, Total: 4 * time.Second})
		f.Follow(t.Context(), s, w)
		if err := f.wait(2 * time.Second); err != nil || w.TooLate() {
			t.Errorf("%v, too late %t", err, w.TooLate())
		}
		w.Passed()
		if err := f.wait(3 * time.Second); err == nil || !w.TooLate() {
			t.Errorf("%v, too late %t", err, w.TooLate())
		}
	})
}

// TestPassingAllocatesNothing: what has no budget, or is in the middle of a slice, passes
// for nothing.
func TestPassingAllocatesNothing(t *testing.T) {
	slice, _ := newFlow(t, "bytes", "1000TiB/day")
	slice.Pass(2)
	left := slice.credit.Load()
	if left != 256*kib-1 {
		t.Errorf("a slice has %d bytes", left)
	}
	for name, f := range map[string]*Flow{"no budget": nil, "in a slice": slice} {
		if n := testing.AllocsPerRun(100, func() { f.Pass(1) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	if got := slice.credit.Load(); got != left-101 {
		t.Errorf("%d bytes of the slice are left, want %d", got, left-101)
	}
}

// BenchmarkPass is what the budget of a transfer takes for each 32 KiB of it.
func BenchmarkPass(b *testing.B) {
	f, _ := newFlow(b, "bytes", "1000TiB/day")
	b.ReportAllocs()
	b.SetBytes(32 * kib)
	for b.Loop() {
		f.Pass(32 * kib)
	}
}
