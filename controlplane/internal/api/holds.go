package api

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/protobuf/proto"

	"github.com/sallyport-mesh/sallyport/controlplane/internal/records"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	logv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/log/v1"
)

// maxHold bounds an encoded hold, which must fit into an entry of a log.
const maxHold = 60_000

// Holds keeps records beyond their retention. Package records says what each method does.
type Holds interface {
	Hold(ctx context.Context, h records.Hold) error
	Release(ctx context.Context, name string) error
	Holds(ctx context.Context) ([]records.Hold, error)
}

// holds serves HoldService.
type holds struct {
	controlv1.UnimplementedHoldServiceServer

	kept      Holds // nil if no records are kept on disk
	policies  *policies
	inventory Inventory
	journal   *journal
	turns     sync.Mutex // what is set and released is entered in that order
}

// ListHolds are the holds, by name.
func (h *holds) ListHolds(ctx context.Context, _ *controlv1.ListHoldsRequest) (*controlv1.ListHoldsResponse, error) {
	all, err := h.all(ctx)
	return &controlv1.ListHoldsResponse{Holds: all}, err
}

func (h *holds) all(ctx context.Context) ([]*logv1.Hold, error) {
	if h.kept == nil {
		return nil, precondition("no records are kept on disk here, so none can be held: set recordsDir")
	}
	kept, err := h.kept.Holds(ctx)
	if err != nil {
		return nil, err
	}
	all := make([]*logv1.Hold, len(kept))
	for i, k := range kept {
		all[i] = &logv1.Hold{Name: k.Name, Owner: k.Owner, Identities: k.Identities}
	}
	return all, nil
}

// SetHold sets a hold, and gives it with the identities that its labels stand for.
func (h *holds) SetHold(ctx context.Context, req *controlv1.SetHoldRequest) (*logv1.Hold, error) {
	if _, err := h.all(ctx); err != nil {
		return nil, err
	}
	g, err := h.inForce()
	if err != nil {
		return nil, err
	}
	hold := &logv1.Hold{Name: req.GetName(), Owner: req.GetOwner()}
	if hold.Identities, err = h.identities(g, req); err != nil {
		return nil, err
	}
	if n := proto.Size(hold); n > maxHold {
		return nil, invalid("hold %q has %d bytes, and %d at most are entered in a log: set several", hold.GetName(), n, maxHold)
	}
	h.turns.Lock()
	defer h.turns.Unlock()
	err = h.kept.Hold(ctx, records.Hold{Name: hold.GetName(), Owner: hold.GetOwner(), Identities: hold.GetIdentities()})
	if errors.Is(err, records.ErrInvalid) {
		return nil, invalid("%v", err)
	}
	if err != nil {
		return nil, err
	}
	return hold, h.enter(ctx, g, &logv1.Act{Hold: hold})
}

// ReleaseHold ends a hold.
func (h *holds) ReleaseHold(ctx context.Context, req *controlv1.ReleaseHoldRequest) (*logv1.Hold, error) {
	h.turns.Lock()
	defer h.turns.Unlock()
	all, err := h.all(ctx)
	if err != nil {
		return nil, err
	}
	g, err := h.inForce()
	if err != nil {
		return nil, err
	}
	at := slices.IndexFunc(all, func(o *logv1.Hold) bool { return o.GetName() == req.GetName() })
	if at < 0 {
		return nil, missing("no hold is called %q", req.GetName())
	}
	if err := h.kept.Release(ctx, req.GetName()); err != nil {
		return nil, err
	}
	return all[at], h.enter(ctx, g, &logv1.Act{Released: all[at]})
}

// inForce is the policy in force, whose environments have the logs that a hold is entered in.
func (h *holds) inForce() (*generation, error) {
	if g := h.policies.current.Load(); g != nil {
		return g, nil
	}
	return nil, precondition("no policy is in force, so there is no log that a hold could be entered in: publish one first")
}

// enter has the caller's act entered in the logs.
func (h *holds) enter(ctx context.Context, g *generation, a *logv1.Act) error {
	caller, err := Peer(ctx)
	if err != nil {
		return err
	}
	a.By = caller.String()
	h.journal.everywhere(g.source, a)
	return nil
}

// standing enters the holds that there are.
func (h *holds) standing(ctx context.Context, g *generation) error {
	if h.kept == nil {
		return nil
	}
	all, err := h.all(ctx)
	for _, hold := range all {
		h.journal.everywhere(g.source, &logv1.Act{Hold: hold})
	}
	return err
}

// identities are those of a request and those that its labels stand for, each once.
func (h *holds) identities(g *generation, req *controlv1.SetHoldRequest) ([]string, error) {
	all := slices.Clone(req.GetIdentities())
	for _, text := range all {
		if _, err := spiffeid.FromString(text); err != nil {
			return nil, invalid("identity %q: %v", text, err)
		}
	}
	for _, label := range req.GetLabels() {
		key, value, ok := strings.Cut(label, "=")
		if !ok || key == "" {
			return nil, invalid("label %q: want KEY=VALUE", label)
		}
		labelled := h.labelled(g, key, value)
		if len(labelled) == 0 {
			return nil, invalid("no workload has the label %s: nothing of it would be held; name identities if there were some once", label)
		}
		all = append(all, labelled...)
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

// labelled are the identities of workloads that have a label, by the policy or where one
// is registered.
func (h *holds) labelled(g *generation, key, value string) (ids []string) {
	has := func(labels map[string]string) bool {
		v, ok := labels[key]
		return ok && v == value
	}
	for _, w := range g.source.GetWorkloads() {
		if has(w.GetLabels()) {
			ids = append(ids, w.GetId())
		}
	}
	for _, b := range h.inventory.Bindings() {
		if has(b.GetLabels()) {
			ids = append(ids, b.GetId())
		}
	}
	return ids
}
