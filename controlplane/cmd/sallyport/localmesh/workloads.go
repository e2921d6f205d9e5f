package localmesh

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/sallyport-mesh/sallyport/certs"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
)

// startWorkloads starts all that is called: the llm, the retriever and the
// registry. Each takes nobody but its own gateway, and registers itself.
func (m *Mesh) startWorkloads(ctx context.Context) error {
	for _, w := range []struct {
		name, service string
		handler       http.Handler
	}{
		{"llm", "chat", scriptedLLM()},
		{"retriever", "mcp", scriptedRetriever()},
		{"registry", "models", scriptedRegistry()},
	} {
		source, err := m.Source(ctx, w.name)
		if err != nil {
			return err
		}
		fromGateway := certs.AuthorizeID(GatewayID(identities[w.name].environment))
		at, err := m.serveHTTP(w.name, certs.ServerTLS(source, fromGateway, "http/1.1"), w.handler)
		if err != nil {
			return err
		}
		endpoints := map[string]string{w.service: at}
		if w.name == "llm" {
			if endpoints["health"], err = m.serveHealth(certs.ServerTLS(source, fromGateway, "h2")); err != nil {
				return err
			}
		}
		if err := m.Register(ctx, w.name, endpoints); err != nil {
			return err
		}
	}
	return nil
}

// Register says, as the workload itself, where its services are.
func (m *Mesh) Register(ctx context.Context, workload string, endpoints map[string]string) error {
	source, err := m.Source(ctx, workload)
	if err != nil {
		return err
	}
	conn, err := m.dial(source)
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = controlv1.NewWorkloadServiceClient(conn).Register(ctx, &controlv1.RegisterRequest{
		Workload: workload, Endpoints: endpoints,
	})
	if err != nil {
		return fmt.Errorf("register %s: %w", workload, err)
	}
	return nil
}

func (m *Mesh) serveHTTP(name string, config *tls.Config, h http.Handler) (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("listen for the %s: %w", name, err)
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	m.carrying.run(m.fail, func(ctx context.Context) error {
		defer context.AfterFunc(ctx, func() {
			srv.Close() //nolint:errcheck // Serve returns the reason
		})()
		if err := srv.Serve(tls.NewListener(l, config)); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve the %s: %w", name, err)
		}
		return nil
	})
	return l.Addr().String(), nil
}

func (m *Mesh) serveHealth(config *tls.Config) (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("listen for the llm's health: %w", err)
	}
	srv := grpc.NewServer(grpc.Creds(credentials.NewTLS(config)))
	healthv1.RegisterHealthServer(srv, health.NewServer())
	m.carrying.run(m.fail, func(ctx context.Context) error {
		defer context.AfterFunc(ctx, srv.Stop)()
		if err := srv.Serve(l); err != nil {
			return fmt.Errorf("serve the llm's health: %w", err)
		}
		return nil
	})
	return l.Addr().String(), nil
}
