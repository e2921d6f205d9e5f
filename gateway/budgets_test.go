package gateway

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/sallyport-mesh/sallyport/gateway/internal/budget"
	"github.com/sallyport-mesh/sallyport/gateway/policy/limits"
	configv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/config/v1"
)

// withBudgets is as much of a gateway as keeps budgets in a directory.
func withBudgets(t *testing.T, dir string) (*Gateway, *observer.ObservedLogs) {
	t.Helper()
	core, logs := observer.New(zap.InfoLevel)
	g := &Gateway{log: zap.New(core), ready: make(chan struct{})}
	if err := g.openBudgets(&bootstrap{Bootstrap: &configv1.Bootstrap{StateDir: dir}}); err != nil {
		t.Fatal(err)
	}
	return g, logs
}

// call is one of 2 that a day has.
func call(g *Gateway) (let bool) {
	limit := []limits.Limit{{What: limits.Requests, Most: 2, Window: 24 * time.Hour}}
	_, refused := g.budgets.Reserve("spiffe://a.test/a", "i", limit, budget.Amounts{Requests: 1}, time.Now())
	return refused == nil
}

// TestBudgetsAreKept once a second, and when the gateway stops.
func TestBudgetsAreKept(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		g, _ := withBudgets(t, dir)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			g.keepBudgets(ctx)
		}()
		if !call(g) {
			t.Fatal("the first call is refused")
		}
		<-time.After(keepEvery + time.Millisecond)
		synctest.Wait()
		after, _ := withBudgets(t, dir)
		if !call(after) || call(after) {
			t.Error("after a crash the first call is forgotten, or the second counted")
		}
		if !call(g) {
			t.Fatal("the second call is refused")
		}
		cancel()
		<-done
		if after, _ := withBudgets(t, dir); call(after) {
			t.Error("after a stop the second call is forgotten")
		}
	})
}

// TestBudgetsThatAreDamaged are said, and keep no gateway from starting.
func TestBudgetsThatAreDamaged(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "budgets"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	g, logs := withBudgets(t, dir)
	if n := logs.FilterLevelExact(zap.ErrorLevel).Len(); n != 1 || !call(g) {
		t.Errorf("%d errors are logged, want 1: %v", n, logs.All())
	}
	if _, err := os.Stat(filepath.Join(dir, "budgets.damaged")); err != nil {
		t.Errorf("it is not set aside: %v", err)
	}
}

// TestBudgetsThatCannotBeKept are said once.
func TestBudgetsThatCannotBeKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	synctest.Test(t, func(t *testing.T) {
		g, logs := withBudgets(t, dir)
		ctx, cancel := context.WithTimeout(t.Context(), 5*keepEvery)
		defer cancel()
		call(g)
		g.keepBudgets(ctx)
		if n := logs.FilterLevelExact(zap.ErrorLevel).Len(); n != 1 {
			t.Errorf("%d errors are logged, want 1: %v", n, logs.All())
		}
	})
}

// TestBudgetsAwaitTheirTurn: a process that takes another's place begins to keep them when
// the other has ended to.
func TestBudgetsAwaitTheirTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &Gateway{ready: make(chan struct{})}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, func() { close(g.ready) })
		start := time.Now()
		if !g.awaitBudgets(ctx) || time.Since(start) != time.Second+answerAfter {
			t.Errorf("it begins after %v", time.Since(start))
		}
		cancel()
		g.ready = make(chan struct{})
		if g.awaitBudgets(ctx) {
			t.Error("it begins after it has ended")
		}
	})
}
