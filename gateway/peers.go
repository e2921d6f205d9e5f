package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.uber.org/zap"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sallyport-mesh/sallyport/gateway/internal/admin"
	"github.com/sallyport-mesh/sallyport/gateway/internal/exchange"
	"github.com/sallyport-mesh/sallyport/gateway/internal/listener"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// reportInterval is how often a gateway tells the control plane how it is.
const reportInterval = 5 * time.Second

// authorizePeer lets in the gateways that the policy in force names at the
// edge of other environments.
func (g *Gateway) authorizePeer(id spiffeid.ID) error {
	p := g.xds.Policies()
	if p == nil || p.Current == nil {
		return fmt.Errorf("%s is no peer: this gateway has no policy yet", id)
	}
	gw := p.Current.GatewayByID(id)
	if gw == nil || gw.Environment == g.bootstrap.GetEnvironment() {
		return fmt.Errorf("%s is no gateway of another environment of the policy", id)
	}
	return nil
}

func (g *Gateway) refuseTunnel(reason crossingv1.Reason, addr netip.AddrPort, detail string) {
	g.meter.Refuse(reason, addr, "tunnel", detail)
}

// followPeers keeps the pool's peers those of the policy in force.
func (g *Gateway) followPeers(ctx context.Context) {
	for {
		changed := g.xds.Changed()
		if p := g.xds.Policies(); p != nil && p.Current != nil {
			var peers []tunnel.Peer
			for _, gw := range p.Current.Gateways() {
				if gw.Environment == g.bootstrap.GetEnvironment() {
					continue
				}
				peer := tunnel.Peer{ID: gw.ID, Environment: gw.Environment, Address: gw.Tunnel}
				if gw.DialOut {
					peer.Address = "" // it dials us
				}
				peers = append(peers, peer)
			}
			g.pool.SetPeers(peers)
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
	}
}

// report tells the control plane how this gateway is: at once after a change
// of policy, else every few seconds.
func (g *Gateway) report(ctx context.Context) {
	client := controlv1.NewGatewayServiceClient(g.conn)
	ticker := time.NewTicker(reportInterval)
	defer ticker.Stop()
	for {
		changed := g.xds.Changed()
		if _, err := client.Report(ctx, g.status()); err != nil && ctx.Err() == nil {
			g.log.Debug("report not delivered", zap.Error(err))
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-ticker.C:
		}
	}
}

// state is what the gateway is like now, for those who run it.
func (g *Gateway) state() admin.State {
	s := admin.State{Serial: g.Policy().Serial, Spooled: g.recorder.Pending(), Tunnels: g.pool.Tunnels()}
	if _, err := g.source.GetX509SVID(); err != nil {
		s.NotReady = err
	} else if s.Serial == 0 {
		s.NotReady = errors.New("there is no policy yet")
	}
	return s
}

func (g *Gateway) status() *controlv1.ReportRequest {
	ref := g.Policy()
	r := &controlv1.ReportRequest{
		Run: g.recorder.RunID(), Serial: ref.Serial, Revision: ref.Revision, Spooled: g.recorder.Pending(),
	}
	for _, t := range g.pool.Tunnels() {
		r.Tunnels = append(r.Tunnels, &controlv1.TunnelStatus{
			Peer:      t.Peer.String(),
			Carrier:   t.Carrier,
			Dialed:    t.Dialed,
			Tls:       t.TLS,
			Streams:   uint32(t.Streams),
			Since:     timestamppb.New(t.Since),
			RoundTrip: durationpb.New(t.RoundTrip),
			Bulk:      t.Class == tunnel.Bulk,
			Loss:      t.Loss,
		})
	}
	return r
}

// refuser sends refusals before identity to the spool and those of a known
// caller to the egress half.
type refuser struct {
	*admin.Meter
	egress *exchange.Egress
}

var _ listener.Refuser = refuser{}

func (r refuser) RefuseKnown(c listener.Caller, reason crossingv1.Reason, detail string) string {
	return r.egress.RefuseKnown(c, reason, detail)
}
