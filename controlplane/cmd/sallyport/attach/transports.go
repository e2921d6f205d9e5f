package attach

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"sync"

	"github.com/sallyport-mesh/sallyport/certs"
)

// transports is a RoundTripper whose connections all show the current SVID: with
// each new one it starts over, and what is under way ends in the connections that
// it began in.
type transports struct {
	source *certs.Source
	config *tls.Config

	mu      sync.Mutex // guards what follows
	shown   *x509.Certificate
	current *http.Transport
}

func newTransports(s *certs.Source, c *tls.Config) *transports {
	t := &transports{source: s, config: c}
	t.current = t.fresh()
	return t
}

func (t *transports) fresh() *http.Transport {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	return &http.Transport{
		TLSClientConfig: t.config, TLSHandshakeTimeout: headTimeout, Protocols: protocols,
		IdleConnTimeout: idleTimeout, MaxIdleConnsPerHost: 256, DisableCompression: true,
	}
}

// RoundTrip implements http.RoundTripper.
func (t *transports) RoundTrip(r *http.Request) (*http.Response, error) {
	return t.now().RoundTrip(r)
}

// now is the transport for a request that comes now.
func (t *transports) now() *http.Transport {
	svid, err := t.source.GetX509SVID()
	t.mu.Lock()
	defer t.mu.Unlock()
	if err != nil || svid.Certificates[0] == t.shown { // without one, a handshake says so
		return t.current
	}
	if t.shown != nil {
		go t.current.CloseIdleConnections()
		t.current = t.fresh()
	}
	t.shown = svid.Certificates[0]
	return t.current
}

// follow starts over as soon as there is another SVID, so that connections without
// a request do not wait for the gateway to end them.
func (t *transports) follow(ctx context.Context) {
	updated, stop := t.source.Subscribe()
	defer stop()
	defer func() { t.now().CloseIdleConnections() }()
	for {
		t.now()
		select {
		case <-ctx.Done():
			return
		case <-updated:
		}
	}
}
