package gateway

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/sallyport-mesh/sallyport/gateway/internal/capture"
	"github.com/sallyport-mesh/sallyport/gateway/internal/listener"
	"github.com/sallyport-mesh/sallyport/gateway/policy"
	configv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/config/v1"
)

// reserved begins the paths of the mesh's own identities, which no workload has.
const reserved = "/sallyport/"

// checkCapture finds all faults of what is captured. It is called after checkSelf.
func (b *bootstrap) checkCapture() error {
	c := b.GetCapture()
	if c == nil {
		return nil
	}
	var faults []error
	if len(c.GetListen()) == 0 {
		faults = append(faults, fault("capture.listen", "missing"))
	}
	for i, at := range c.GetListen() {
		if a, err := netip.ParseAddrPort(at); err != nil || !a.Addr().IsLoopback() || slices.Contains(c.GetListen()[:i], at) {
			faults = append(faults, fault(fmt.Sprintf("capture.listen[%d]", i), "want another loopback ADDRESS:PORT, not %q", at))
		}
	}
	if len(c.GetCallers()) == 0 {
		faults = append(faults, fault("capture.callers", "nobody may be captured"))
	}
	taken := map[string]int{} // by selectors
	for i, in := range c.GetCallers() {
		caller, err := b.localCaller(fmt.Sprintf("capture.callers[%d]", i), in)
		faults = append(faults, err)
		where := fmt.Sprintf("%q", caller.Selectors)
		if other, twice := taken[where]; twice && err == nil {
			faults = append(faults, fault(fmt.Sprintf("capture.callers[%d].selectors", i), "they are those of callers[%d]", other))
		}
		taken[where] = i
		b.callers = append(b.callers, caller)
	}
	return errors.Join(faults...)
}

// localCaller reads one caller; its selectors are in order, each once.
func (b *bootstrap) localCaller(field string, in *configv1.LocalCaller) (capture.Caller, error) {
	var faults []error
	id, err := spiffeid.FromString(in.GetId())
	switch td, _ := spiffeid.TrustDomainFromString(b.TrustDomain); {
	case err != nil:
		faults = append(faults, fault(field+".id", "%w", err))
	case id.TrustDomain() != td:
		faults = append(faults, fault(field+".id", "%s is not of trust domain %s", id, b.TrustDomain))
	case id.Path() == "" || strings.HasPrefix(id.Path()+"/", reserved):
		faults = append(faults, fault(field+".id", "%s is no workload", id))
	}
	c := capture.Caller{ID: id}
	for i, text := range in.GetSelectors() {
		s, err := capture.ParseSelector(text)
		if err != nil {
			faults = append(faults, fault(fmt.Sprintf("%s.selectors[%d]", field, i), "%w", err))
			continue
		}
		c.Selectors = append(c.Selectors, s)
	}
	if len(in.GetSelectors()) == 0 {
		faults = append(faults, fault(field+".selectors", "missing: every process of the host would be %s", id))
	}
	slices.SortFunc(c.Selectors, func(a, b capture.Selector) int { return cmp.Compare(a.String(), b.String()) })
	c.Selectors = slices.Compact(c.Selectors)
	return c, errors.Join(faults...)
}

// capture is what the listener needs to take captured connections; nil if none are.
func (g *Gateway) capture(b *bootstrap) (*listener.Capture, error) {
	if b.GetCapture() == nil {
		return nil, nil
	}
	callers, err := capture.New(b.callers)
	if err != nil {
		return nil, err
	}
	var places capture.Places
	return &listener.Capture{
		Addresses: b.GetCapture().GetListen(),
		Caller:    callers.Of,
		Locate: func(at netip.AddrPort) (listener.Destination, error) {
			return destination(at, places.At(g.xds.Policies().Current, at))
		},
	}, nil
}

// bind gives a listening socket for a use, which may be capture.
func (g *Gateway) bind(use, address string) (net.Listener, error) {
	l, err := g.sockets.Listen(use, address)
	if err != nil || use != listener.CaptureName {
		return l, err
	}
	if err := capture.Transparent(l); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// destination is what the policy has at an address. Where workloads of other
// environments have registered that they are, this gateway is not told.
func destination(at netip.AddrPort, places []capture.Place) (listener.Destination, error) {
	switch len(places) {
	case 0:
		return listener.Destination{Authority: at.String(), Bytes: true}, nil
	case 1:
		w, s := places[0].Workload, places[0].Service
		return listener.Destination{
			Authority: net.JoinHostPort(w.Host(), strconv.Itoa(int(s.Port))),
			Bytes:     s.Protocol == policy.TCP || s.Protocol == policy.TLS,
		}, nil
	}
	return listener.Destination{}, fmt.Errorf("%s and %s are both at %s",
		places[0].Workload.Host(), places[1].Workload.Host(), at)
}
