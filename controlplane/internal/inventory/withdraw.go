package inventory

import (
	"context"
	"fmt"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
)

// Withdraw takes back what a source registered of a workload, and returns that
// binding. Everybody withdraws what is theirs, whatever the policy says now; an
// operator may name another source. The error is ErrNotRegistered, ErrNotAllowed,
// or the store's.
func (i *Inventory) Withdraw(ctx context.Context, caller spiffeid.ID, req *controlv1.WithdrawRequest) (*controlv1.Binding, error) {
	b := &controlv1.Binding{Workload: req.GetWorkload(), Source: req.GetSource()}
	if b.Source == "" {
		b.Source = caller.String()
	}
	if b.Source != caller.String() && !i.operator(caller) {
		return nil, fmt.Errorf("%s %w for %s", caller, ErrNotAllowed, b.GetSource())
	}
	i.mu.Lock()
	was, there := i.registered[keyOf(b)]
	i.mu.Unlock()
	if !there {
		return nil, fmt.Errorf("%w by %s", ErrNotRegistered, b.GetSource())
	}
	if err := i.store.Delete(ctx, keyOf(b), was.revision); err != nil {
		return nil, fmt.Errorf("withdraw workload %q: %w", req.GetWorkload(), err)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.registered[keyOf(b)].revision == was.revision {
		delete(i.registered, keyOf(b))
		i.notify()
	}
	return was.binding, nil
}
