package policy

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/sallyport-mesh/sallyport/gateway/policy/address"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// layerNames are the native enforcement targets that can be named, sorted.
func layerNames() []string {
	return []string{
		"asa", "awsnacl", "awssg", "azurensg", "cilium", "ebpf", "envoyrbac", "gcpfirewall",
		"iptables", "landlock", "networkpolicy", "nftables", "nwfilter",
	}
}

// prefixOf is one environment's address prefix.
type prefixOf struct {
	prefix            netip.Prefix
	path, environment string
}

func (v *validator) environments() {
	gateways := map[string]string{} // environment of a gateway
	var networks []prefixOf
	for _, name := range v.environmentNames {
		env, path, subject := v.p.GetEnvironments()[name], key("environments", name), "environment "+name
		v.name(path, "environment", name)
		v.trustDomain(key(path, "trustDomain"), name, env.GetTrustDomain())
		v.team(key(path, "owner"), subject, "owner", env.GetOwner(), "Name the team that answers for it.")
		networks = append(networks, v.networks(key(path, "networks"), name, env.GetNetworks())...)
		for _, gw := range slices.Sorted(maps.Keys(env.GetGateways())) {
			at := key(key(path, "gateways"), gw)
			if other, twice := gateways[gw]; twice {
				v.repeats(at, key(key(key("environments", other), "gateways"), gw), "gateway %s: the name is taken in environment %s", gw, other)
			} else {
				gateways[gw] = name
			}
			v.gateway(at, name, gw, env.GetGateways()[gw])
		}
		for i, l := range env.GetLayers() {
			v.layer(at(key(path, "layers"), i), name, l)
		}
	}
	v.overlaps(networks)
}

func (v *validator) trustDomain(path, env, name string) {
	td, err := spiffeid.TrustDomainFromString(name)
	if err != nil || td.Name() != name {
		v.fault(path, "environment %s: %q is not a SPIFFE trust domain", env, name)
		return
	}
	if other, taken := v.domains[td]; taken {
		v.fault(path, "environment %s: trust domain %s is that of %s. An identity could then not tell where it is from.", env, name, other)
		return
	}
	v.domains[td] = env
}

func (v *validator) networks(path, env string, texts []string) []prefixOf {
	var out []prefixOf
	for i, text := range texts {
		prefix, err := netip.ParsePrefix(text)
		switch {
		case err != nil || prefix.Addr().Is4In6():
			v.fault(at(path, i), "environment %s: %q is not a network such as 10.0.0.0/16", env, text)
		case prefix != prefix.Masked():
			v.fault(at(path, i), "environment %s: network %s has bits beyond its length; write %s", env, text, prefix.Masked())
		default:
			out = append(out, prefixOf{prefix, at(path, i), env})
		}
	}
	return out
}

// overlaps refuses two environments with a common address. Sorted, wider before
// narrower, a prefix overlaps one before it only if the widest open one holds it.
func (v *validator) overlaps(networks []prefixOf) {
	slices.SortStableFunc(networks, func(a, b prefixOf) int {
		if c := a.prefix.Addr().Compare(b.prefix.Addr()); c != 0 {
			return c
		}
		return a.prefix.Bits() - b.prefix.Bits()
	})
	var open prefixOf
	for _, n := range networks {
		if !open.prefix.IsValid() || !open.prefix.Overlaps(n.prefix) {
			open = n
			continue
		}
		if open.environment != n.environment {
			v.fault(n.path, "environment %s: network %s overlaps %s of %s; the L3 proof could not tell them apart",
				n.environment, n.prefix, open.prefix, open.environment)
		}
	}
}

func (v *validator) gateway(path, env, name string, g *policyv1.Gateway) {
	subject := "gateway " + name
	v.name(path, "gateway", name)
	switch {
	case g.GetDialOut() && g.GetTunnel() != "":
		v.fault(key(path, "tunnel"), "%s: it dials out and has no inbound ports, so nobody dials %s", subject, g.GetTunnel())
	case g.GetDialOut():
	case g.GetTunnel() == "":
		v.fault(path, "%s: no tunnel. Say at which HOST:PORT its peers dial it, or set dialOut.", subject)
	default:
		if err := address.CheckHostPort(g.GetTunnel()); err != nil {
			v.fault(key(path, "tunnel"), "%s: tunnel %v", subject, err)
		}
	}
	v.addresses(key(path, "addresses"), env, subject, g.GetAddresses())
}

// addresses demands IP addresses in an environment's networks; empty if it is not
// known which one it is.
func (v *validator) addresses(path, env, subject string, addresses []string) {
	for i, a := range addresses {
		if addr, err := netip.ParseAddr(a); err != nil || addr.Zone() != "" || addr.Is4In6() {
			v.fault(at(path, i), "%s: %q is not an IP address", subject, a)
		} else {
			v.inNetwork(at(path, i), env, subject, addr)
		}
	}
}

func (v *validator) inNetwork(path, env, subject string, addr netip.Addr) {
	if env == "" {
		return
	}
	if err := v.nets.Check(env, addr); err != nil {
		v.fault(path, "%s: %v", subject, err)
	}
}

func (v *validator) layer(path, env string, l *policyv1.Layer) {
	subject := "environment " + env
	v.reference(key(path, "layer"), subject, "layer", l.GetLayer(), layerNames())
	v.team(key(path, "owner"), subject+", layer "+l.GetLayer(), "owner", l.GetOwner(), "Name the team that answers for it.")
}
