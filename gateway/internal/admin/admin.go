// Package admin answers who runs a gateway: is it alive, is it ready, what has
// it done, where does its time go. It listens on loopback only, changes
// nothing, and shows no secret and nothing of a crossing but counts.
package admin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// headTimeout bounds the wait for a request's head.
const headTimeout = 5 * time.Second

// Server is the admin listener.
type Server struct {
	listener net.Listener
	http     *http.Server
}

// Name is the use of the address.
const Name = "admin"

// Listen binds HOST:PORT, which must be on loopback, by bind, or by net.Listen if
// that is nil. It answers from metrics and from state, which may be called
// concurrently.
func Listen(addr string, bind func(use, address string) (net.Listener, error), m *Metrics, state func() State) (*Server, error) {
	if bind == nil {
		bind = func(_, address string) (net.Listener, error) { return net.Listen("tcp", address) }
	}
	l, err := bind(Name, addr)
	if err != nil {
		return nil, fmt.Errorf("listen for administration: %w", err)
	}
	if a, ok := l.Addr().(*net.TCPAddr); !ok || !a.IP.IsLoopback() {
		l.Close() // nobody has connected
		return nil, fmt.Errorf("listen for administration at %s: it is not loopback", addr)
	}
	if err := m.registry.Register(gauges{state}); err != nil {
		l.Close() // nobody has connected
		return nil, fmt.Errorf("register gauges: %w", err)
	}
	return &Server{listener: l, http: &http.Server{Handler: handler(m, state), ReadHeaderTimeout: headTimeout}}, nil
}

func handler(m *Metrics, state func() State) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "alive")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := state().NotReady; err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ready")
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	return mux
}

// Addr is where it listens.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Run answers until the context ends.
func (s *Server) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() {
		s.http.Close() //nolint:errcheck // whoever asks can ask again
	})
	defer stop()
	if err := s.http.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve administration: %w", err)
	}
	return nil
}

// Close lets go of the address, unless Run has.
func (s *Server) Close() error {
	if err := s.listener.Close(); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}
