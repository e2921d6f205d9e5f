package federation

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/federation"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.uber.org/zap"

	"github.com/sallyport-mesh/sallyport/certs"
)

// What an endpoint lets strangers use of it: anybody may ask.
const (
	endpointConns   = 256
	endpointTimeout = 10 * time.Second // for all of a connection
	endpointHeader  = 8 << 10          // bytes
)

// EndpointConfig is what a bundle endpoint is made of.
type EndpointConfig struct {
	// Listen is the host:port; all that comes there is HTTPS.
	Listen string
	// Path of the bundle; "/" if empty. Everything else is not found.
	Path string
	// TrustDomain whose bundle it serves.
	TrustDomain spiffeid.TrustDomain
	// Bundle is the bundle of now.
	Bundle func() *spiffebundle.Bundle
	// Certificate is what it shows: Publisher.Certificate for https_spiffe,
	// WebCertificate for https_web.
	Certificate func() (*tls.Certificate, error)
	// Log may be nil.
	Log *zap.Logger
}

// EndpointServer serves a trust domain's bundle by one profile (SPIFFE
// Federation, section 5).
type EndpointServer struct {
	listener net.Listener
	server   *http.Server
}

// NewEndpointServer binds the listener.
func NewEndpointServer(cfg EndpointConfig) (*EndpointServer, error) {
	l, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("serve bundle: %w", err)
	}
	e, err := serveOn(l, cfg)
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return e, nil
}

func serveOn(l net.Listener, cfg EndpointConfig) (*EndpointServer, error) {
	if cfg.Log == nil {
		cfg.Log = zap.NewNop()
	}
	if cfg.Path == "" {
		cfg.Path = "/"
	}
	bundle, err := federation.NewHandler(cfg.TrustDomain, publishedBundle(cfg.Bundle))
	if err != nil {
		return nil, fmt.Errorf("serve bundle: %w", err)
	}
	e := &EndpointServer{listener: &bounded{Listener: l, free: make(chan struct{}, endpointConns)}}
	e.server = &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != cfg.Path {
				http.NotFound(w, r)
				return
			}
			bundle.ServeHTTP(w, r)
		}),
		TLSConfig:         certs.PublicServerTLS(cfg.Certificate, "http/1.1"),
		ReadHeaderTimeout: endpointTimeout, ReadTimeout: endpointTimeout, WriteTimeout: endpointTimeout,
		MaxHeaderBytes: endpointHeader,
		ErrorLog:       zap.NewStdLog(cfg.Log.Named("endpoint").WithOptions(zap.IncreaseLevel(zap.WarnLevel))),
	}
	e.server.SetKeepAlivesEnabled(false)
	return e, nil
}

// Addr is where it listens.
func (e *EndpointServer) Addr() net.Addr { return e.listener.Addr() }

// Run serves until ctx ends.
func (e *EndpointServer) Run(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() {
		_ = e.server.Close() // Serve returns the reason
	})()
	if err := e.server.ServeTLS(e.listener, "", ""); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve bundle: %w", err)
	}
	return nil
}

// Close closes the listener of a server that is not run.
func (e *EndpointServer) Close() error { return e.listener.Close() }

// publishedBundle is a function as go-spiffe's handler asks for it.
type publishedBundle func() *spiffebundle.Bundle

// GetBundleForTrustDomain implements spiffebundle.Source.
func (p publishedBundle) GetBundleForTrustDomain(td spiffeid.TrustDomain) (*spiffebundle.Bundle, error) {
	return p().GetBundleForTrustDomain(td)
}

// bounded is a listener with so many connections at a time.
type bounded struct {
	net.Listener

	free chan struct{} // one in it for each connection
}

// Accept waits until there is room.
func (b *bounded) Accept() (net.Conn, error) {
	b.free <- struct{}{}
	c, err := b.Listener.Accept()
	if err != nil {
		<-b.free
		return nil, err
	}
	return &boundedConn{Conn: c, done: sync.OnceFunc(func() { <-b.free })}, nil
}

type boundedConn struct {
	net.Conn

	done func()
}

// Close makes room.
func (c *boundedConn) Close() error {
	defer c.done()
	return c.Conn.Close()
}

// reloadEvery is how often the files of a certificate are looked at.
const reloadEvery = time.Second

// WebCertificate reads a certificate and its key from files, in PEM, and again
// when they change. While they are not good, the last good one is shown.
func WebCertificate(certFile, keyFile string, log *zap.Logger) (func() (*tls.Certificate, error), error) {
	w := &webCertificate{cert: certFile, key: keyFile, log: log}
	if w.log == nil {
		w.log = zap.NewNop()
	}
	if err := w.read(time.Now()); err != nil {
		return nil, fmt.Errorf("certificate of the bundle endpoint: %w", err)
	}
	return w.get, nil
}

type webCertificate struct {
	cert, key string
	log       *zap.Logger

	mu     sync.Mutex // guards what follows
	shown  *tls.Certificate
	looked time.Time
	stamp  [2]time.Time // modification times of what was read last
}

func (w *webCertificate) get() (*tls.Certificate, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if now := time.Now(); now.Sub(w.looked) >= reloadEvery {
		if err := w.read(now); err != nil {
			w.log.Error("certificate of the bundle endpoint is not good", zap.Error(err))
		}
	}
	return w.shown, nil
}

// read reads the files if they have changed. The caller holds mu, or is alone.
func (w *webCertificate) read(now time.Time) error {
	w.looked = now
	var stamp [2]time.Time
	for i, path := range []string{w.cert, w.key} {
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		stamp[i] = info.ModTime()
	}
	if w.shown != nil && stamp == w.stamp {
		return nil
	}
	c, err := tls.LoadX509KeyPair(w.cert, w.key)
	if err != nil {
		return err
	}
	w.shown, w.stamp = &c, stamp
	return nil
}
