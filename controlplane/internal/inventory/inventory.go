package inventory

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// SourcePolicy is the source of bindings that the policy gives.
const SourcePolicy = "policy"

var (
	// ErrInvalid says that a registration is not one: nothing was kept.
	ErrInvalid = errors.New("invalid registration")
	// ErrUnknownWorkload says that the policy in force has no such workload.
	ErrUnknownWorkload = errors.New("no such workload in the policy in force")
	// ErrNotRegistered says that there is nothing to withdraw.
	ErrNotRegistered = errors.New("nothing is registered")
	// ErrNotAllowed says that the caller may not register this workload.
	ErrNotAllowed = errors.New("may not register this workload")
)

// keyValue keeps registered bindings. A revision is 0 for a key that does not
// exist. Put and Delete fail if the key is at another revision than expected;
// when Put returns, the value is durable. Get fails for a key that does not
// exist. List calls each for every key that exists. All may be called
// concurrently.
type keyValue interface {
	Put(ctx context.Context, key string, value []byte, expected uint64) (uint64, error)
	Get(ctx context.Context, key string) ([]byte, uint64, error)
	List(ctx context.Context, each func(key string, value []byte, revision uint64) error) error
	Delete(ctx context.Context, key string, expected uint64) error
}

// Config is what an inventory is made of.
type Config struct {
	// Store keeps the registered bindings.
	Store keyValue
	// Operator says whether an ID is an operator's, who may register any
	// workload. Nil: nobody is.
	Operator func(id spiffeid.ID) bool
	// Log may be nil.
	Log *zap.Logger
}

// Endpoint is where a service of a workload is now.
type Endpoint struct {
	Workload string
	Service  string
	// Addresses as HOST:PORT, sorted, without repetition; at least one.
	Addresses []string
}

// Inventory is all bindings. All methods may be called concurrently.
type Inventory struct {
	store    keyValue
	operator func(id spiffeid.ID) bool
	log      *zap.Logger
	wake     chan struct{} // tells Run that the next expiry may have changed

	mu         sync.Mutex // guards what follows
	places     *places    // of the policy in force; empty before there is one
	registered map[string]entry
	changed    chan struct{}
}

// entry is a registered binding and the store's revision of it.
type entry struct {
	binding  *controlv1.Binding
	revision uint64
}

// New makes an inventory and reads the registered bindings from the store. One
// that cannot be read is logged and left out: it is one workload's, not all.
func New(ctx context.Context, cfg Config) (*Inventory, error) {
	if cfg.Store == nil {
		return nil, errors.New("make inventory: no store")
	}
	if cfg.Operator == nil {
		cfg.Operator = func(spiffeid.ID) bool { return false }
	}
	if cfg.Log == nil {
		cfg.Log = zap.NewNop()
	}
	i := &Inventory{
		store: cfg.Store, operator: cfg.Operator, log: cfg.Log.Named("inventory"),
		wake: make(chan struct{}, 1), places: newPlaces(nil),
		registered: map[string]entry{}, changed: make(chan struct{}),
	}
	err := cfg.Store.List(ctx, func(key string, value []byte, revision uint64) error {
		b := &controlv1.Binding{}
		if err := proto.Unmarshal(value, b); err != nil || key != keyOf(b) {
			i.log.Error("stored binding is not readable, left out", zap.String("key", key), zap.Error(err))
			return nil
		}
		i.registered[key] = entry{b, revision}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read bindings: %w", err)
	}
	return i, nil
}

// keyOf is a registered binding's key in the store. No SPIFFE ID and no name in
// the policy has a space.
func keyOf(b *controlv1.Binding) string { return b.GetWorkload() + " " + b.GetSource() }

// SetPolicy takes over the policy in force. It must have been validated, and is
// not changed.
func (i *Inventory) SetPolicy(p *policyv1.Policy) {
	places := newPlaces(p)
	i.mu.Lock()
	defer i.mu.Unlock()
	i.places = places
	i.notify()
}

// Run ends leases when their time is over, until the context ends.
func (i *Inventory) Run(ctx context.Context) error {
	for {
		timer, stop := i.nextExpiry(ctx)
		select {
		case <-ctx.Done():
			stop()
			return nil
		case <-i.wake:
		case <-timer:
		}
		stop()
	}
}

// nextExpiry drops what has expired and gives a timer for what expires next.
func (i *Inventory) nextExpiry(ctx context.Context) (<-chan time.Time, func()) {
	now := time.Now()
	i.dropExpired(ctx, now)
	i.mu.Lock()
	defer i.mu.Unlock()
	var next time.Time
	for _, e := range i.registered {
		if at, leased := expiry(e.binding); leased && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	if next.IsZero() {
		return nil, func() {}
	}
	timer := time.NewTimer(next.Sub(now))
	return timer.C, func() { timer.Stop() }
}

func (i *Inventory) dropExpired(ctx context.Context, now time.Time) {
	for key, e := range i.takeExpired(now) {
		i.log.Info("lease ended", zap.String("workload", e.binding.GetWorkload()), zap.String("source", e.binding.GetSource()))
		// If it fails, the entry is read and dropped again at the next start.
		if err := i.store.Delete(ctx, key, e.revision); err != nil {
			i.log.Warn("ended lease stays in the store", zap.String("key", key), zap.Error(err))
		}
	}
}

// takeExpired removes what has expired and gives it.
func (i *Inventory) takeExpired(now time.Time) map[string]entry {
	i.mu.Lock()
	defer i.mu.Unlock()
	gone := map[string]entry{}
	for key, e := range i.registered {
		if !live(e.binding, now) {
			gone[key] = e
			delete(i.registered, key)
		}
	}
	if len(gone) > 0 {
		i.notify()
	}
	return gone
}

// notify tells those who wait on Changed. The caller holds mu.
func (i *Inventory) notify() {
	close(i.changed)
	i.changed = make(chan struct{})
}

// Changed is closed at the next change of any binding. Ask for it before you
// read, and again afterwards.
func (i *Inventory) Changed() <-chan struct{} {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.changed
}

// Bindings are all that hold now, by workload and source. The caller may keep
// and change them.
func (i *Inventory) Bindings() []*controlv1.Binding {
	i.mu.Lock()
	defer i.mu.Unlock()
	all := i.current(time.Now())
	for _, p := range i.places.workloads {
		if p.binding != nil {
			all = append(all, proto.CloneOf(p.binding))
		}
	}
	slices.SortFunc(all, func(a, b *controlv1.Binding) int {
		return cmp.Or(cmp.Compare(a.GetWorkload(), b.GetWorkload()), cmp.Compare(a.GetSource(), b.GetSource()))
	})
	return all
}

// current are the registered bindings that hold: the lease lives, the policy
// has the workload, and lets the source register it. The caller holds mu.
func (i *Inventory) current(now time.Time) []*controlv1.Binding {
	var all []*controlv1.Binding
	for _, e := range i.registered {
		place := i.places.workloads[e.binding.GetWorkload()]
		source, err := spiffeid.FromString(e.binding.GetSource())
		if place == nil || err != nil || !live(e.binding, now) || !i.may(source, place) {
			continue
		}
		b := proto.CloneOf(e.binding)
		b.Environment, b.Id = place.environment, place.id
		for service := range b.GetEndpoints() {
			if _, ok := place.services[service]; !ok {
				delete(b.Endpoints, service)
			}
		}
		all = append(all, b)
	}
	return all
}

// may says whether an ID may register a workload: itself, the gateways of its
// environment, and operators.
func (i *Inventory) may(id spiffeid.ID, p *place) bool {
	return p.is(id) || p.gateways[id] || i.operator(id)
}

// Environments are the names of the policy's environments, sorted.
func (i *Inventory) Environments() []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Clone(i.places.environments)
}

// Endpoints are where the services of an environment's workloads are now, by
// workload and service. What is registered for a service stands in place of
// what the policy says of it; where several sources registered it, all hold.
func (i *Inventory) Endpoints(environment string) []Endpoint {
	i.mu.Lock()
	defer i.mu.Unlock()
	at := map[serviceKey][]string{}
	for _, b := range i.current(time.Now()) {
		if b.GetEnvironment() != environment {
			continue
		}
		for service := range i.places.workloads[b.GetWorkload()].services {
			key := serviceKey{b.GetWorkload(), service}
			at[key] = append(at[key], i.places.registered(b, service)...)
		}
	}
	for name, p := range i.places.workloads {
		if p.environment != environment {
			continue
		}
		for service, s := range p.services {
			if key := (serviceKey{name, service}); len(at[key]) == 0 {
				at[key] = slices.Clone(s.endpoints)
			}
		}
	}
	return sorted(at)
}

type serviceKey struct{ workload, service string }

func sorted(at map[serviceKey][]string) []Endpoint {
	all := make([]Endpoint, 0, len(at))
	for key, addresses := range at {
		if len(addresses) == 0 {
			continue
		}
		slices.Sort(addresses)
		all = append(all, Endpoint{key.workload, key.service, slices.Compact(addresses)})
	}
	slices.SortFunc(all, func(a, b Endpoint) int {
		return cmp.Or(cmp.Compare(a.Workload, b.Workload), cmp.Compare(a.Service, b.Service))
	})
	return all
}

// expiry is when a binding's lease ends, and whether it does.
func expiry(b *controlv1.Binding) (time.Time, bool) {
	if b.GetExpires() == nil {
		return time.Time{}, false
	}
	return b.GetExpires().AsTime(), true
}

func live(b *controlv1.Binding, now time.Time) bool {
	at, leased := expiry(b)
	return !leased || now.Before(at)
}

func expires(lease time.Duration, now time.Time) *timestamppb.Timestamp {
	if lease == 0 {
		return nil
	}
	return timestamppb.New(now.Add(lease))
}
