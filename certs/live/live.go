// Package live judges connections again for as long as they last: a handshake
// proves who the peer was then, and nothing in TLS or gRPC asks again. It is for
// gRPC, whose servers and clients keep a connection for days; it decides nothing
// about calls.
//
// One invariant: a connection made with Credentials is closed at once when its
// peer's SVID does not verify any more, or has expired.
package live

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/credentials"

	"github.com/sallyport-mesh/sallyport/certs"
)

// Config says how peers are judged.
type Config struct {
	// Source is what peers are verified with.
	Source *certs.Source
	// Authorize says who may be the peer, as in the handshake.
	Authorize certs.Authorizer
	// Refused is told of handshakes that fail. May be nil.
	Refused func(raw net.Conn, err error)
	// Ended is told of connections that are closed because the peer's SVID does not
	// verify any more; an SVID that expires ends them without a word. May be nil.
	Ended func(raw net.Conn, err error)
}

// Connections are live connections. All methods may be called concurrently.
type Connections struct {
	cfg     Config
	changes atomic.Uint64 // of bundles, as far as Run has begun to look at them

	mu  sync.Mutex // guards all
	all map[*conn]struct{}
}

// New makes a set with no connection. Run it, or bundles that change change nothing.
func New(cfg Config) *Connections {
	nothing := func(net.Conn, error) {}
	if cfg.Refused == nil {
		cfg.Refused = nothing
	}
	if cfg.Ended == nil {
		cfg.Ended = nothing
	}
	return &Connections{cfg: cfg, all: map[*conn]struct{}{}}
}

// Run verifies the peers of all connections whenever bundles change, until ctx ends.
func (c *Connections) Run(ctx context.Context) {
	updated, stop := c.cfg.Source.Subscribe()
	defer stop()
	for {
		c.changes.Add(1)
		for _, each := range c.snapshot() {
			c.judge(each)
		}
		select {
		case <-ctx.Done():
			return
		case <-updated:
		}
	}
}

func (c *Connections) snapshot() []*conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Collect(maps.Keys(c.all))
}

// judge cuts a connection whose peer does not verify.
func (c *Connections) judge(each *conn) {
	_, err := c.cfg.Source.Verify(each.chain, c.cfg.Authorize)
	if err == nil || errors.Is(err, certs.ErrClosed) {
		return
	}
	each.cut()
	c.cfg.Ended(each.raw, err)
}

// Credentials are TLS credentials of gRPC, for a server or a client, whose
// connections are in the set until they are closed. The configuration is one of
// package certs, with the same Source and Authorizer.
func (c *Connections) Credentials(config *tls.Config) credentials.TransportCredentials {
	return &watched{credentials.NewTLS(config), c}
}

type watched struct {
	credentials.TransportCredentials

	in *Connections
}

// ServerHandshake implements credentials.TransportCredentials.
func (w *watched) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	before := w.in.changes.Load()
	secure, info, err := w.TransportCredentials.ServerHandshake(raw)
	return w.made(raw, secure, info, before, err)
}

// ClientHandshake implements credentials.TransportCredentials.
func (w *watched) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	before := w.in.changes.Load()
	secure, info, err := w.TransportCredentials.ClientHandshake(ctx, authority, raw)
	return w.made(raw, secure, info, before, err)
}

func (w *watched) made(raw, secure net.Conn, info credentials.AuthInfo, before uint64, err error) (net.Conn, credentials.AuthInfo, error) {
	if err != nil {
		w.in.cfg.Refused(raw, err)
		return nil, nil, err
	}
	made := w.in.add(raw, secure, info.(credentials.TLSInfo).State.PeerCertificates)
	if w.in.changes.Load() != before { // and nobody has judged what was not there
		w.in.judge(made)
	}
	return made, info, nil
}

// Clone implements credentials.TransportCredentials.
func (w *watched) Clone() credentials.TransportCredentials {
	return &watched{w.TransportCredentials.Clone(), w.in}
}

// conn is a connection that knows who its peer is.
type conn struct {
	net.Conn // TLS over raw

	raw    net.Conn
	chain  []*x509.Certificate
	in     *Connections
	expiry *time.Timer
}

func (c *Connections) add(raw, secure net.Conn, chain []*x509.Certificate) *conn {
	made := &conn{Conn: secure, raw: raw, chain: chain, in: c}
	made.expiry = time.AfterFunc(time.Until(expiry(chain)), made.cut)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all[made] = struct{}{}
	return made
}

// expiry is when the first certificate of a chain expires.
func expiry(chain []*x509.Certificate) time.Time {
	var first time.Time
	for _, c := range chain {
		if first.IsZero() || c.NotAfter.Before(first) {
			first = c.NotAfter
		}
	}
	return first
}

// cut breaks the socket: to close TLS in order would wait for a peer that does not
// read. Who uses the connection sees it broken, and closes it.
func (c *conn) cut() { _ = c.raw.Close() }

// Close takes the connection out of the set and closes it.
func (c *conn) Close() error {
	c.expiry.Stop()
	c.in.mu.Lock()
	delete(c.in.all, c)
	c.in.mu.Unlock()
	return c.Conn.Close()
}
