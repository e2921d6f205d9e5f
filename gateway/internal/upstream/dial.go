package upstream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"maps"
	"net"
	"slices"

	"github.com/sallyport-mesh/sallyport/certs"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// dial connects to an endpoint and does what else a connection needs before it
// can be sent a byte: over TLS the handshake is complete, so that a workload
// that is not who it should be never gets one. The connection is over the
// socket, or the socket itself.
func (u *Upstream) dial(ctx context.Context, addr string, key transportKey, alpn string) (net.Conn, *socket, error) {
	nc, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, nil, err
	}
	s, err := newSocket(nc.(*net.TCPConn))
	if err != nil || key.plaintext {
		return s, s, err
	}
	before := u.updates.Load()
	secure := tls.Client(s, certs.ClientTLS(u.source, certs.AuthorizeID(key.id), alpn))
	if err := secure.HandshakeContext(ctx); err != nil {
		s.cut()
		return nil, nil, err
	}
	s.trust(u, key.id, secure.ConnectionState().PeerCertificates)
	if u.updates.Load() != before { // and nobody verified again what was not there
		u.verify(s)
	}
	return secure, s, nil
}

// peerOf describes who is at the other end.
func peerOf(nc net.Conn, addr string) *crossingv1.Peer {
	p := &crossingv1.Peer{Attach: crossingv1.Attach_PLAINTEXT, Address: addr}
	if secure, ok := nc.(*tls.Conn); ok {
		describe(p, secure.ConnectionState())
	}
	return p
}

func describe(p *crossingv1.Peer, state tls.ConnectionState) {
	p.Attach = crossingv1.Attach_MTLS
	p.Svid = certs.Fingerprint(state.PeerCertificates[0])
	p.Tls = certs.DescribeTLS(state)
}

// Run verifies the workloads at the other end of live connections again whenever
// bundles change: a handshake from before proves nothing then. Where the
// gateway's own SVID changes, no connection is used again that was made with the
// one before. It returns when the context ends.
func (u *Upstream) Run(ctx context.Context) {
	updated, stop := u.source.Subscribe()
	defer stop()
	for shown := u.shown; ; {
		u.updates.Add(1)
		if now := u.leaf(); !now.Equal(shown) {
			shown = now
			u.closeIdle(true)
		}
		u.verifyAll()
		select {
		case <-ctx.Done():
			return
		case <-updated:
		}
	}
}

// leaf is the gateway's own certificate; an empty one if it has none that is
// valid.
func (u *Upstream) leaf() *x509.Certificate {
	svid, err := u.source.GetX509SVID()
	if err != nil {
		return &x509.Certificate{}
	}
	return svid.Certificates[0]
}

// trusted is the sockets of now whose peers were verified.
func (u *Upstream) trusted() []*socket {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Collect(maps.Keys(u.sockets))
}

// verifyAll breaks the connections whose workloads' SVIDs do not verify any more,
// after it has told of them.
func (u *Upstream) verifyAll() {
	var bad []*socket
	for _, s := range u.trusted() {
		if u.distrusts(s) {
			bad = append(bad, s)
		}
	}
	if len(bad) > 0 && u.distrusted != nil {
		u.distrusted()
	}
	for _, s := range bad {
		s.cut()
	}
}

// verify breaks a connection whose workload's SVID does not verify any more.
func (u *Upstream) verify(s *socket) {
	if u.distrusts(s) {
		s.cut()
	}
}

func (u *Upstream) distrusts(s *socket) bool {
	_, err := u.source.Verify(s.chain, certs.AuthorizeID(s.id))
	if err == nil || errors.Is(err, certs.ErrClosed) {
		return false
	}
	s.fault.Store(&distrust{err})
	return true
}
