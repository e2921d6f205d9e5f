package inventory

import (
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/sallyport-mesh/sallyport/gateway/policy/network"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// places is what a policy says of where workloads are. It does not change.
type places struct {
	environments []string // sorted
	workloads    map[string]*place
}

// place is a workload in the policy.
type place struct {
	environment string
	id          string // a SPIFFE ID, or a pattern in which a whole segment may be "*"
	networks    *network.Set
	gateways    map[spiffeid.ID]bool
	services    map[string]*service
	binding     *controlv1.Binding // nil if the policy does not say where it is
}

// service is a service in the policy.
type service struct {
	port      string
	endpoints []string // where the policy says it is, as HOST:PORT
}

// newPlaces reads a policy that was validated; nil is a policy without anything.
func newPlaces(p *policyv1.Policy) *places {
	all := &places{
		environments: slices.Sorted(maps.Keys(p.GetEnvironments())),
		workloads:    map[string]*place{},
	}
	networks := network.Of(p)
	gateways := map[string]map[spiffeid.ID]bool{}
	domains := map[string]string{}
	for name, env := range p.GetEnvironments() {
		domains[env.GetTrustDomain()] = name
		gateways[name] = gatewayIDs(env)
	}
	for name, w := range p.GetWorkloads() {
		td, _, _ := strings.Cut(strings.TrimPrefix(w.GetId(), "spiffe://"), "/")
		env, ok := domains[td]
		if !ok {
			continue // validated policies have none; nobody could answer for it
		}
		all.workloads[name] = newPlace(name, env, w, gateways[env])
		all.workloads[name].networks = networks
	}
	return all
}

func gatewayIDs(env *policyv1.Environment) map[spiffeid.ID]bool {
	ids := map[spiffeid.ID]bool{}
	td, err := spiffeid.TrustDomainFromString(env.GetTrustDomain())
	if err != nil {
		return ids
	}
	for name := range env.GetGateways() {
		if id, err := spiffeid.FromSegments(td, "sallyport", "gateway", name); err == nil {
			ids[id] = true
		}
	}
	return ids
}

func newPlace(name, env string, w *policyv1.Workload, gateways map[spiffeid.ID]bool) *place {
	p := &place{environment: env, id: w.GetId(), gateways: gateways, services: map[string]*service{}}
	b := &controlv1.Binding{
		Workload: name, Environment: env, Id: w.GetId(), Endpoints: map[string]string{},
		Addresses: slices.Clone(w.GetAddresses()), Labels: maps.Clone(w.GetLabels()), Source: SourcePolicy,
	}
	for name, text := range w.GetServes() {
		host, port := hostPort(text)
		s := &service{port: port, endpoints: join(w.GetAddresses(), port)}
		if host != "" {
			s.endpoints = []string{net.JoinHostPort(host, port)}
		}
		p.services[name] = s
		if len(s.endpoints) > 0 {
			b.Endpoints[name] = s.endpoints[0]
		}
	}
	if len(b.Addresses) > 0 || len(b.Endpoints) > 0 {
		p.binding = b
	}
	return p
}

// hostPort takes HOST and PORT out of PROTOCOL://[HOST]:PORT[/PATH].
func hostPort(text string) (host, port string) {
	_, rest, _ := strings.Cut(text, "://")
	authority, _, _ := strings.Cut(rest, "/")
	colon := strings.LastIndexByte(authority, ':')
	if colon < 0 {
		return "", ""
	}
	return strings.Trim(authority[:colon], "[]"), authority[colon+1:]
}

// join gives HOST:PORT for each that is a single address: a prefix says where a
// workload may be, not where it is.
func join(addresses []string, port string) []string {
	var at []string
	for _, a := range addresses {
		if ip, err := netip.ParseAddr(a); err == nil {
			at = append(at, net.JoinHostPort(ip.String(), port))
		}
	}
	return at
}

// registered is where a registered binding says that a service is: its
// endpoint, else the workload's addresses at the port that the policy names.
func (p *places) registered(b *controlv1.Binding, name string) []string {
	if at := b.GetEndpoints()[name]; at != "" {
		return []string{at}
	}
	return join(b.GetAddresses(), p.workloads[b.GetWorkload()].services[name].port)
}

// is says whether an ID is the workload's: equal, or matching its pattern by
// whole segments.
func (p *place) is(id spiffeid.ID) bool {
	if p.gateways[id] {
		return false // a gateway is nobody's workload, whatever a pattern says
	}
	want, have := strings.Split(p.id, "/"), strings.Split(id.String(), "/")
	if len(want) != len(have) {
		return false
	}
	for n, segment := range want {
		// Segments 0 to 2 are "spiffe:", "" and the trust domain.
		if segment != have[n] && (n < 3 || segment != "*") {
			return false
		}
	}
	return true
}

// validPort says whether a port is a number from 1 to 65535.
func validPort(port string) bool {
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n > 0
}
