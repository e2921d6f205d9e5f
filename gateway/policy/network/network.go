// Package network says which environment an address is in, by the networks that a
// policy gives its environments. It asks no network anything, and does not judge
// whether the networks themselves are well chosen: the policy's validation does.
//
// The invariant: an address that is in one environment's network is never taken
// for one of another.
package network

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// Set is the address prefixes of a policy's environments. It does not change.
type Set struct {
	names    []string // of environments, sorted
	prefixes map[string][]netip.Prefix
}

// Of reads a policy's networks. What is no prefix is left out: validation says so.
func Of(p *policyv1.Policy) *Set {
	s := &Set{names: slices.Sorted(maps.Keys(p.GetEnvironments())), prefixes: map[string][]netip.Prefix{}}
	for name, env := range p.GetEnvironments() {
		for _, text := range env.GetNetworks() {
			if prefix, err := netip.ParsePrefix(text); err == nil {
				s.prefixes[name] = append(s.prefixes[name], prefix)
			}
		}
	}
	return s
}

// Check says what is wrong with an address in an environment: it is in another
// one's network, or the environment has networks and it is in none of them. An
// environment without networks takes any, and loopback addresses that are in
// nobody's network are each host's own.
func (s *Set) Check(environment string, a netip.Addr) error {
	a = a.Unmap()
	own := s.prefixes[environment]
	if holds(own, a) >= 0 {
		return nil
	}
	for _, other := range s.names {
		if i := holds(s.prefixes[other], a); i >= 0 {
			return fmt.Errorf("%s is in network %s of environment %s, not in %s", a, s.prefixes[other][i], other, environment)
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
