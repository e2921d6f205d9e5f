package policy

import "net/netip"

// Place is a service of a workload at an address that the policy gives it.
type Place struct {
	Workload *Workload
	Service  *Service
}

// At are the services that the policy says are at an address: none, one, or
// several where the address alone does not tell. A service that is at a host with a
// name is at no address, and nor is a workload that only registers where it is.
func (p *Policy) At(addr netip.AddrPort) []Place {
	return p.places[netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())]
}

func (p *Policy) indexPlaces() {
	p.places = map[netip.AddrPort][]Place{}
	for _, w := range p.workloads {
		for i := range w.Services {
			s := &w.Services[i]
			for _, text := range w.addressesOf(s) {
				if a, err := netip.ParseAddr(text); err == nil {
					at := netip.AddrPortFrom(a, s.Port)
					p.places[at] = append(p.places[at], Place{w, s})
				}
			}
		}
	}
}

// addressesOf are where the policy says that a service is: addresses, or a host's
// name.
func (w *Workload) addressesOf(s *Service) []string {
	if s.Host != "" {
		return []string{s.Host}
	}
	return w.Addresses
}
