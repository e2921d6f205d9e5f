package http2

import (
	"io"
	"net"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
)

var (
	grpcHead    = l7.Fields{{Name: "content-type", Value: "application/grpc"}}
	grpcServing = []byte{0, 0, 0, 0, 2, 0x08, 0x01} // HealthCheckResponse{SERVING}
)

// gRPC's client takes whole answers, and failures in one frame, each time.
func TestGRPCClient(t *testing.T) {
	var fail atomic.Bool
	addr := serveTCP(t, false, Config{}, func(s *Stream) {
		if fail.Load() {
			_ = s.WriteHead(&l7.ResponseHead{Status: 200, Fields: append(l7.Fields{{Name: "grpc-status", Value: "7"}}, grpcHead...)}, true)
			return
		}
		_, _ = io.Copy(io.Discard, s)
		_ = s.WriteHead(&l7.ResponseHead{Status: 200, Fields: grpcHead}, false)
		_, _ = s.Hold(grpcServing)
		_ = s.End(l7.Fields{{Name: "grpc-status", Value: "0"}})
	})
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	check := func() (*healthpb.HealthCheckResponse, error) {
		return healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{})
	}
	for range 50 {
		if r, err := check(); err != nil || r.GetStatus() != healthpb.HealthCheckResponse_SERVING {
			t.Fatalf("Check = %v, %v", r, err)
		}
	}
	fail.Store(true)
	for range 100 {
		if _, err := check(); status.Code(err) != codes.PermissionDenied {
			t.Fatalf("Check = %v, want PermissionDenied", err)
		}
	}
}

// gRPC's server answers a client of ours; a failure ends with its head.
func TestGRPCServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gs := grpc.NewServer()
	healthpb.RegisterHealthServer(gs, health.NewServer())
	go gs.Serve(l)
	defer gs.Stop()
	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c := Client(nc, Config{})
	ended := make(chan error, 1)
	go func() { ended <- c.Run() }()
	for method, want := range map[string]string{"Check": "0", "None": "12"} {
		head := &l7.RequestHead{Method: "POST", Authority: "h", Path: "/grpc.health.v1.Health/" + method, Fields: append(l7.Fields{{Name: "te", Value: "trailers"}}, grpcHead...)}
		for range 20 {
			s, err := c.Open(head, false)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = s.Hold([]byte{0, 0, 0, 0, 0})
			_ = s.End(nil)
			h, trailersOnly, err := s.Response()
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, s)
			got := s.Trailers().Get("grpc-status")
			if trailersOnly {
				got = h.Fields.Get("grpc-status")
			}
			if got != want || trailersOnly != (method == "None") {
				t.Errorf("%s: grpc-status %q, want %q; in its head: %v", method, got, want, trailersOnly)
			}
		}
	}
	c.Drain()
	<-ended
}
