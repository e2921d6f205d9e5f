package xds

import (
	"context"
	"fmt"
	"net"
	"strconv"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sallyport-mesh/sallyport/controlplane/internal/inventory"
)

// Endpoint is where a service of a workload is now.
type Endpoint = inventory.Endpoint

// assignments are the endpoints that one trust domain's gateways get. A trust
// domain and not an environment is the key because a stream's is known, and
// stays, before any policy says which environment it is.
type assignments struct {
	cache  *cache.LinearCache
	served map[string]types.Resource
}

// assignmentsOf are those of a trust domain. The caller holds mu.
func (s *Server) assignmentsOf(domain string) *assignments {
	a := s.endpoints[domain]
	if a == nil {
		a = &assignments{cache: cache.NewLinearCache(TypeEndpoints), served: map[string]types.Resource{}}
		s.endpoints[domain] = a
	}
	return a
}

// SetEndpoints replaces what the gateways of an environment know of where its
// workloads are. It fails if the policy in force has no such environment, or if
// an address is not HOST:PORT; then nothing changes.
func (s *Server) SetEndpoints(environment string, all []Endpoint) error {
	wanted := make(map[string]types.Resource, len(all))
	for _, e := range all {
		a, err := assignment(environment, e)
		if err != nil {
			return fmt.Errorf("endpoints of %s of %s: %w", e.Service, e.Workload, err)
		}
		wanted[a.GetClusterName()] = a
	}
	s.updating.Lock()
	defer s.updating.Unlock()
	s.mu.Lock()
	var domain string
	if s.roster != nil {
		domain = s.roster.domains[environment]
	}
	if domain == "" {
		s.mu.Unlock()
		return fmt.Errorf("endpoints of environment %q: not in the policy in force", environment)
	}
	target := s.assignmentsOf(domain)
	s.mu.Unlock()
	return target.replace(wanted)
}

// replace serves what is wanted and nothing else. The caller holds updating.
func (a *assignments) replace(wanted map[string]types.Resource) error {
	changed := map[string]types.Resource{}
	for name, r := range wanted {
		if before, ok := a.served[name]; !ok || !proto.Equal(before, r) {
			changed[name] = r
		}
	}
	var gone []string
	for name := range a.served {
		if _, ok := wanted[name]; !ok {
			gone = append(gone, name)
		}
	}
	if len(changed)+len(gone) == 0 {
		return nil
	}
	a.served = wanted
	if err := a.cache.UpdateResources(changed, gone); err != nil {
		return fmt.Errorf("serve endpoints: %w", err)
	}
	return nil
}

// assignment is Envoy's form. A locality and a weight are set because other
// xDS clients ignore an assignment without them.
func assignment(environment string, e Endpoint) (*endpoint.ClusterLoadAssignment, error) {
	one := &endpoint.LocalityLbEndpoints{
		Locality: &core.Locality{Zone: environment}, LoadBalancingWeight: wrapperspb.UInt32(1),
	}
	for _, at := range e.Addresses {
		host, port, err := net.SplitHostPort(at)
		if err != nil {
			return nil, err
		}
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 || host == "" {
			return nil, fmt.Errorf("%q is not HOST:PORT", at)
		}
		one.LbEndpoints = append(one.LbEndpoints, lbEndpoint(host, uint32(n)))
	}
	return &endpoint.ClusterLoadAssignment{
		ClusterName: fmt.Sprintf("%s.%s.%s.mesh", e.Service, e.Workload, environment),
		Endpoints:   []*endpoint.LocalityLbEndpoints{one},
	}, nil
}

func lbEndpoint(host string, port uint32) *endpoint.LbEndpoint {
	return &endpoint.LbEndpoint{HostIdentifier: &endpoint.LbEndpoint_Endpoint{Endpoint: &endpoint.Endpoint{
		Address: &core.Address{Address: &core.Address_SocketAddress{SocketAddress: &core.SocketAddress{
			Address: host, PortSpecifier: &core.SocketAddress_PortValue{PortValue: port},
		}}},
	}}}
}

// WaitEndpoints waits until every connected gateway of an environment has
// accepted the endpoints that are served to it now. It fails with the
// context's error.
func (s *Server) WaitEndpoints(ctx context.Context, environment string) error {
	domain, wanted, err := s.served(environment)
	if err != nil {
		return err
	}
	for {
		s.mu.Lock()
		all := true
		for one := range s.open() {
			all = all && (one.id.TrustDomain().Name() != domain || one.record.holds(wanted))
		}
		changed := s.changed
		s.mu.Unlock()
		if all {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// served is an environment's trust domain and the versions of its endpoints.
func (s *Server) served(environment string) (domain string, versions map[string]string, err error) {
	s.updating.Lock()
	defer s.updating.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.roster == nil || s.roster.domains[environment] == "" {
		return "", nil, fmt.Errorf("endpoints of environment %q: not in the policy in force", environment)
	}
	domain = s.roster.domains[environment]
	versions = map[string]string{}
	for name, r := range s.assignmentsOf(domain).served {
		if versions[name], err = versionOf(r); err != nil {
			return "", nil, err
		}
	}
	return domain, versions, nil
}

// holds says whether the gateway accepted endpoints of these versions.
func (r *record) holds(versions map[string]string) bool {
	for name, version := range versions {
		if r.held[TypeEndpoints][name] != version {
			return false
		}
	}
	return true
}
