package inventory

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/protobuf/proto"

	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
)

// What one registration may hold. They bound what a workload can make the store
// and every gateway of its environment keep.
const (
	maxItems = 64
	maxText  = 256 // bytes of each name, address and label
)

// putTries is how often a registration is written when another writer changed
// the same key meanwhile.
const putTries = 3

// Register keeps where a workload is, in place of what the same caller
// registered before, and returns the binding when it is durable. The error is
// ErrUnknownWorkload, ErrNotAllowed or ErrInvalid, or the store's.
func (i *Inventory) Register(ctx context.Context, caller spiffeid.ID, req *controlv1.RegisterRequest) (*controlv1.Binding, error) {
	b, err := i.check(caller, req)
	if err != nil {
		return nil, err // in words for the caller, who knows what it asked for
	}
	value, err := proto.Marshal(b)
	if err != nil {
		return nil, fmt.Errorf("encode binding of %q: %w", b.GetWorkload(), err)
	}
	revision, err := i.put(ctx, keyOf(b), value)
	if err != nil {
		return nil, fmt.Errorf("register workload %q: %w", b.GetWorkload(), err)
	}
	i.keep(entry{b, revision})
	return proto.CloneOf(b), nil
}

// check judges a registration against the policy in force and makes its binding.
func (i *Inventory) check(caller spiffeid.ID, req *controlv1.RegisterRequest) (*controlv1.Binding, error) {
	i.mu.Lock()
	p := i.places.workloads[req.GetWorkload()]
	i.mu.Unlock()
	if p == nil {
		return nil, ErrUnknownWorkload
	}
	if !i.may(caller, p) {
		return nil, fmt.Errorf("%s %w", caller, ErrNotAllowed)
	}
	if err := checkRequest(req, p); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return &controlv1.Binding{
		Workload: req.GetWorkload(), Environment: p.environment, Id: p.id,
		Endpoints: maps.Clone(req.GetEndpoints()), Addresses: slices.Clone(req.GetAddresses()),
		Labels: maps.Clone(req.GetLabels()), Cgroup: req.GetCgroup(),
		Expires: expires(req.GetLease().AsDuration(), time.Now()), Source: caller.String(),
	}, nil
}

func checkRequest(req *controlv1.RegisterRequest, p *place) error {
	if err := checkSizes(req); err != nil {
		return err
	}
	if lease := req.GetLease(); lease != nil && (lease.CheckValid() != nil || lease.AsDuration() < 0) {
		return fmt.Errorf("lease %v is no time to come", lease.AsDuration())
	}
	for name, at := range req.GetEndpoints() {
		if p.services[name] == nil {
			return fmt.Errorf("the policy says of no service %q that this workload serves it", name)
		}
		if err := p.checkEndpoint(at); err != nil {
			return fmt.Errorf("endpoint of %q: %w", name, err)
		}
	}
	for _, a := range req.GetAddresses() {
		if err := p.checkAddress(a); err != nil {
			return err
		}
	}
	return nil
}

func checkSizes(req *controlv1.RegisterRequest) error {
	if len(req.GetEndpoints()) > maxItems || len(req.GetAddresses()) > maxItems || len(req.GetLabels()) > maxItems {
		return fmt.Errorf("more than %d endpoints, addresses or labels", maxItems)
	}
	texts := append([]string{req.GetCgroup()}, req.GetAddresses()...)
	for _, m := range []map[string]string{req.GetEndpoints(), req.GetLabels()} {
		texts = slices.AppendSeq(slices.AppendSeq(texts, maps.Keys(m)), maps.Values(m))
	}
	for _, t := range texts {
		if len(t) > maxText {
			return fmt.Errorf("%.32q... is longer than %d bytes", t, maxText)
		}
	}
	return nil
}

func (p *place) checkEndpoint(at string) error {
	host, port, err := net.SplitHostPort(at)
	if err != nil || !validPort(port) {
		return fmt.Errorf("%q is not HOST:PORT", at)
	}
	return p.checkAddress(host)
}

// checkAddress refuses names, because who answers for one may be another
// tomorrow, and addresses that are no one host's, or not of the workload's
// environment. Link-local ones would let a
// registration turn a gateway to its own host's metadata service.
func (p *place) checkAddress(text string) error {
	ip, err := netip.ParseAddr(text)
	if err != nil || ip.Zone() != "" {
		return fmt.Errorf("%q is not an IP address", text)
	}
	ip = ip.Unmap()
	if ip.IsUnspecified() || ip.IsMulticast() || ip.IsLinkLocalUnicast() || ip == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return fmt.Errorf("%s is no workload's address", ip)
	}
	return p.networks.Check(p.environment, ip)
}

// put writes a key over whatever revision it has. A store that fails for
// another reason than a change by another writer fails at once.
func (i *Inventory) put(ctx context.Context, key string, value []byte) (uint64, error) {
	i.mu.Lock()
	expected := i.registered[key].revision
	i.mu.Unlock()
	var err error
	for range putTries {
		var revision uint64
		if revision, err = i.store.Put(ctx, key, value, expected); err == nil {
			return revision, nil
		}
		_, now, getErr := i.store.Get(ctx, key)
		if getErr != nil {
			now = 0 // there is no such key any more, or the next Put will tell
		}
		if now == expected {
			break
		}
		expected = now
	}
	return 0, err
}

// keep takes over a binding that is in the store, unless a later one is here.
func (i *Inventory) keep(e entry) {
	i.mu.Lock()
	key := keyOf(e.binding)
	if i.registered[key].revision < e.revision {
		i.registered[key] = e
		i.notify()
	}
	i.mu.Unlock()
	select {
	case i.wake <- struct{}{}:
	default: // one is pending
	}
}
