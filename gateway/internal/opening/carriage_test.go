package opening

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

func TestCarrierInTheRecord(t *testing.T) {
	const ms = time.Millisecond
	tests := []struct {
		name string
		info tunnel.Info
		want *crossingv1.Tunnel
	}{
		{"as chosen", tunnel.Info{Carrier: tunnel.TCP, TLS: "TLS 1.3", Choice: tunnel.Usual}, &crossingv1.Tunnel{
			Carrier: "TCP", Tls: "TLS 1.3", Class: crossingv1.Tunnel_INTERACTIVE, Choice: crossingv1.Tunnel_USUAL,
		}},
		{"at the far end", tunnel.Info{Carrier: tunnel.TCP, Class: tunnel.Bulk}, &crossingv1.Tunnel{
			Carrier: "TCP", Class: crossingv1.Tunnel_BULK,
		}},
		{"lossy", tunnel.Info{Carrier: tunnel.QUIC, Choice: tunnel.Lossy, RoundTrip: 20 * ms, ClockOffset: -ms}, &crossingv1.Tunnel{
			Carrier: "QUIC", Class: crossingv1.Tunnel_INTERACTIVE, Choice: crossingv1.Tunnel_LOSSY, RoundTrip: durationpb.New(20 * ms),
			Clock: &crossingv1.Clock{Offset: durationpb.New(-ms), Error: durationpb.New(10 * ms)},
		}},
		{"failed over", tunnel.Info{Carrier: tunnel.QUIC, Class: tunnel.Bulk, Choice: tunnel.Failover}, &crossingv1.Tunnel{
			Carrier: "QUIC", Class: crossingv1.Tunnel_BULK, Choice: crossingv1.Tunnel_FAILOVER,
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, new(Carriage).Of(tt.info), protocmp.Transform()); diff != "" {
				t.Errorf("Carriage of %+v (-want +got):\n%s", tt.info, diff)
			}
		})
	}
}
