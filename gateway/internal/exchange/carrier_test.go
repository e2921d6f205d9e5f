package exchange

import (
	"testing"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	"github.com/sallyport-mesh/sallyport/gateway/policy"
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
