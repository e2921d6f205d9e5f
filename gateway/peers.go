package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/sallyport-mesh/sallyport/gateway/internal/admin"
	"github.com/sallyport-mesh/sallyport/gateway/internal/exchange"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/listener"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel/carrier"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// authorizePeer lets in the gateways that the policy in force names at the
// edge of other environments.
func (g *Gateway) authorizePeer(id spiffeid.ID) error {
	p := awaitPolicy(g.xds, g.closing)
	if p == nil {
		return fmt.Errorf("%s is no peer: %w", id, carrier.ErrNoPolicy)
	}
	if err := g.authz.CheckPeer(id); err != nil {
		return fmt.Errorf("%w: %w", carrier.ErrRevoked, err)
	}
	gw := p.GatewayByID(id)
	if gw == nil || gw.Environment == g.bootstrap.GetEnvironment() {
		return fmt.Errorf("%s is no gateway of another environment of the policy", id)
	}
	return nil
}

func (g *Gateway) refuseTunnel(reason crossingv1.Reason, addr netip.AddrPort, detail string) {
	g.meter.Refuse(reason, addr, "tunnel", detail)
}

// followPeers keeps the pool's peers those of the policy in force, but for those
// that were revoked.
func (g *Gateway) followPeers(ctx context.Context) {
	for {
		changed := g.xds.Changed()
		if p := g.xds.Policies(); p != nil && p.Current != nil {
			var peers []tunnel.Peer
			var revoked []spiffeid.ID
			for _, gw := range p.Current.Gateways() {
				if gw.Environment == g.bootstrap.GetEnvironment() {
					continue
				}
				if g.authz.CheckPeer(gw.ID) != nil {
					revoked = append(revoked, gw.ID)
					continue
				}
				peer := tunnel.Peer{ID: gw.ID, Environment: gw.Environment, Address: gw.Tunnel}
				if gw.DialOut {
					peer.Address = "" // it dials us
				}
				peers = append(peers, peer)
			}
			if len(revoked) > 0 {
				g.standing.Review() // first, so that crossings end for that reason
			}
			g.setPeers(ctx, peers, revoked, changed)
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
	}
}

// setPeers makes these the peers, and parts from those that are none any more. Of
// those that were revoked nothing is heard.
func (g *Gateway) setPeers(ctx context.Context, peers []tunnel.Peer, revoked []spiffeid.ID, changed <-chan struct{}) {
	ids := make([]spiffeid.ID, len(peers))
	for i, p := range peers {
		ids[i] = p.ID
	}
	gone := slices.DeleteFunc(g.epochs.SetPeers(ids), func(id spiffeid.ID) bool { return slices.Contains(revoked, id) })
	if len(gone) > 0 {
		parting := slices.Clone(peers)
		for _, id := range gone {
			parting = append(parting, tunnel.Peer{ID: id})
		}
		g.pool.SetPeers(parting)
		g.pool.Expel(revoked...)
		g.part(ctx, gone, changed)
	}
	g.pool.SetPeers(peers)
	g.pool.Expel(revoked...)
}

// state is what the gateway is like now, for those who run it.
func (g *Gateway) state() admin.State {
	s := admin.State{
		Serial: g.Policy().Serial, Spooled: g.recorder.Pending(), Outage: g.recorder.Outage(), Silent: g.epochs.Silent(),
		Tunnels: g.pool.Tunnels(), Bundles: g.bundles.States(time.Now()),
	}
	if _, err := g.source.GetX509SVID(); err != nil {
		s.NotReady = err
	} else if s.Serial == 0 {
		s.NotReady = errors.New("there is no policy yet")
	} else if s.Outage != nil {
		s.NotReady = fmt.Errorf("crossings cannot be recorded since %s: %s",
			s.Outage.GetBegan().AsTime().Format(time.RFC3339), s.Outage.GetDetail())
	}
	return s
}

// refuser sends refusals before identity to the spool and those of a known
// caller to the egress half.
type refuser struct {
	*admin.Meter
	egress *exchange.Egress
}

var _ listener.Refuser = refuser{}

func (r refuser) RefuseKnown(c listener.Caller, head *l7.RequestHead, reason crossingv1.Reason, detail string) (id, owner string) {
	return r.egress.RefuseKnown(c, head, reason, detail)
}
