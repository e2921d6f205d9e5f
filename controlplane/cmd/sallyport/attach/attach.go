// Package attach stands beside a program that knows nothing of SPIFFE: it takes
// the program's plain HTTP on this host, and carries it to the environment's
// gateway by mTLS with the workload's SVID. It decides nothing and changes nothing
// that is said: the gateway sees what the program sent, and beside it, if asked for, a
// proof of the workload's own.
//
// Two invariants: whoever connects is a user who may be this workload, by the
// kernel's word, and a request is sent in a connection of the current SVID, so that
// the program outlives every one of them.
package attach

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/sallyport-mesh/sallyport/certs"
)

const (
	// headTimeout bounds the time for a request's head, and for connecting to the
	// gateway.
	headTimeout = 10 * time.Second
	// idleTimeout is shorter than a gateway's, so that it is this side that ends an
	// idle connection.
	idleTimeout = 45 * time.Second
	// drainTimeout bounds the wait for requests under way at the end.
	drainTimeout = 10 * time.Second
	// gatewayPath begins the path of every gateway's SPIFFE ID.
	gatewayPath = "/sallyport/gateway/"
)

// Config is what an Attach is made of.
type Config struct {
	// Source is the workload's identity.
	Source *certs.Source
	// Gateway is the HOST:PORT of the gateway's attach address.
	Gateway string
	// GatewayID is who it must be; any gateway of Source's trust domain if zero.
	GatewayID spiffeid.ID
	// Listen is where the program connects: a loopback HOST:PORT, whose port may be
	// 0, or "unix:" and a path.
	Listen string
	// UIDs are the users who may be the workload beside the one that this process
	// runs under.
	UIDs []uint32
	// Prove adds to each request, and to each CONNECT, a proof that the workload itself
	// calls, for destinations of which the policy requires one.
	Prove bool
	// Log may be nil.
	Log *zap.Logger
}

// Attach is a helper whose address is bound.
type Attach struct {
	cfg      Config
	listener net.Listener
	server   *http.Server
	gateway  *tls.Config // for byte streams, in HTTP/1.1
	requests *transports
	proofs   *proofs // nil if it adds none
}

// New binds the helper's address.
func New(cfg Config) (*Attach, error) {
	if cfg.Log == nil {
		cfg.Log = zap.NewNop()
	}
	cfg.UIDs = append(slices.Clone(cfg.UIDs), uint32(os.Getuid()))
	if _, _, err := net.SplitHostPort(cfg.Gateway); err != nil {
		return nil, fmt.Errorf("gateway's address %q is no HOST:PORT: %w", cfg.Gateway, err)
	}
	l, err := bind(cfg.Listen)
	if err != nil {
		return nil, err
	}
	a := &Attach{cfg: cfg, listener: &doorkeeper{l, cfg.UIDs, cfg.Log}}
	a.gateway = certs.ClientTLS(cfg.Source, a.authorize(), "http/1.1")
	a.requests = newTransports(cfg.Source, certs.ClientTLS(cfg.Source, a.authorize(), "h2", "http/1.1"))
	if cfg.Prove {
		a.proofs = &proofs{source: cfg.Source}
	}
	a.server = &http.Server{
		Handler: a.handler(), ReadHeaderTimeout: headTimeout,
		Protocols: new(http.Protocols), ErrorLog: zap.NewStdLog(cfg.Log),
	}
	a.server.Protocols.SetHTTP1(true)
	a.server.Protocols.SetUnencryptedHTTP2(true)
	return a, nil
}

// authorize says who the gateway may be.
func (a *Attach) authorize() certs.Authorizer {
	if !a.cfg.GatewayID.IsZero() {
		return certs.AuthorizeID(a.cfg.GatewayID)
	}
	return func(id spiffeid.ID, _ []*x509.Certificate) error {
		if id.TrustDomain() != a.cfg.Source.TrustDomain() || !strings.HasPrefix(id.Path(), gatewayPath) {
			return fmt.Errorf("%s is no gateway of trust domain %s", id, a.cfg.Source.TrustDomain().Name())
		}
		return nil
	}
}

// bind listens on loopback or a Unix socket: what comes is trusted by its user, and
// users of other hosts are nobody's to tell.
func bind(address string) (net.Listener, error) {
	if path, is := strings.CutPrefix(address, "unix:"); is {
		return bindUnix(path)
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("address to listen at %q is neither HOST:PORT nor unix:PATH: %w", address, err)
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return nil, fmt.Errorf("address to listen at %q is not loopback: give 127.0.0.1:PORT or [::1]:PORT", address)
	}
	return net.Listen("tcp", address)
}

func bindUnix(path string) (net.Listener, error) {
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	// Who may connect is for the doorkeeper to say: other users may be named.
	if err := os.Chmod(path, 0o666); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// Addr is where the program connects.
func (a *Attach) Addr() net.Addr { return a.listener.Addr() }

// Run serves until ctx ends, then lets requests under way finish for ten seconds.
func (a *Attach) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { a.requests.follow(ctx); return nil })
	group.Go(func() error {
		if err := a.server.Serve(a.listener); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	group.Go(func() error {
		<-ctx.Done()
		drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
		defer cancel()
		if a.server.Shutdown(drain) != nil {
			_ = a.server.Close() // what goes on is cut
		}
		return nil
	})
	return group.Wait()
}

func (a *Attach) handler() http.Handler {
	proxy := &httputil.ReverseProxy{
		Rewrite:        a.rewrite,
		Transport:      a.requests,
		FlushInterval:  -1, // each event as it comes
		ModifyResponse: keepTrailersOnly,
		ErrorHandler:   a.failed,
		ErrorLog:       zap.NewStdLog(a.cfg.Log),
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.prove(r)
		if r.Method == http.MethodConnect {
			a.connect(w, r)
			return
		}
		proxy.ServeHTTP(w, r)
	})
}

// rewrite sends the request to the gateway under the name that the program gave.
func (a *Attach) rewrite(r *httputil.ProxyRequest) {
	r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = "https", a.cfg.Gateway, r.In.Host
	if strings.Contains(strings.ToLower(r.In.Header.Get("Te")), "trailers") {
		r.Out.Header.Set("Te", "trailers") // gRPC asks for it of every hop
	}
	if _, named := r.Out.Header["User-Agent"]; !named {
		r.Out.Header["User-Agent"] = nil // not the library's own
	}
}

// keepTrailersOnly has an answer of gRPC that is nothing but trailers end as one:
// its head would be sent first, and then an end without a status.
func keepTrailersOnly(r *http.Response) error {
	if r.Header.Get("Grpc-Status") == "" {
		return nil
	}
	if r.Trailer == nil {
		r.Trailer = http.Header{}
	}
	for name, values := range r.Header {
		if strings.HasPrefix(name, "Grpc-") {
			r.Trailer[name] = values
			delete(r.Header, name)
		}
	}
	return nil
}
