package gateway

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/sallyport-mesh/sallyport/gateway/internal/budget"
	"github.com/sallyport-mesh/sallyport/gateway/internal/budget/share"
	"github.com/sallyport-mesh/sallyport/gateway/internal/recorder/disk"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
)

const (
	// keepEvery is how often the budgets are kept on disk: a crash loses as much.
	keepEvery = time.Second
	// sweepEvery is how often windows that are over are looked for.
	sweepEvery = time.Second
)

// openBudgets takes up what was kept of the budgets. Damage is no reason to carry
// nothing: whoever can damage a file can delete it too.
func (g *Gateway) openBudgets(b *bootstrap) error {
	g.budgets = budget.New()
	g.budgetFile = budget.NewFile(disk.OS{}, b.GetStateDir(), g.budgets)
	return g.loadBudgets()
}

func (g *Gateway) loadBudgets() error {
	err := g.budgetFile.Load(time.Now())
	if errors.Is(err, budget.ErrDamaged) {
		g.log.Error("budgets begin anew: callers may use twice what is left of today's", zap.Error(err))
		return nil
	}
	return err
}

// runBudgets keeps the budgets and shares them with the other gateways of the environment,
// until the context ends. A gateway that takes another one's place begins when that one
// has kept its own for the last time.
func (g *Gateway) runBudgets(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { g.followBudgets(ctx); return nil })
	group.Go(func() error {
		if g.inheritance != nil {
			if !g.awaitBudgets(ctx) {
				return nil
			}
			if err := g.loadBudgets(); err != nil {
				return err
			}
		}
		group.Go(func() error { g.shareBudgets(ctx); return nil })
		g.keepBudgets(ctx)
		return nil
	})
	return group.Wait()
}

// followBudgets keeps the budgets divided by as many gateways as the policy in force has.
func (g *Gateway) followBudgets(ctx context.Context) {
	for {
		changed := g.xds.Changed()
		g.budgets.SetGateways(len(g.budgetPeers()) + 1)
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// awaitBudgets says whether it is this process's turn; else it has ended.
func (g *Gateway) awaitBudgets(ctx context.Context) bool {
	select {
	case <-g.ready:
	case <-ctx.Done():
		return false
	}
	select {
	case <-time.After(answerAfter):
		return true
	case <-ctx.Done():
		return false
	}
}

// keepBudgets keeps the budgets on disk, and once more at the end.
func (g *Gateway) keepBudgets(ctx context.Context) {
	keep, sweep := time.NewTicker(keepEvery), time.NewTicker(sweepEvery)
	defer keep.Stop()
	defer sweep.Stop()
	failing := false
	for {
		select {
		case now := <-sweep.C:
			g.budgets.Sweep(now)
			continue
		case <-keep.C:
		case <-ctx.Done():
		}
		err := g.budgetFile.Save(time.Now())
		if err != nil && !failing {
			g.log.Error("a restart would let callers use their budgets again", zap.Error(err))
		}
		if failing = err != nil; ctx.Err() != nil {
			return
		}
	}
}

// shareBudgets shares the budgets for as long as there are any, and somebody to share
// them with.
func (g *Gateway) shareBudgets(ctx context.Context) {
	s := share.New(share.Config{
		Ledger: g.budgets, Control: controlv1.NewGatewayServiceClient(g.conn),
		Self: g.bootstrap.GetGateway(), Run: g.recorder.RunID(),
	})
	ticker := time.NewTicker(share.Every)
	defer ticker.Stop()
	for ctx.Err() == nil {
		if peers := g.budgetPeers(); len(peers) > 0 {
			if err := s.Share(ctx, peers); err != nil && ctx.Err() == nil {
				g.log.Debug("budgets not shared", zap.Error(err))
			}
		}
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
	}
}

// budgetPeers are the other gateways of the environment, by name; none if the policy limits
// nobody.
func (g *Gateway) budgetPeers() map[string]bool {
	all := g.xds.Policies()
	if all == nil || all.Current == nil || !all.Current.Limited() {
		return nil
	}
	peers := map[string]bool{}
	for _, gw := range all.Current.Gateways() {
		if gw.Environment == g.bootstrap.GetEnvironment() && gw.Name != g.bootstrap.GetGateway() {
			peers[gw.Name] = true
		}
	}
	return peers
}
