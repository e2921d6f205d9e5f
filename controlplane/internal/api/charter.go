package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.uber.org/zap"

	"github.com/sallyport-mesh/sallyport/controlplane/internal/join"
	"github.com/sallyport-mesh/sallyport/controlplane/internal/store"
	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/policy"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// charter is what one policy says of who answers for what: all that a half is
// held against, and little enough to keep for every policy.
type charter struct {
	environments map[string]string // by the name of their trust domain
	owners       map[string]string // of environments
	transitions  map[join.Transition]*policyv1.Transition
}

func newCharter(p *policyv1.Policy) *charter {
	c := &charter{environments: map[string]string{}, owners: map[string]string{}, transitions: map[join.Transition]*policyv1.Transition{}}
	for name, env := range p.GetEnvironments() {
		c.environments[env.GetTrustDomain()], c.owners[name] = name, env.GetOwner()
	}
	for _, t := range p.GetTransitions() {
		c.transitions[join.Transition{From: t.GetFrom(), To: t.GetTo()}] = t
	}
	return c
}

// check holds what a half says of its transition against the policy. A gateway
// could otherwise lay its crossings at another's door.
func (c *charter) check(h *crossingv1.Half) error {
	t := h.GetTransition()
	if err := c.checkEnds(h); err != nil {
		return err
	}
	owner, sink := c.owners[t.GetFrom()], ""
	if t.GetFrom() == "" {
		owner = c.owners[t.GetTo()] // the writer's own: only an ingress gateway knows no source
	}
	open := c.transitions[join.Transition{From: t.GetFrom(), To: t.GetTo()}]
	if open != nil {
		owner, sink = open.GetOwner(), open.GetSink()
	}
	switch {
	case open == nil && crossing.Judged(h.GetEnd().GetReason()):
		return fmt.Errorf("the policy has no transition from %.64q to %.64q", t.GetFrom(), t.GetTo())
	case t.GetOwner() != owner:
		return fmt.Errorf("the owner is %.64q, and by the policy %.64q", t.GetOwner(), owner)
	case t.GetSink() != sink:
		return fmt.Errorf("the sink is %.64q, and by the policy %.64q", t.GetSink(), sink)
	}
	return nil
}

// checkEnds holds the transition's environments against the trust domains of
// the gateways and of the destination. What is not known may be left out.
func (c *charter) checkEnds(h *crossingv1.Half) error {
	t, k := h.GetTransition(), h.GetKey()
	if h.GetSide() == crossingv1.Side_INGRESS {
		if t.GetFrom() == "" {
			return c.isOf(t.GetTo(), k.GetIngress())
		}
		return errors.Join(c.isOf(t.GetTo(), k.GetIngress()), c.isOf(t.GetFrom(), k.GetEgress()))
	}
	err := c.isOf(t.GetFrom(), k.GetEgress())
	if t.GetTo() != "" || h.GetDestination() != "" {
		err = errors.Join(err, c.isOf(t.GetTo(), h.GetDestination()))
	}
	if k.GetIngress() != "" {
		err = errors.Join(err, c.isOf(t.GetTo(), k.GetIngress()))
	}
	return err
}

// isOf says that an environment is that of an ID's trust domain.
func (c *charter) isOf(environment, text string) error {
	id, err := spiffeid.FromString(text)
	if err != nil {
		return fmt.Errorf("environment %.64q: %w", environment, err)
	}
	if want, known := c.environments[id.TrustDomain().Name()]; !known || want != environment {
		return fmt.Errorf("%.256q is not of environment %.64q", text, environment)
	}
	return nil
}

// charters are those of the policies that were published, as far as the store
// still has them.
type charters struct {
	store Store
	log   *zap.Logger

	mu     sync.Mutex // guards what follows
	known  map[policy.Ref]*charter
	stored uint64 // the store's revision up to which they were read
}

func newCharters(s Store, log *zap.Logger) *charters {
	return &charters{store: s, log: log, known: map[policy.Ref]*charter{}}
}

// of is the charter of a policy; nil if nobody published it. The error is the
// store's.
func (c *charters) of(ctx context.Context, ref policy.Ref) (*charter, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if known := c.known[ref]; known != nil {
		return known, nil
	}
	if err := c.read(ctx); err != nil {
		return nil, err
	}
	return c.known[ref], nil
}

// read takes up the policies that were published since it last did. A policy is
// stored before any gateway has it. mu is held.
func (c *charters) read(ctx context.Context) error {
	_, revision, err := c.store.Policy(ctx)
	if errors.Is(err, store.ErrNotFound) || err == nil && revision == c.stored {
		return nil
	}
	if err != nil {
		return err
	}
	history, err := c.store.PolicyHistory(ctx)
	if err != nil {
		return err
	}
	for _, signed := range history {
		// Whoever could forge one here could forge the records as well.
		manifest, source, err := readUnverified(signed)
		if err != nil { // one of another version: it must not hold up the others' records
			c.log.Error("stored policy cannot be read", zap.Error(err))
			continue
		}
		c.known[policy.Ref{Serial: manifest.GetSerial(), Revision: manifest.GetRevision()}] = newCharter(source)
	}
	c.stored = revision
	return nil
}

// since is the serial of the policy since which a transition has the owner that it has
// in the current one, or is shut as it is there: the earliest of those that are known.
func (c *charters) since(ctx context.Context, current uint64) (func(join.Transition) uint64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.read(ctx); err != nil {
		return nil, err
	}
	earlier := slices.SortedFunc(maps.Keys(c.known), func(a, b policy.Ref) int { return cmp.Compare(b.Serial, a.Serial) })
	earlier = slices.DeleteFunc(earlier, func(ref policy.Ref) bool { return ref.Serial > current })
	line := make([]*charter, len(earlier))
	for i, ref := range earlier {
		line[i] = c.known[ref]
	}
	return func(t join.Transition) (serial uint64) {
		for i, charter := range line {
			if !charter.alike(line[0], t) {
				break
			}
			serial = earlier[i].Serial
		}
		return serial
	}, nil
}

// alike says whether a transition has one owner in two charters, or is shut in both.
func (c *charter) alike(other *charter, t join.Transition) bool {
	a, b := c.transitions[t], other.transitions[t]
	return (a == nil) == (b == nil) && a.GetOwner() == b.GetOwner()
}

// check says why a gateway's frame is not to be believed, nil if it is. fault is
// the store's, and says nothing of the frame.
func (c *charters) check(ctx context.Context, f *crossingv1.Frame) (why, fault error) {
	named := f.GetOpen().GetEnd().GetPolicy()
	if named == nil {
		return nil, nil // nothing to hold it against, and it names nobody
	}
	charter, err := c.of(ctx, policy.Ref{Serial: named.GetSerial(), Revision: named.GetRevision()})
	switch {
	case err != nil:
		return nil, err
	case charter == nil:
		return fmt.Errorf("policy %d %.80q is none that was published here lately", named.GetSerial(), named.GetRevision()), nil
	}
	if err := charter.check(f.GetOpen()); err != nil {
		return fmt.Errorf("under policy %d: %w", named.GetSerial(), err), nil
	}
	return nil, nil
}
