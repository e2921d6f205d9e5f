package capture

import (
	"net/netip"
	"sync/atomic"

	"github.com/sallyport-mesh/sallyport/gateway/policy"
)

// Place is a service of a workload at an address that the policy gives it.
type Place struct {
	Workload *policy.Workload
	Service  *policy.Service
}

// Places finds what a policy says is at an address. The zero value is ready.
type Places struct {
	latest atomic.Pointer[places]
}

// places are those of one policy.
type places struct {
	policy *policy.Policy
	at     map[netip.AddrPort][]Place
}

// At are the services that the policy says are at an address: none, one, or several
// where the address alone does not tell. A service that is at a host with a name is
// at no address, and nor is a workload that only registers where it is. No policy has
// none.
func (p *Places) At(of *policy.Policy, addr netip.AddrPort) []Place {
	if of == nil {
		return nil
	}
	known := p.latest.Load()
	if known == nil || known.policy != of {
		known = &places{policy: of, at: map[netip.AddrPort][]Place{}}
		for _, w := range of.Workloads() {
			known.add(w)
		}
		p.latest.Store(known)
	}
	return known.at[netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())]
}

func (p *places) add(w *policy.Workload) {
	for i := range w.Services {
		s := &w.Services[i]
		for _, text := range addressesOf(w, s) {
			if a, err := netip.ParseAddr(text); err == nil {
				at := netip.AddrPortFrom(a, s.Port)
				p.at[at] = append(p.at[at], Place{w, s})
			}
		}
	}
}

// addressesOf are where the policy says that a service is: addresses, or a host's
// name.
func addressesOf(w *policy.Workload, s *policy.Service) []string {
	if s.Host != "" {
		return []string{s.Host}
	}
	return w.Addresses
}
