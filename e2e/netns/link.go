package netns

import (
	"fmt"
	"net/netip"
	"strings"
)

// Link is a cable from a host to a router.
type Link struct {
	// Addr is the host's address on it.
	Addr netip.Addr

	host, via *Host
	dev, far  string // the interface's name at the host, at the router
	gateway   netip.Addr
}

// Connect lays a cable from a host to a router, which takes the first address of
// the host's network. The first cable has the host's default route.
func (h *Host) Connect(via *Host, addr netip.Prefix) *Link {
	h.net.t.Helper()
	l := &Link{
		Addr: addr.Addr(), host: h, via: via, dev: fmt.Sprintf("eth%d", len(h.links)),
		far: fmt.Sprintf("%s%d", h.Name, len(h.links)), gateway: addr.Masked().Addr().Next(),
	}
	ip(h.net.t, "link", "add", l.dev, "netns", h.ns, "type", "veth", "peer", "name", l.far, "netns", via.ns)
	h.ip("addr", "add", addr.String(), "dev", l.dev)
	h.ip("link", "set", l.dev, "up")
	via.ip("addr", "add", netip.PrefixFrom(l.gateway, addr.Bits()).String(), "dev", l.far)
	via.ip("link", "set", l.far, "up")
	if len(h.links) == 0 {
		h.ip("route", "add", "default", "via", l.gateway.String())
	}
	h.links[l.dev] = l
	return l
}

// Masquerade hides what is behind a router: whatever leaves by the link has the
// link's address, and nothing gets in that was not asked for.
func (l *Link) Masquerade() {
	l.host.net.t.Helper()
	l.host.forward()
	l.host.nft(fmt.Sprintf(`table ip nat {
	chain out { type nat hook postrouting priority srcnat; oifname %q masquerade; }
}
table ip guard {
	chain in { type filter hook forward priority 0; iifname %q ct state new drop; }
}`, l.dev, l.dev))
}

// Down takes the link's carrier away.
func (l *Link) Down() { l.host.net.t.Helper(); l.via.ip("link", "set", l.far, "down") }

// Up gives it back.
func (l *Link) Up() { l.host.net.t.Helper(); l.via.ip("link", "set", l.far, "up") }

// MoveRoute leads the path to and from the host over another link of it, and
// takes the carrier of this one away. The host keeps this one's address.
func (l *Link) MoveRoute(to *Link) {
	l.host.net.t.Helper()
	l.host.ip("route", "replace", "default", "via", to.gateway.String(), "dev", to.dev, "src", l.Addr.String())
	l.via.ip("route", "add", l.Addr.String()+"/32", "via", to.Addr.String(), "dev", to.far)
	l.Down()
}

// MoveAddress leads the path over another link and takes this one's address from
// the host, as when it comes back in another network.
func (l *Link) MoveAddress(to *Link) {
	l.host.net.t.Helper()
	l.host.ip("route", "replace", "default", "via", to.gateway.String(), "dev", to.dev)
	l.host.ip("addr", "flush", "dev", l.dev)
	l.Down()
}

// Cut is a path that is cut at the router until it is healed.
type Cut struct {
	router *Host
	table  string
}

// Heal lets everything pass again.
func (c *Cut) Heal() {
	c.router.net.t.Helper()
	c.router.nft("delete table inet " + c.table)
}

// Block drops what goes to or from a port of TCP or UDP, between all hosts.
func (n *Network) Block(protocol string, port int) *Cut {
	n.t.Helper()
	return n.cut(fmt.Sprintf("%s dport %d drop; %s sport %d drop", protocol, port, protocol, port))
}

// Cut drops everything between two hosts at the router, both ways.
func (n *Network) Cut(a, b *Host) *Cut {
	n.t.Helper()
	in, out := a.ports(n.router), b.ports(n.router)
	return n.cut(fmt.Sprintf("iifname { %s } oifname { %s } drop; iifname { %s } oifname { %s } drop", in, out, out, in))
}

// ports are the router's interfaces towards a host.
func (h *Host) ports(router *Host) string {
	h.net.t.Helper()
	var names []string
	for _, l := range h.links {
		if l.via == router {
			names = append(names, fmt.Sprintf("%q", l.far))
		}
	}
	if len(names) == 0 {
		h.net.t.Fatalf("%s is not connected to %s", h.Name, router.Name)
	}
	return strings.Join(names, ", ")
}

func (n *Network) cut(rules string) *Cut {
	n.t.Helper()
	c := &Cut{router: n.router, table: fmt.Sprintf("cut%d", n.cuts.Add(1))}
	n.router.nft(fmt.Sprintf("table inet %s { chain c { type filter hook forward priority -10; %s; }\n}", c.table, rules))
	return c
}
