package xdsclient

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/sallyport-mesh/sallyport/gateway/policy"
	"github.com/sallyport-mesh/sallyport/gateway/policy/signed"
	configv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/config/v1"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// maxHeld bounds the policies that are served at one time: the one in force,
// the next, and those on their way out.
const maxHeld = 16

// book is the policies that the control plane serves, and which of them is in
// force. One goroutine uses it at a time.
type book struct {
	files files
	keys  *policyv1.KeySet // under which the next policy must be signed
	floor floor

	held    map[string]*held  // by revision
	refused map[string]string // by revision: why
	wanted  string            // revision that the control plane names; empty if none
	inForce *held             // nil if none is
	earlier []replaced        // the latest first
}

// held is a policy that was verified and compiled.
type held struct {
	signed  *policyv1.SignedPolicy
	name    string
	version string // of the resource; empty if it came from disk
	policy  *policy.Policy
}

func (h *held) ref() policy.Ref { return h.policy.Ref() }

func newBook(f files, keys *policyv1.KeySet) *book {
	return &book{files: f, keys: keys, held: map[string]*held{}, refused: map[string]string{}}
}

// accept takes a response with policies. What is good in it is kept; the error
// names what is not.
func (b *book) accept(resp *discovery.DeltaDiscoveryResponse) error {
	for _, name := range resp.GetRemovedResources() {
		delete(b.held, name)
		delete(b.refused, name)
	}
	var errs []error
	for _, r := range resp.GetResources() {
		if err := b.prepare(r); err != nil {
			errs = append(errs, fmt.Errorf("policy %.80q: %w", r.GetName(), err))
			b.refuse(r.GetName(), err)
		}
	}
	return errors.Join(errs...)
}

func (b *book) refuse(revision string, err error) {
	if len(b.refused) >= maxHeld {
		clear(b.refused) // a forgotten refusal only costs a wait
	}
	b.refused[revision] = err.Error()
}

// prepare verifies and compiles one policy and keeps it ready.
func (b *book) prepare(r *discovery.Resource) error {
	sp := &policyv1.SignedPolicy{}
	if err := unpack(r.GetResource(), sp); err != nil {
		return err
	}
	h, err := b.verify(sp)
	if err != nil {
		return err
	}
	if h.ref().Revision != r.GetName() {
		return fmt.Errorf("its revision is %s", h.ref().Revision)
	}
	if b.held[r.GetName()] == nil && len(b.held) >= maxHeld {
		return fmt.Errorf("there are %d others", len(b.held))
	}
	h.version = r.GetVersion()
	b.held[r.GetName()] = h
	delete(b.refused, r.GetName())
	return nil
}

// verify checks a policy under the keys and against what was in force before.
func (b *book) verify(sp *policyv1.SignedPolicy) (*held, error) {
	m, p, err := signed.Verify(sp, b.keys)
	if err != nil {
		return nil, err
	}
	if err := b.floor.check(m); err != nil {
		return nil, err
	}
	h := &held{signed: sp, name: m.GetPolicy()}
	ref := policy.Ref{Serial: m.GetSerial(), Revision: m.GetRevision()}
	for _, same := range []*held{b.inForce, b.held[ref.Revision]} {
		if same != nil && same.ref() == ref {
			h.policy = same.policy // it is immutable, so one is enough
			return h, nil
		}
	}
	h.policy, err = policy.Compile(p, ref)
	return h, err
}

// unpack reads a resource of the type of m.
func unpack(a *anypb.Any, m proto.Message) error {
	if a == nil {
		return errors.New("it is empty")
	}
	if !a.MessageIs(m) {
		return fmt.Errorf("it is of type %.128q", a.GetTypeUrl())
	}
	if err := a.UnmarshalTo(m); err != nil {
		return fmt.Errorf("it is not readable: %w", err)
	}
	return nil
}

// want takes a response with the policy state, which names the revision that
// is to be in force. Without a state the policy in force stays in force.
func (b *book) want(resp *discovery.DeltaDiscoveryResponse) error {
	wanted := b.wanted
	if slices.Contains(resp.GetRemovedResources(), stateName) {
		wanted = ""
	}
	for _, r := range resp.GetResources() {
		state := &configv1.PolicyState{}
		if err := unpack(r.GetResource(), state); err != nil {
			return fmt.Errorf("policy state: %w", err)
		}
		if r.GetName() != stateName {
			return fmt.Errorf("policy state: its name is %.80q, not %q", r.GetName(), stateName)
		}
		wanted = state.GetCurrent()
	}
	b.wanted = wanted
	return nil
}

// errNotYet says that the wanted policy is not here, but may be on its way: the
// state and the policy may arrive in any order.
var errNotYet = errors.New("the policy to be in force has not come")

// settle puts the wanted policy in force if it is not. The error wraps
// errNotYet while that cannot be done yet.
func (b *book) settle(now time.Time) error {
	h := b.held[b.wanted]
	switch {
	case b.wanted == "":
		return nil
	case b.inForce != nil && b.inForce.ref().Revision == b.wanted && (h == nil || h.ref().Serial <= b.inForce.ref().Serial):
		return nil
	case b.refused[b.wanted] != "":
		return fmt.Errorf("policy %.80q was refused: %s", b.wanted, b.refused[b.wanted])
	case h == nil:
		return fmt.Errorf("%w: revision %.80q", errNotYet, b.wanted)
	case b.floor.below(h.ref()) != nil:
		// The same content may come again under a higher serial.
		return fmt.Errorf("%w: revision %s: %w", errNotYet, b.wanted, b.floor.below(h.ref()))
	}
	return b.enforce(h, now)
}

// enforce puts a policy in force, once it is on stable storage.
func (b *book) enforce(h *held, now time.Time) error {
	keys, err := signed.Keys(h.signed, b.keys)
	if err != nil {
		return err
	}
	content, err := proto.Marshal(h.signed)
	if err != nil {
		return fmt.Errorf("encode policy: %w", err)
	}
	if err := errors.Join(b.saveEarlier(), b.files.save(policyFile, content)); err != nil {
		return err
	}
	up := floor{Policy: h.name, Serial: h.ref().Serial, Revision: h.ref().Revision}
	// The floor is second: were it first, a crash between the two would leave a
	// policy that may not come back.
	if err := b.saveFloor(up); err != nil {
		return err
	}
	if b.inForce != nil {
		b.earlier = slices.Insert(b.earlier, 0, replaced{b.inForce.policy, now.Add(Grace)})
	}
	b.earlier = slices.DeleteFunc(b.earlier, func(e replaced) bool { return !now.Before(e.until) })
	b.earlier = b.earlier[:min(len(b.earlier), maxEarlier)]
	b.floor, b.inForce = up, h
	b.pin(keys)
	return nil
}

// pin takes over a key set that followed. Keys that were rotated out sign
// nothing more: not even what they signed before and is not in force yet.
func (b *book) pin(keys *policyv1.KeySet) {
	if proto.Equal(b.keys, keys) {
		return
	}
	b.keys = keys
	for revision, h := range b.held {
		if _, _, err := signed.Verify(h.signed, keys); err != nil {
			delete(b.held, revision)
			b.refuse(revision, err)
		}
	}
}

// snapshot is the book as the rest of the gateway sees it.
func (b *book) snapshot() *Policies {
	p := &Policies{earlier: slices.Clone(b.earlier)}
	if b.inForce != nil {
		p.Current = b.inForce.policy
	}
	for _, h := range b.held {
		if b.inForce == nil || h.ref().Serial > b.inForce.ref().Serial {
			p.prepared = append(p.prepared, h.policy)
		}
	}
	slices.SortFunc(p.prepared, func(x, y *policy.Policy) int {
		return cmp.Compare(y.Ref().Serial, x.Ref().Serial)
	})
	if len(p.prepared) > 0 {
		p.Prepared = p.prepared[0]
	}
	if len(p.earlier) > 0 {
		p.Previous, p.Until = p.earlier[0].policy, p.earlier[0].until
	}
	return p
}

// versions are those of the policies held, for the control plane to compare.
func (b *book) versions() map[string]string {
	v := map[string]string{}
	for name, h := range b.held {
		v[name] = h.version
	}
	return v
}
