// Package capture knows of a connection that the kernel hands to the gateway, though
// it was made to another address, who made it and to what: by the user and the cgroup
// that opened the caller's socket, by where the policy says that workloads are, and by
// nothing that the caller says. It decides nothing about who may do what. One
// invariant: who cannot be told for certain is nobody.
package capture

import (
	"errors"
	"fmt"
	"net"
	"slices"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/sallyport-mesh/sallyport/certs/localpeer"
)

var (
	// ErrNobody says that a process is none of the callers.
	ErrNobody = errors.New("is no caller")
	// ErrSeveral says that a process is two callers with different SPIFFE IDs.
	ErrSeveral = errors.New("is more than one caller")
)

// Caller is a workload that is known by where it runs.
type Caller struct {
	ID        spiffeid.ID
	Selectors []Selector // all must hold
}

// Callers tells callers by their processes.
type Callers struct {
	all     []Caller
	cgroups string // where the cgroups are; "" if no selector asks
}

// New makes Callers. It fails if this system cannot say who is at the other end of
// a connection, or has no cgroups (v2) and a selector asks for one.
func New(all []Caller) (*Callers, error) {
	c := &Callers{all: slices.Clone(all)}
	if err := probe(); err != nil {
		return nil, err
	}
	for _, caller := range all {
		if !slices.ContainsFunc(caller.Selectors, func(s Selector) bool { return s.cgroup != "" }) {
			continue
		}
		var err error
		if c.cgroups, err = cgroupRoot(); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// Of is the caller at the other end of a connection. The error says who that is, as
// far as it is known, and wraps ErrNobody, ErrSeveral or localpeer.ErrUnknown.
func (c *Callers) Of(conn net.Conn) (spiffeid.ID, error) {
	p, err := localpeer.Of(conn)
	if err != nil {
		return spiffeid.ID{}, err
	}
	return c.of(p)
}

func (c *Callers) of(p localpeer.Peer) (spiffeid.ID, error) {
	var found spiffeid.ID
	for i := range c.all {
		switch id := c.all[i].ID; {
		case id == found || !c.is(p, c.all[i].Selectors):
		case !found.IsZero():
			return spiffeid.ID{}, fmt.Errorf("user %d %w: %s and %s", p.UID, ErrSeveral, found, id)
		default:
			found = id
		}
	}
	if found.IsZero() {
		return found, fmt.Errorf("user %d in cgroup number %d %w", p.UID, p.Cgroup, ErrNobody)
	}
	return found, nil
}

// is says whether all selectors hold; there is at least one.
func (c *Callers) is(p localpeer.Peer, selectors []Selector) bool {
	for _, s := range selectors {
		if s.cgroup == "" && s.uid != p.UID || s.cgroup != "" && !inCgroup(p, c.cgroups, s.cgroup) {
			return false
		}
	}
	return len(selectors) > 0
}

// probe asks about a connection of this process's own, for a sandbox may forbid it.
func probe() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("ask the kernel who calls: %w", err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		return fmt.Errorf("ask the kernel who calls: %w", err)
	}
	defer client.Close()
	conn, err := l.Accept()
	if err != nil {
		return fmt.Errorf("ask the kernel who calls: %w", err)
	}
	defer conn.Close()
	if _, err := localpeer.Of(conn); err != nil {
		return fmt.Errorf("ask the kernel who calls, which needs sockets of AF_NETLINK: %w", err)
	}
	return nil
}
