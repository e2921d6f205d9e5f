package xds

import (
	"fmt"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// roster is who may subscribe: the gateways of a policy. It does not change.
type roster struct {
	gateways map[spiffeid.ID]gateway
	domains  map[string]string // environment to its trust domain
}

// gateway is a gateway in a policy.
type gateway struct{ name, environment string }

func newRoster(p *policyv1.Policy) (*roster, error) {
	r := &roster{gateways: map[spiffeid.ID]gateway{}, domains: map[string]string{}}
	for env, e := range p.GetEnvironments() {
		td, err := spiffeid.TrustDomainFromString(e.GetTrustDomain())
		if err != nil {
			return nil, fmt.Errorf("environment %q: %w", env, err)
		}
		r.domains[env] = td.Name()
		for name := range e.GetGateways() {
			id, err := spiffeid.FromSegments(td, "sallyport", "gateway", name)
			if err != nil {
				return nil, fmt.Errorf("gateway %q: %w", name, err)
			}
			r.gateways[id] = gateway{name, env}
		}
	}
	return r, nil
}

// admits says whether an ID may subscribe. Before there is a policy (a nil
// roster), every ID in the form of a gateway's may, so that gateways that start
// first wait on their stream; there is nothing yet that it could learn.
func (r *roster) admits(id spiffeid.ID) bool {
	if r == nil {
		return gatewayName(id) != ""
	}
	_, ok := r.gateways[id]
	return ok
}

func (r *roster) all() map[spiffeid.ID]gateway {
	if r == nil {
		return nil
	}
	return r.gateways
}

// gatewayName is NAME of spiffe://TD/sallyport/gateway/NAME, else empty.
func gatewayName(id spiffeid.ID) string {
	name, ok := strings.CutPrefix(id.Path(), "/sallyport/gateway/")
	if !ok || strings.Contains(name, "/") {
		return ""
	}
	return name
}
