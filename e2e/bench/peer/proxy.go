package main

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"time"
)

// proxyIdle is how many connections to the backend are kept: as many as any
// benchmark has clients.
const proxyIdle = 256

// proxy is one end of a pair of httputil.ReverseProxy: plain HTTP at both ends,
// HTTP/2 over mutual TLS between them, and nothing held back.
func (o options) proxy(config *tls.Config, failed chan<- error) error {
	l, err := net.Listen("tcp", o.listen)
	if err != nil {
		return err
	}
	own := config.Clone()
	own.NextProtos = nil // the library's to set
	protocols := new(http.Protocols)
	srv := &http.Server{Protocols: protocols, ReadHeaderTimeout: 10 * time.Second, TLSConfig: own, HTTP2: h2Config()}
	if o.end == "near" {
		protocols.SetHTTP1(true)
		protocols.SetUnencryptedHTTP2(true)
		srv.Handler = reverse("https", o.target, &http.Transport{
			TLSClientConfig: own, ForceAttemptHTTP2: true, DisableCompression: true, HTTP2: h2Config(),
		})
		go func() { failed <- srv.Serve(l) }()
		return nil
	}
	protocols.SetHTTP2(true)
	srv.Handler = reverse("http", o.target, &http.Transport{MaxIdleConnsPerHost: proxyIdle, DisableCompression: true})
	go func() { failed <- srv.ServeTLS(l, "", "") }()
	return nil
}

func reverse(scheme, target string, transport http.RoundTripper) http.Handler {
	to := &url.URL{Scheme: scheme, Host: target}
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to)
			r.Out.Host = r.In.Host
		},
		Transport:     transport,
		FlushInterval: -1,
		BufferPool:    &pieces{sync.Pool{New: func() any { b := make([]byte, 32<<10); return &b }}},
	}
}

// pieces lets proxies copy bodies without a new buffer for each.
type pieces struct{ pool sync.Pool }

func (p *pieces) Get() []byte { return *p.pool.Get().(*[]byte) }

func (p *pieces) Put(b []byte) { p.pool.Put(&b) }
