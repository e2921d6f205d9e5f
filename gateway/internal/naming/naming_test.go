package naming

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

var (
	agent = spiffeid.RequireFromString("spiffe://near.test/agent")
	far   = spiffeid.RequireFromString("spiffe://far.test/sallyport/gateway/far-1")
)

func TestOperation(t *testing.T) {
	grpc := l7.Fields{{Name: "content-type", Value: "application/grpc"}}
	tests := []struct {
		name string
		head l7.RequestHead
		want string
	}{
		{"a call", l7.RequestHead{Method: "POST", Path: "/v1/chat?key=secret"}, "POST /v1/chat"},
		{"a byte stream", l7.RequestHead{Method: "CONNECT", Authority: "db.far.mesh:5432"}, "CONNECT"},
		{"of gRPC", l7.RequestHead{Method: "POST", Path: "/inference.v1.Llm/Generate", Fields: grpc}, "inference.v1.Llm/Generate"},
		{"a long one", l7.RequestHead{Method: "GET", Path: "/" + strings.Repeat("x", 2*usual)}, "GET /" + strings.Repeat("x", 2*usual)},
		{"without a path", l7.RequestHead{Method: "GET"}, "GET"},
		{"without a method", l7.RequestHead{Path: "/v1"}, "/v1"},
		{"nothing", l7.RequestHead{}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			trace, caller := l7.NewTraceparent(), netip.MustParseAddrPort("[2001:db8::1]:4711")
			n := New(time.Now(), trace, caller, &tt.head)
			if err := crossing.CheckID(n.ID); err != nil {
				t.Error(err)
			}
			if n.Traceparent != trace.String() || n.Address != caller.String() || n.Operation != tt.want {
				t.Errorf("names %+v", n)
			}
			h := &crossingv1.Header{Source: agent.String(), SourceSvid: "sha256:9d1c"}
			h.Traceparent = "01" + trace.String()[2:] + "-more"
			for _, in := range []In{{}, {all: tt.want}} {
				in.Make(far, h, trace, &tt.head)
				xfcc := "By=" + far.String() + ";Hash=9d1c;URI=" + agent.String()
				if in != (In{tt.want + xfcc, tt.want, xfcc, trace.String()}) {
					t.Errorf("names %+v", in)
				}
			}
		})
	}
}
