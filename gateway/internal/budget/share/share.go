// Package share tells what callers have used of their budgets at this gateway to the others
// of its environment, and hears what they have, by way of the control plane: each tells
// what has changed, in absolute numbers, so that a telling that is lost or comes twice
// does no harm.
//
// One invariant: the ledger takes it that the others are heard of only when the control
// plane says that nothing is missing.
package share

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc"

	"github.com/sallyport-mesh/sallyport/gateway/internal/budget"
	"github.com/sallyport-mesh/sallyport/gateway/policy/limits"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
)

const (
	// Every is how often a gateway tells.
	Every = time.Second
	// timeout of one telling.
	timeout = 3 * time.Second
	// maxUses in one request; the rest comes with the next.
	maxUses = 4096
)

// Control is the control plane.
type Control interface {
	ShareBudgets(ctx context.Context, req *controlv1.ShareBudgetsRequest, opts ...grpc.CallOption) (*controlv1.ShareBudgetsResponse, error)
}

// Config is what a sharer is made of.
type Config struct {
	// Ledger that is shared.
	Ledger *budget.Ledger
	// Control plane that it is shared by way of.
	Control Control
	// Self is this gateway's name in the policy, Run its run.
	Self, Run string
}

// Sharer shares a ledger. It is not safe for concurrent use.
type Sharer struct {
	cfg      Config
	sequence uint64
	memory   string // of the control plane, as it names it; empty if nothing was heard yet
	since    uint64 // the version of it that was heard
}

// New makes one.
func New(cfg Config) *Sharer { return &Sharer{cfg: cfg} }

// Share tells once, and hears. The peers are the other gateways of the environment: of no
// others anything is heard.
func (s *Sharer) Share(ctx context.Context, peers map[string]bool) error {
	if s.cfg.Ledger.Missed() {
		s.since = 0
	}
	s.sequence++
	t := s.cfg.Ledger.Tell(maxUses, time.Now())
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	resp, err := s.cfg.Control.ShareBudgets(ctx, &controlv1.ShareBudgetsRequest{
		Run: s.cfg.Run, Sequence: s.sequence, Memory: s.memory, Since: s.since, Uses: wire(t.Uses), Complete: t.Complete,
	})
	if err != nil {
		s.cfg.Ledger.Unheard(t)
		return fmt.Errorf("share budgets: %w", err)
	}
	same := resp.GetMemory() == s.memory
	s.cfg.Ledger.Heard(t, s.heard(resp.GetUses(), peers), same && resp.GetWhole(), time.Now())
	if !same && s.memory != "" {
		s.cfg.Ledger.TellAll() // it has forgotten what it was told
	}
	s.memory, s.since = resp.GetMemory(), resp.GetVersion()
	return nil
}

// wire is how uses are sent.
func wire(uses []budget.Use) []*controlv1.BudgetUse {
	out := make([]*controlv1.BudgetUse, len(uses))
	for i, u := range uses {
		out[i] = &controlv1.BudgetUse{
			Caller: u.Caller, Intent: u.Intent, What: u.What.String(), Start: u.Start.Unix(), Used: u.Used,
			Window: uint32(u.Window / time.Second), //nolint:gosec // of a day at most
		}
	}
	return out
}

// heard are the uses that are peers' or of earlier runs of this gateway.
func (s *Sharer) heard(uses []*controlv1.BudgetUse, peers map[string]bool) []budget.Use {
	out := make([]budget.Use, 0, len(uses))
	for _, u := range uses {
		what, known := limits.ParseWhat(u.GetWhat())
		by := u.GetGateway()
		if own := by == s.cfg.Self; own {
			by = ""
		} else if !peers[by] {
			continue
		}
		if known {
			out = append(out, budget.Use{
				Caller: u.GetCaller(), Intent: u.GetIntent(), What: what, Window: time.Duration(u.GetWindow()) * time.Second,
				Start: time.Unix(u.GetStart(), 0), Used: u.GetUsed(), Gateway: by,
			})
		}
	}
	return out
}
