package gateway

import (
	"context"
	"time"

	"go.uber.org/zap"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
)

const (
	// reportInterval is how often a gateway tells the control plane how it is.
	reportInterval = 5 * time.Second
	// reportPause gathers changes of tunnels and bundles, which come in bursts.
	reportPause = 200 * time.Millisecond
)

// report tells the control plane how this gateway is until the context ends.
func (g *Gateway) report(ctx context.Context) {
	client := controlv1.NewGatewayServiceClient(g.conn)
	r := reporter{policy: g.xds.Changed, bundles: g.bundles.Changed, tunnels: g.pool.Changed, say: func() {
		if _, err := client.Report(ctx, g.status()); err != nil && ctx.Err() == nil {
			g.log.Debug("report not delivered", zap.Error(err))
		}
	}}
	r.run(ctx)
}

// reporter says something at once after a change of policy, soon after one of
// bundles or tunnels, and else every few seconds.
type reporter struct {
	policy, bundles, tunnels func() <-chan struct{} // closed with the next change
	say                      func()
}

func (r *reporter) run(ctx context.Context) {
	ticker := time.NewTicker(reportInterval)
	defer ticker.Stop()
	for ctx.Err() == nil {
		policy, bundles, tunnels := r.policy(), r.bundles(), r.tunnels()
		r.say()
		select {
		case <-ctx.Done():
		case <-policy:
		case <-ticker.C:
		case <-bundles:
			r.pause(ctx, policy)
		case <-tunnels:
			r.pause(ctx, policy)
		}
	}
}

// pause gathers changes, unless the policy changes.
func (r *reporter) pause(ctx context.Context, policy <-chan struct{}) {
	select {
	case <-ctx.Done():
	case <-policy:
	case <-time.After(reportPause):
	}
}

func (g *Gateway) status() *controlv1.ReportRequest {
	ref := g.Policy()
	r := &controlv1.ReportRequest{
		Run: g.recorder.RunID(), Serial: ref.Serial, Revision: ref.Revision, Spooled: g.recorder.Pending(),
		Bundles: g.bundles.States(time.Now()),
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
