package api

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/sallyport-mesh/sallyport/controlplane/internal/store"
	"github.com/sallyport-mesh/sallyport/gateway/policy"
	"github.com/sallyport-mesh/sallyport/gateway/policy/signed"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// maxPolicy bounds a signed policy in bytes: its canonical bytes with manifest,
// signatures and rotations. It leaves a gRPC message and one of the store's, of
// 16 MiB each, room for what is around it.
const maxPolicy = signed.MaxCanonical + 2<<20

// generation is one policy in every form that the control plane needs.
type generation struct {
	signed   *policyv1.SignedPolicy
	manifest *policyv1.Manifest
	source   *policyv1.Policy
	compiled *policy.Policy
	stored   uint64 // the store's revision of it
}

// policies holds the policy in force. It is safe for concurrent use; publishing
// takes turns.
type policies struct {
	controlv1.UnimplementedPolicyServiceServer

	config  Config
	journal *journal
	log     *zap.Logger
	// turn is full while somebody publishes. It is no mutex, so that a caller who
	// waits for its turn can go away.
	turn    chan struct{}
	current atomic.Pointer[generation]
}

func newPolicies(c Config, log *zap.Logger) *policies {
	return &policies{config: c, log: log, turn: make(chan struct{}, 1)}
}

// compiled is the policy in force, nil if there is none.
func (p *policies) compiled() *policy.Policy {
	if g := p.current.Load(); g != nil {
		return g.compiled
	}
	return nil
}

// load takes up the stored policy, verifying it again: the store is trusted no
// more than the wire is.
func (p *policies) load(ctx context.Context) error {
	sp, stored, err := p.config.Store.Policy(ctx)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	g, err := p.verify(sp)
	if err != nil {
		return fmt.Errorf("take up the stored policy: %w", err)
	}
	g.stored = stored
	p.takeUp(g)
	return nil
}

// takeUp makes a generation the one that the control plane itself goes by.
func (p *policies) takeUp(g *generation) {
	p.config.Inventory.SetPolicy(g.source)
	p.current.Store(g)
}

// verify reads a signed policy in every form. A reader has no keys: it shows
// what is stored, and whoever it shows it to has them.
func (p *policies) verify(sp *policyv1.SignedPolicy) (*generation, error) {
	read := p.readVerified
	if p.config.ReadOnly {
		read = readUnverified
	}
	manifest, source, err := read(sp)
	if err != nil {
		return nil, err
	}
	compiled, err := policy.Compile(source, policy.Ref{Serial: manifest.GetSerial(), Revision: manifest.GetRevision()})
	if err != nil {
		return nil, err
	}
	return &generation{signed: sp, manifest: manifest, source: source, compiled: compiled}, nil
}

func (p *policies) readVerified(sp *policyv1.SignedPolicy) (*policyv1.Manifest, *policyv1.Policy, error) {
	return signed.Verify(sp, p.config.Keys)
}

func readUnverified(sp *policyv1.SignedPolicy) (*policyv1.Manifest, *policyv1.Policy, error) {
	manifest := new(policyv1.Manifest)
	if err := protojson.Unmarshal(sp.GetManifest(), manifest); err != nil {
		return nil, nil, fmt.Errorf("read manifest: %w", err)
	}
	source, err := signed.Decode(sp.GetPolicy())
	return manifest, source, err
}

// GetPolicy is the policy in force.
func (p *policies) GetPolicy(context.Context, *controlv1.GetPolicyRequest) (*policyv1.SignedPolicy, error) {
	g := p.current.Load()
	if g == nil {
		return nil, missing("no policy was published yet")
	}
	return g.signed, nil
}

// Publish makes a signed policy the next one.
func (p *policies) Publish(ctx context.Context, req *controlv1.PublishRequest) (*controlv1.PublishResponse, error) {
	if req.GetSigned() == nil {
		return nil, invalid("there is no policy in the request")
	}
	if size := proto.Size(req.GetSigned()); size > maxPolicy {
		return nil, invalid("the policy has %d bytes, the most is %d", size, maxPolicy)
	}
	next, err := p.verify(req.GetSigned())
	if err != nil {
		return nil, invalid("the policy is not accepted: %v", err)
	}
	caller, err := Peer(ctx)
	if err != nil {
		return nil, err
	}
	if faults := policy.ValidateDates(next.source, time.Now()); len(faults) > 0 {
		return nil, invalid("the policy's dates are not accepted: %v", faults)
	}
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if err := p.succeed(ctx, next); err != nil {
		return nil, err
	}
	p.journal.published(next, caller.String())
	return p.distribute(ctx, next)
}

// succeed stores a generation as the one after the current.
func (p *policies) succeed(ctx context.Context, next *generation) error {
	if err := p.follows(next.manifest); err != nil {
		return err
	}
	var expected uint64
	if g := p.current.Load(); g != nil {
		expected = g.stored
	}
	stored, err := p.config.Store.PutPolicy(ctx, next.signed, expected)
	if errors.Is(err, store.ErrConflict) {
		// Another control plane published, or an earlier write of ours was stored
		// though its answer was lost. What is stored counts.
		if err := p.catchUp(ctx); err != nil {
			return err
		}
		return p.superseded(next.manifest)
	}
	if err != nil {
		return err
	}
	next.stored = stored
	p.log.Info("policy published",
		zap.Uint64("serial", next.manifest.GetSerial()), zap.String("revision", next.manifest.GetRevision()))
	p.takeUp(next)
	return nil
}

// follows says whether a manifest comes right after the policy in force.
func (p *policies) follows(m *policyv1.Manifest) error {
	var serial uint64
	var revision string
	if g := p.current.Load(); g != nil {
		if m.GetPolicy() != g.manifest.GetPolicy() {
			return precondition("the policy in force is named %q, this one %q", g.manifest.GetPolicy(), m.GetPolicy())
		}
		serial, revision = g.manifest.GetSerial(), g.manifest.GetRevision()
	}
	if m.GetSerial() != serial+1 || m.GetPrevious() != revision {
		return p.superseded(m)
	}
	return nil
}

// superseded tells the author of a manifest what it should have followed.
func (p *policies) superseded(m *policyv1.Manifest) error {
	g := p.current.Load()
	if g == nil {
		return precondition("no policy was published yet: the first has serial 1 and no previous revision, this one has serial %d", m.GetSerial())
	}
	return precondition("serial %d, revision %s is current: the next policy has serial %d and names that revision as previous; this one has serial %d",
		g.manifest.GetSerial(), g.manifest.GetRevision(), g.manifest.GetSerial()+1, m.GetSerial())
}

// catchUp takes up what is stored and sends it to the gateways.
func (p *policies) catchUp(ctx context.Context) error {
	if err := p.load(ctx); err != nil {
		return err
	}
	g := p.current.Load()
	if g == nil {
		return nil
	}
	_, err := p.distribute(ctx, g)
	return err
}

// distribute sends a generation to the gateways and waits as long as the xDS
// server does. It goes on when the caller has gone: the policy is stored by now.
func (p *policies) distribute(ctx context.Context, g *generation) (*controlv1.PublishResponse, error) {
	result, err := p.config.Gateways.Publish(context.WithoutCancel(ctx), g.signed, g.manifest)
	if err != nil {
		return nil, fmt.Errorf("send policy %d to the gateways: %w", g.manifest.GetSerial(), err)
	}
	return &controlv1.PublishResponse{
		Serial:   g.manifest.GetSerial(),
		Revision: g.manifest.GetRevision(),
		InForce:  result.InForce,
		Behind:   result.Behind,
		Took:     durationpb.New(result.Took),
	}, nil
}
