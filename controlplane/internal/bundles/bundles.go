// Package bundles carries the trust domains' signed bundles: it keeps the newest
// of each in the store and hands them on. It signs none and could forge none:
// whoever gets one checks it, as this package does, so that what nobody would take
// goes no further.
//
// The one invariant: what is handed on was signed by an authority of its trust
// domain, under a root that the control plane trusts of it.
package bundles

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"github.com/sallyport-mesh/sallyport/certs/federation"
	"github.com/sallyport-mesh/sallyport/controlplane/internal/store"
	configv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/config/v1"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
)

// keepTimeout bounds how long the store may take.
const keepTimeout = 10 * time.Second

// checkEvery is how often what is handed on is checked again: a signature counts
// for as long as its SVID does.
const checkEvery = time.Minute

// Store keeps signed bundles by trust domain: see store.Bucket.
type Store interface {
	Put(ctx context.Context, key string, value []byte, expected uint64) (uint64, error)
	Get(ctx context.Context, key string) ([]byte, uint64, error)
	List(ctx context.Context, each func(key string, value []byte, revision uint64) error) error
}

// Config is what the bundles are made of.
type Config struct {
	// Store keeps them.
	Store Store
	// Self is the control plane's own trust domain, whose bundle it carries too.
	Self spiffeid.TrustDomain
	// Roots are what Self is trusted by.
	Roots x509bundle.Source
	// Keeper keeps the other trust domains' bundles.
	Keeper *federation.Keeper
	// Log may be nil.
	Log *zap.Logger
}

// Bundles are the newest signed bundles. All methods may be called concurrently.
type Bundles struct {
	cfg Config
	log *zap.Logger

	mu      sync.Mutex // guards what follows
	newest  map[string]carried
	changed chan struct{} // closed and replaced at each change
}

// carried is one signed bundle.
type carried struct {
	signed   *configv1.SignedBundle
	sequence uint64
	revision uint64 // of the store
	good     bool   // it is handed on
}

// New takes up what is in the store. What does not verify any more is not handed
// on; its authority will bring it again.
func New(ctx context.Context, cfg Config) (*Bundles, error) {
	b := &Bundles{cfg: cfg, log: cfg.Log, newest: map[string]carried{}, changed: make(chan struct{})}
	if b.log == nil {
		b.log = zap.NewNop()
	}
	b.log = b.log.Named("bundles")
	err := cfg.Store.List(ctx, func(key string, value []byte, revision uint64) error {
		signed := new(configv1.SignedBundle)
		if err := proto.Unmarshal(value, signed); err != nil || signed.GetTrustDomain() != key {
			b.log.Error("stored bundle cannot be read", zap.String("trust_domain", key), zap.Error(err))
			signed = &configv1.SignedBundle{TrustDomain: key}
		}
		sequence, err := b.judge(signed)
		b.newest[key] = carried{signed, sequence, revision, err == nil}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read bundles: %w", err)
	}
	return b, nil
}

// judge says what a signed bundle's sequence number is, and an error of package
// federation if nobody would take it.
func (b *Bundles) judge(signed *configv1.SignedBundle) (uint64, error) {
	sequence, err := federation.Sequence(signed)
	switch {
	case err != nil:
		return 0, err
	case signed.GetTrustDomain() == b.cfg.Self.Name():
		return sequence, federation.Verify(signed, b.cfg.Roots)
	}
	return sequence, b.cfg.Keeper.Accept(signed)
}

// Publish keeps a signed bundle and hands it on, if it is the newest. The error is
// one of package federation, or the store's.
//
// What was begun is finished even if the caller leaves: a bundle without the root by
// which the caller came is in force at once, and ends the connection that it came by.
func (b *Bundles) Publish(ctx context.Context, signed *configv1.SignedBundle) error {
	sequence, err := b.judge(signed)
	if err != nil {
		return err
	}
	value, err := proto.Marshal(signed)
	if err != nil {
		return fmt.Errorf("encode bundle: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), keepTimeout)
	defer cancel()
	b.mu.Lock()
	defer b.mu.Unlock()
	name := signed.GetTrustDomain()
	before := b.newest[name]
	if sequence < before.sequence {
		return fmt.Errorf("%w: its sequence number is %d, and %d was published", federation.ErrRollback, sequence, before.sequence)
	}
	revision, err := b.cfg.Store.Put(ctx, name, value, before.revision)
	if errors.Is(err, store.ErrConflict) { // another control plane has the same store
		_, before.revision, _ = b.cfg.Store.Get(ctx, name) // 0 will be told from what is there the next time
		b.newest[name] = before
	}
	if err != nil {
		return err
	}
	b.newest[name] = carried{proto.CloneOf(signed), sequence, revision, true}
	b.signal()
	return nil
}

func (b *Bundles) signal() {
	close(b.changed)
	b.changed = make(chan struct{})
}

// Newest are the bundles that are handed on, by trust domain; they are not to be
// changed. The channel is closed when there are others.
func (b *Bundles) Newest() ([]*configv1.SignedBundle, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []*configv1.SignedBundle
	for _, name := range slices.Sorted(maps.Keys(b.newest)) {
		if c := b.newest[name]; c.good {
			all = append(all, c.signed)
		}
	}
	return all, b.changed
}

// States are how things stand with each other trust domain.
func (b *Bundles) States() []*controlv1.BundleStatus { return b.cfg.Keeper.States(time.Now()) }

// Run stops handing on what does not verify any more, until ctx ends.
func (b *Bundles) Run(ctx context.Context) error {
	ticker := time.NewTicker(checkEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			b.check()
		}
	}
}

func (b *Bundles) check() {
	all, _ := b.Newest()
	for _, signed := range all {
		_, err := b.judge(signed)
		if !errors.Is(err, federation.ErrUnverified) {
			continue
		}
		b.log.Warn("bundle is not handed on any more: its authority is silent", zap.String("trust_domain", signed.GetTrustDomain()), zap.Error(err))
		b.mu.Lock()
		if c := b.newest[signed.GetTrustDomain()]; c.signed == signed {
			c.good = false
			b.newest[signed.GetTrustDomain()] = c
			b.signal()
		}
		b.mu.Unlock()
	}
}

var _ Store = (*store.Bucket)(nil)
