package e2e

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffegrpc/grpccredentials"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/localmesh"
	"github.com/sallyport-mesh/sallyport/e2e/meshtest"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// ailing is a service whose calls fail: Check before it says anything, Watch after.
type ailing struct {
	healthv1.UnimplementedHealthServer
	err error
}

func (a ailing) Check(context.Context, *healthv1.HealthCheckRequest) (*healthv1.HealthCheckResponse, error) {
	return nil, a.err
}

func (a ailing) Watch(_ *healthv1.HealthCheckRequest, to grpc.ServerStreamingServer[healthv1.HealthCheckResponse]) error {
	if err := to.Send(&healthv1.HealthCheckResponse{}); err != nil {
		return err
	}
	return a.err
}

// TestGRPCMessage: what a server says of a failure is in the record of both
// gateways, and comes to the caller as it was said.
func TestGRPCMessage(t *testing.T) {
	t.Parallel()
	m := meshtest.Start(t, nil)
	const said, shown = "no such model: “héllo”\n100%", `no such model: “héllo”\n100%`
	serveAiling(t, m, status.Error(codes.NotFound, said))
	source, err := m.Source(m.Context, "orchestrator")
	if err != nil {
		t.Fatal(err)
	}
	creds := credentials.NewTLS(certs.ClientTLS(source, certs.AuthorizeID(localmesh.GatewayID("onprem")), "h2"))
	conn, err := grpc.NewClient("passthrough:///"+m.Gateways["onprem-1"].AttachAddr().String(),
		grpc.WithTransportCredentials(creds), grpc.WithAuthority("llm.azure.mesh:9000"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	llm := healthv1.NewHealthClient(conn)
	for name, call := range map[string]func() error{
		"in the only head": func() error {
			_, err := llm.Check(m.Context, &healthv1.HealthCheckRequest{})
			return err
		},
		"in trailers": func() error {
			watch, err := llm.Watch(m.Context, &healthv1.HealthCheckRequest{})
			for err == nil {
				_, err = watch.Recv()
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			since := time.Now()
			if err := call(); status.Code(err) != codes.NotFound || status.Convert(err).Message() != said {
				t.Errorf("the caller got %v", err)
			}
			r := after(t, m, since)
			e, i := r.GetEgress(), r.GetIngress()
			if !r.GetAgree() || e.GetMessage() != shown || i.GetMessage() != shown || e.GetStatus() != 5 || i.GetStatus() != 5 {
				t.Errorf("record: %v", r)
			}
		})
	}
}

// serveAiling serves the llm's health with calls that fail so.
func serveAiling(t *testing.T, m *meshtest.Mesh, err error) {
	t.Helper()
	source, failed := m.Source(m.Context, "llm")
	if failed != nil {
		t.Fatal(failed)
	}
	l, failed := net.Listen("tcp", "127.0.0.1:0")
	if failed != nil {
		t.Fatal(failed)
	}
	config := certs.ServerTLS(source, certs.AuthorizeID(localmesh.GatewayID("azure")), "h2")
	srv := grpc.NewServer(grpc.Creds(credentials.NewTLS(config)))
	healthv1.RegisterHealthServer(srv, ailing{err: err})
	go srv.Serve(l)
	t.Cleanup(srv.Stop)
	if err := m.Register(m.Context, "llm", map[string]string{"health": l.Addr().String()}); err != nil {
		t.Fatal(err)
	}
}

// TestGRPCWithSPIFFECredentials: a program that has go-spiffe's own credentials for
// gRPC needs nothing of ours, but the address of its gateway.
func TestGRPCWithSPIFFECredentials(t *testing.T) {
	t.Parallel()
	m := meshtest.Start(t, nil)
	source, err := workloadapi.NewX509Source(m.Context,
		workloadapi.WithClientOptions(workloadapi.WithAddr(m.WorkloadAPI("orchestrator"))))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { source.Close() })
	creds := grpccredentials.MTLSClientCredentials(source, source, tlsconfig.AuthorizeID(localmesh.GatewayID("onprem")))
	conn, err := grpc.NewClient("passthrough:///"+m.Gateways["onprem-1"].AttachAddr().String(),
		grpc.WithTransportCredentials(creds), grpc.WithAuthority("llm.azure.mesh:9000"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	since := time.Now()
	answer, err := healthv1.NewHealthClient(conn).Check(m.Context, &healthv1.HealthCheckRequest{})
	if err != nil || answer.GetStatus() != healthv1.HealthCheckResponse_SERVING {
		t.Fatalf("%v, %v", answer, err)
	}
	if r := after(t, m, since); !r.GetAgree() || r.GetSource() != localmesh.ID("orchestrator").String() || r.GetEgress().GetPeer().GetAttach() != crossingv1.Attach_MTLS {
		t.Errorf("record: %v", r)
	}
}
