package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/sallyport-mesh/sallyport/controlplane/internal/join"
	"github.com/sallyport-mesh/sallyport/controlplane/internal/statements"
	"github.com/sallyport-mesh/sallyport/controlplane/internal/store"
	"github.com/sallyport-mesh/sallyport/gateway/act"
	"github.com/sallyport-mesh/sallyport/gateway/policy/signed"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

const (
	// actsKey is the key of all acts: one, so that compare-and-set holds for them
	// together.
	actsKey = "current"
	// putTries bounds the tries to store an act beside others that are stored.
	putTries = 8
	// actsSkew is how far from now an act may say that it was made.
	actsSkew = 15 * time.Minute
)

// acts serves ActService. It is safe for concurrent use.
type acts struct {
	controlv1.UnimplementedActServiceServer

	config   Config
	policies *policies
	journal  *journal
	log      *zap.Logger
	current  atomic.Pointer[keptActs]
}

// keptActs is the acts and the store's revision of them. It does not change.
type keptActs struct {
	set      *act.Set
	revision uint64
}

func (a *acts) set() *act.Set { return a.current.Load().set }

// load takes up the stored acts. They were verified when they came, under keys that
// may have been rotated since; gateways verify them for themselves.
func (a *acts) load(ctx context.Context) error {
	content, revision, err := a.config.Acts.Get(ctx, actsKey)
	if errors.Is(err, store.ErrNotFound) {
		a.current.Store(&keptActs{})
		return nil
	}
	if err != nil {
		return fmt.Errorf("take up the stored acts: %w", err)
	}
	kept := &policyv1.ActSet{}
	if err := proto.Unmarshal(content, kept); err != nil {
		return fmt.Errorf("take up the stored acts: %w", err)
	}
	var all []*act.Act
	for _, sa := range kept.GetActs() {
		one, err := act.Read(sa)
		if err != nil {
			return fmt.Errorf("take up the stored acts: %w", err)
		}
		all = append(all, one)
	}
	var set *act.Set
	if set, err = set.With(all...); err != nil {
		return fmt.Errorf("take up the stored acts: %w", err)
	}
	a.current.Store(&keptActs{set, revision})
	return nil
}

// Make stores an act and sends it to the gateways.
func (a *acts) Make(ctx context.Context, req *controlv1.MakeRequest) (*controlv1.MakeResponse, error) {
	caller, err := Peer(ctx)
	if err != nil {
		return nil, err
	}
	one, err := a.verify(req.GetSigned(), caller, time.Now())
	if err != nil {
		return nil, err
	}
	set, err := a.keep(ctx, one)
	if err != nil {
		return nil, err
	}
	a.journal.made(a.policies.current.Load(), req.GetSigned(), caller.String())
	// It goes on when the caller has gone: the act is stored by now.
	result, err := a.config.Gateways.Apply(context.WithoutCancel(ctx), set.Message())
	if err != nil {
		return nil, fmt.Errorf("send act %s to the gateways: %w", one.ID, err)
	}
	a.log.Warn("operator's act", zap.Stringer("kind", one.Kind), zap.Stringer("subject", one.Subject), zap.Stringer("author", caller),
		zap.String("act", one.ID), zap.Strings("in_force", result.InForce), zap.Strings("behind", result.Behind))
	return &controlv1.MakeResponse{
		Id: one.ID, InForce: result.InForce, Behind: result.Behind, Took: durationpb.New(result.Took),
	}, nil
}

// verify refuses early what gateways would refuse anyway, and what would be in force
// and mean nothing.
func (a *acts) verify(sa *policyv1.SignedAct, caller spiffeid.ID, now time.Time) (*act.Act, error) {
	g := a.policies.current.Load()
	if g == nil {
		return nil, precondition("no policy was published yet, so there is nobody to deny anything to")
	}
	keys, err := signed.Keys(g.signed, a.config.Keys)
	if err != nil {
		return nil, err
	}
	one, err := act.Verify(sa, keys)
	if err != nil {
		return nil, invalid("the act is not accepted: %v", err)
	}
	_, governed := g.compiled.EnvironmentOf(one.Subject.TrustDomain())
	said := one.Said()
	switch {
	case said.GetPolicy() != g.manifest.GetPolicy():
		return nil, invalid("the act is of policy %q, and %q is in force", said.GetPolicy(), g.manifest.GetPolicy())
	case said.GetAuthor() != caller.String():
		return nil, invalid("the act says that it is of %s, and comes from %s", said.GetAuthor(), caller)
	case one.Made.Before(now.Add(-actsSkew)) || one.Made.After(now.Add(actsSkew)):
		return nil, invalid("the act was made at %s, and it is %s: make it again, or check the clocks", one.Made.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	case !governed:
		return nil, invalid("no environment of the policy has trust domain %q: the act would deny nothing", one.Subject.TrustDomain().Name())
	case one.Kind == policyv1.Act_REVOKE_GATEWAY && g.compiled.GatewayByID(one.Subject) == nil:
		return nil, invalid("%s is no gateway of the policy in force", one.Subject)
	}
	return one, nil
}

// keep stores an act beside those that there are, and gives all of them.
func (a *acts) keep(ctx context.Context, one *act.Act) (*act.Set, error) {
	for range putTries {
		before := a.current.Load()
		if before.set.Has(one.ID) {
			return before.set, nil
		}
		if err := liftable(before.set, one); err != nil {
			return nil, err
		}
		next, err := before.set.With(one)
		if err != nil {
			return nil, precondition("%v", err)
		}
		content, err := proto.Marshal(next.Message())
		if err != nil {
			return nil, fmt.Errorf("store act: %w", err)
		}
		revision, err := a.config.Acts.Put(ctx, actsKey, content, before.revision)
		switch {
		case errors.Is(err, store.ErrConflict): // another act was stored meanwhile
			if err := a.load(ctx); err != nil {
				return nil, err
			}
		case err != nil:
			return nil, err
		default:
			a.current.Store(&keptActs{next, revision})
			return next, nil
		}
	}
	return nil, fmt.Errorf("store act: %w", store.ErrConflict)
}

// liftable refuses a LIFT that would have no effect.
func liftable(set *act.Set, one *act.Act) error {
	if one.Kind != policyv1.Act_LIFT {
		return nil
	}
	of := set.Get(one.Lifts)
	switch {
	case of == nil || of.Kind == policyv1.Act_LIFT:
		return precondition("there is no act %s to lift", act.Short(one.Lifts))
	case of.Subject != one.Subject:
		return precondition("act %s is about %s, not %s", of.Short(), of.Subject, one.Subject)
	case set.LiftOf(of.ID) != nil:
		return precondition("act %s is lifted already, by act %s", of.Short(), set.LiftOf(of.ID).Short())
	}
	return nil
}

// ListActs are all acts with when each gateway applied them.
func (a *acts) ListActs(context.Context, *controlv1.ListActsRequest) (*controlv1.ListActsResponse, error) {
	set, now := a.set(), time.Now()
	applied := map[string][]join.Applied{}
	for _, one := range a.config.Records.Applied() {
		applied[one.GetAct()] = append(applied[one.GetAct()], one)
	}
	resp := &controlv1.ListActsResponse{}
	for _, one := range set.All() {
		status := &controlv1.ActStatus{Id: one.ID, Act: one.Said()}
		for _, s := range one.Signed().GetSignatures() {
			status.Keys = append(status.Keys, s.GetKey())
		}
		if lift := set.LiftOf(one.ID); lift != nil {
			status.LiftedBy = lift.ID
		}
		status.Overdue = status.GetLiftedBy() == "" && one.Overdue(now)
		resp.Acts = append(resp.Acts, a.where(status, applied[one.ID]))
		delete(applied, one.ID)
	}
	for id, by := range applied { // recorded, and not in the store
		said := &policyv1.Act{Kind: by[0].GetKind(), Subject: by[0].GetSubject()}
		resp.Acts = append(resp.Acts, a.where(&controlv1.ActStatus{Id: id, Act: said}, by))
	}
	slices.SortStableFunc(resp.Acts, func(x, y *controlv1.ActStatus) int {
		return cmp.Or(x.GetAct().GetMade().AsTime().Compare(y.GetAct().GetMade().AsTime()), cmp.Compare(x.GetId(), y.GetId()))
	})
	return resp, nil
}

// where fills in at which gateways an act was applied, and which are behind.
func (a *acts) where(status *controlv1.ActStatus, applied []join.Applied) *controlv1.ActStatus {
	said := map[string]bool{}
	for _, one := range applied {
		said[one.Gateway] = true
		status.Applied = append(status.Applied, &controlv1.ActApplied{
			Gateway: statements.Short(one.Gateway), Id: one.Gateway, At: one.GetAt(),
		})
	}
	p := a.policies.compiled()
	if p == nil {
		return status
	}
	for _, g := range p.Gateways() {
		if !said[g.ID.String()] {
			status.Behind = append(status.Behind, g.Name)
		}
	}
	return status
}

// denies says whether an act denies an ID, so that it is not to be listened to.
func (a *acts) denies(id spiffeid.ID) bool {
	set := a.set()
	return set.Quarantined(id) != nil || set.Revoked(id) != nil
}
