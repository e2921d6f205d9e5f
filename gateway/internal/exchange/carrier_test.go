package exchange

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	"github.com/sallyport-mesh/sallyport/gateway/policy"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

func TestClassOf(t *testing.T) {
	tests := []struct {
		name, protocol, length string
		want                   tunnel.Class
	}{
		{"a call", "openai", "2048", tunnel.Interactive},
		{"a call of unknown length", "grpc", "", tunnel.Interactive},
		{"a byte stream", "tcp", "", tunnel.Interactive},
		{"an image", "oci", "", tunnel.Bulk},
		{"a hub's file", "hub", "", tunnel.Bulk},
		{"an object", "s3", "10", tunnel.Bulk},
		{"just below a megabyte", "http", "1048575", tunnel.Interactive},
		{"a megabyte", "http", "1048576", tunnel.Bulk},
		{"a length that is none", "http", "1e9", tunnel.Interactive},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			head := &l7.RequestHead{Method: "POST"}
			if tt.length != "" {
				head.Fields.Set("content-length", tt.length)
			}
			if got := classOf(&policy.Service{Protocol: tt.protocol}, head); got != tt.want {
				t.Errorf("classOf(%s, %q bytes) = %s, want %s", tt.protocol, tt.length, got, tt.want)
			}
		})
	}
}

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
			if diff := cmp.Diff(tt.want, new(carriage).of(tt.info), protocmp.Transform()); diff != "" {
				t.Errorf("carriage of %+v (-want +got):\n%s", tt.info, diff)
			}
		})
	}
}
