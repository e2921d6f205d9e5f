package gateway

import (
	"errors"
	"fmt"
	"strings"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/listener"
)

func (b *bootstrap) ports() []listener.Port {
	ports := make([]listener.Port, len(b.Ports))
	for i, p := range b.Ports {
		ports[i] = listener.Port{Address: p.GetListen(), To: p.GetTo()}
	}
	return ports
}

// checkPorts finds each port's faults. Whether there is such a destination is a
// question to the policy, which may change.
func (b *bootstrap) checkPorts() error {
	taken := map[string]string{b.Attach: "attach", b.AttachLoopback: "attachLoopback", b.Tunnel: "tunnel", b.Admin: "admin"}
	var faults []error
	for i, p := range b.Ports {
		field, at := fmt.Sprintf("ports[%d]", i), p.GetListen()
		faults = append(faults, checkAddress(field+".listen", at, true), checkDestination(field+".to", p.GetTo()))
		if other, found := taken[at]; found && at != "" && !strings.HasSuffix(at, ":0") {
			faults = append(faults, fault(field+".listen", "%s is the address of %s", at, other))
		}
		taken[at] = field
	}
	return errors.Join(faults...)
}

// checkDestination demands what a CONNECT can ask for: a name of the mesh, and a
// port.
func checkDestination(field, to string) error {
	if err := l7.CheckAuthority(to); err != nil {
		return fault(field, "%w", err)
	}
	if host, _, ported := strings.Cut(strings.ToLower(to), ":"); !ported || !strings.HasSuffix(host, ".mesh") {
		return fault(field, "want WORKLOAD.ENVIRONMENT.mesh:PORT, not %q", to)
	}
	return nil
}
