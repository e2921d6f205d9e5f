package policy

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// Networks are the address prefixes of a policy's environments. They do not
// change.
type Networks struct {
	names    []string // of environments, sorted
	prefixes map[string][]netip.Prefix
}

// NetworksOf reads a policy's networks. What is no prefix is left out: Validate
// says so.
func NetworksOf(p *policyv1.Policy) *Networks {
	n := &Networks{names: slices.Sorted(maps.Keys(p.GetEnvironments())), prefixes: map[string][]netip.Prefix{}}
	for name, env := range p.GetEnvironments() {
		for _, text := range env.GetNetworks() {
			if prefix, err := netip.ParsePrefix(text); err == nil {
				n.prefixes[name] = append(n.prefixes[name], prefix)
			}
		}
	}
	return n
}

// Check says what is wrong with an address in an environment: it is in another
// one's network, or the environment has networks and it is in none of them. An
// environment without networks takes any, and loopback addresses that are in
// nobody's network are each host's own.
func (n *Networks) Check(environment string, a netip.Addr) error {
	a = a.Unmap()
	own := n.prefixes[environment]
	if holds(own, a) >= 0 {
		return nil
	}
	for _, other := range n.names {
		if i := holds(n.prefixes[other], a); i >= 0 {
			return fmt.Errorf("%s is in network %s of environment %s, not in %s", a, n.prefixes[other][i], other, environment)
		}
	}
	if len(own) > 0 && !a.IsLoopback() {
		return fmt.Errorf("%s is in none of the networks of environment %s", a, environment)
	}
	return nil
}

// holds is the index of the prefix that an address is in, or -1.
func holds(prefixes []netip.Prefix, a netip.Addr) int {
	return slices.IndexFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(a) })
}
