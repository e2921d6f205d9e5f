package listener

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime/debug"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.uber.org/zap"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// conn is one connection of a workload, whatever it speaks.
type conn struct {
	l      *Listener
	raw    net.Conn // the socket
	nc     net.Conn // what is spoken on: TLS over raw, or raw itself
	secure bool
	port   *port // that it came to, or where it was to go; nil if neither
	addr   netip.AddrPort
	log    *zap.Logger

	captured *captured // nil if it was not

	// What goes on with the connection after serve, nil if serve closed it, and
	// what was read for it. serve sets both; mu guards detached against stop.
	detached Detached
	early    []byte

	writeBy time.Time // when writing in HTTP/1.1 fails; zero if never

	// From the handshake, or of a connection that was captured from its start; not
	// changed afterwards.
	tls  string
	id   spiffeid.ID // zero if no X509-SVID was shown
	svid string      // its fingerprint

	mu       sync.Mutex // guards what follows
	chain    []*x509.Certificate
	ages     time.Time // when the caller is to leave for its SVID's sake; zero if it showed none
	distrust error     // why the chain no longer verifies, nil while it does
	retired  bool      // the caller is to leave
	drained  bool      // no further exchange may begin
	stopped  bool      // what was begun must end
	idle     bool      // between two exchanges
	goaway   func()    // how HTTP/2 drains
}

// serve speaks with the workload until either closes, or the connection is
// detached.
func (c *conn) serve(ctx context.Context) {
	defer func() {
		if c.detached == nil {
			_ = c.nc.Close()
		}
	}()
	if c.captured != nil {
		c.serveCaptured(ctx)
		return
	}
	if !c.secure {
		c.serveCleartext(ctx)
		return
	}
	proto, err := c.handshake(ctx)
	if err != nil {
		c.refuseHandshake(err)
		return
	}
	if c.port != nil {
		c.servePort(ctx)
		return
	}
	if proto == "h2" {
		c.serveH2(ctx, c.nc)
		return
	}
	newH1(c).serve(ctx)
}

// handshake ends with the caller's identity, if it showed one.
func (c *conn) handshake(ctx context.Context) (proto string, err error) {
	config := c.l.tlsConfig
	if c.port != nil {
		config = c.l.portTLS
	}
	tc := tls.Server(c.raw, config)
	ctx, cancel := context.WithTimeout(ctx, c.l.cfg.HeadTimeout)
	defer cancel()
	if err := tc.HandshakeContext(ctx); err != nil {
		return "", err
	}
	state := tc.ConnectionState()
	c.nc, c.tls = tc, certs.DescribeTLS(state)
	if len(state.PeerCertificates) > 0 {
		id, err := certs.PeerID(state)
		if err != nil {
			return "", err
		}
		c.shown(id, state.PeerCertificates)
		c.verifyAgain() // bundles may have changed since, and nobody rechecked what was not here
	}
	return state.NegotiatedProtocol, nil
}

// shown takes the caller's X509-SVID, which was verified.
func (c *conn) shown(id spiffeid.ID, chain []*x509.Certificate) {
	c.id, c.svid = id, certs.Fingerprint(chain[0])
	c.mu.Lock()
	defer c.mu.Unlock()
	c.chain = chain
	c.ages = certs.RetireAt(chain[0].NotAfter, time.Now()) // once it has expired, whatever comes is refused
}

// refuseHandshake counts a failed handshake under what went wrong.
func (c *conn) refuseHandshake(err error) {
	err = certs.HandshakeError(err)
	reason := crossingv1.Reason_NO_IDENTITY
	var notTLS tls.RecordHeaderError
	switch {
	case errors.As(err, &notTLS):
		reason = crossingv1.Reason_MALFORMED
		if notTLS.Conn != nil && isHTTPMethod(notTLS.RecordHeader[:]) {
			_ = c.raw.SetWriteDeadline(time.Now().Add(c.l.cfg.HeadTimeout))
			_, _ = io.WriteString(c.raw, "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-type: text/plain\r\ncontent-length: 23\r\n\r\nThis port speaks TLS.\r\n")
		}
	case errors.Is(err, certs.ErrExpired):
		reason = crossingv1.Reason_EXPIRED_IDENTITY
	case errors.Is(err, errForeign):
		reason = crossingv1.Reason_FOREIGN_IDENTITY
	case errors.Is(err, certs.ErrUntrusted), errors.Is(err, certs.ErrNotSPIFFE), errors.Is(err, certs.ErrUnauthorized):
		reason = crossingv1.Reason_BAD_IDENTITY
	}
	c.l.cfg.Refuser.Refuse(reason, c.addr, Name, c.place()+fmt.Sprintf("TLS handshake: %v", err))
}

func isHTTPMethod(start []byte) bool {
	for _, m := range [...]string{"GET ", "HEAD", "POST", "PUT ", "OPTI", "DELE", "CONN", "PATC"} {
		if bytes.HasPrefix(start, []byte(m)) {
			return true
		}
	}
	return false
}

// caller is who the connection's X509-SVID says is calling, checked again:
// reason is set where it no longer holds. ok is false if none was shown. Of a
// connection that was captured it is who the kernel has said.
func (c *conn) caller(now time.Time) (caller Caller, reason crossingv1.Reason, ok bool) {
	switch {
	case c.id.IsZero():
		return Caller{}, 0, false
	case c.captured != nil:
		return c.captured.caller, 0, true
	}
	c.mu.Lock()
	leaf, distrust := c.chain[0], c.distrust
	c.mu.Unlock()
	caller = Caller{
		ID: c.id, Attach: crossingv1.Attach_MTLS,
		SVID: c.svid, TLS: c.tls, Address: c.addr, Credential: shownSVID{c},
	}
	switch {
	case now.After(leaf.NotAfter) || now.Before(leaf.NotBefore):
		reason = crossingv1.Reason_EXPIRED_IDENTITY
	case distrust != nil:
		reason = crossingv1.Reason_BAD_IDENTITY
	case c.id.TrustDomain() != c.l.cfg.Source.TrustDomain():
		reason = crossingv1.Reason_FOREIGN_IDENTITY
	}
	return caller, reason, true
}

// verifyAgain closes the connection if its SVID does not verify any more.
func (c *conn) verifyAgain() {
	if c.distrusted() {
		c.kill()
	}
}

// distrusted verifies the SVID again, and says whether it has just turned out not to
// be good any more.
func (c *conn) distrusted() bool {
	c.mu.Lock()
	chain, known := c.chain, c.distrust != nil
	c.mu.Unlock()
	if len(chain) == 0 || known {
		return false
	}
	_, err := c.l.cfg.Source.Verify(chain, certs.AuthorizeAny())
	if err == nil || errors.Is(err, certs.ErrClosed) {
		return false
	}
	c.mu.Lock()
	c.distrust = err
	c.mu.Unlock()
	c.l.cfg.Refuser.Refuse(reasonOf(err), c.addr, Name, fmt.Sprintf("live connection: %v", err))
	return true
}

// shownSVID is the connection's X509-SVID as a Credential.
type shownSVID struct{ *conn }

// Expires implements Credential.
func (s shownSVID) Expires() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.chain[0].NotAfter
}

// Check implements Credential.
func (s shownSVID) Check() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.distrust
}

// retire makes the caller leave, as its protocol has it: HTTP/2 by GOAWAY,
// HTTP/1.1 with the next answer.
func (c *conn) retire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.retired = true
	if c.goaway != nil {
		c.goaway()
	}
}

// drain lets no further exchange begin, and ends the connection if none is open.
func (c *conn) drain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.retired, c.drained = true, true
	if c.goaway != nil {
		c.goaway()
	} else if c.idle {
		c.kill()
	}
}

// setGoaway says how HTTP/2 drains, which it does at once if it is time to.
func (c *conn) setGoaway(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.goaway = f
	if f != nil && (c.retired || c.drained) {
		f()
	}
}

// setIdle says whether an exchange is open; it is false if none may begin.
func (c *conn) setIdle(idle bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.idle = idle
	return !c.drained
}

// kill breaks the socket: no close_notify, so that a TLS peer cannot take what
// it got for whole.
func (c *conn) kill() { _ = c.raw.Close() }

// reset is kill for a raw stream, whose end is otherwise no different from
// being cut off.
func (c *conn) reset() {
	if tcp, ok := c.raw.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	c.kill()
}

// stop ends what is done for the connection, and breaks it.
func (c *conn) stop() {
	c.mu.Lock()
	c.stopped = true
	d := c.detached
	c.mu.Unlock()
	if d != nil {
		d.Stop()
	}
	if c.port != nil {
		c.reset()
		return
	}
	c.kill()
}

// detach makes d go on with the connection.
func (c *conn) detach(d Detached) {
	c.mu.Lock()
	c.detached = d
	stopped := c.stopped
	c.mu.Unlock()
	if stopped {
		d.Stop()
	}
}

// goOn hands on a connection that was detached.
func (c *conn) goOn() {
	defer func() {
		if v := recover(); v != nil {
			c.log.Error("handler panicked", zap.Any("panic", v), zap.ByteString("stack", debug.Stack()))
			c.reset()
			c.over()
		}
	}()
	_ = c.nc.SetDeadline(time.Time{}) // those were of requests
	early := c.early
	c.early = nil
	c.detached.Serve(c.nc.(*net.TCPConn), early, c.over)
}

// over lets go of a connection, once.
func (c *conn) over() {
	_ = c.nc.Close()
	if c.l.remove(c) {
		c.l.serving.Done()
	}
}

// handle calls the Handler. A panic in it ends this exchange, not the gateway, and
// then it says false: what the Handler has begun may still go on.
func (c *conn) handle(ctx context.Context, req *Request, resp Response) (returned bool) {
	defer func() {
		if v := recover(); v != nil {
			c.log.Error("handler panicked", zap.Any("panic", v), zap.ByteString("stack", debug.Stack()))
			resp.Abort()
		}
	}()
	c.l.cfg.Handler.ServeExchange(ctx, req, resp)
	return true
}

// refuse tells the Refuser of a request that never came to the Handler, and
// gives the id of its crossing, if it has a record of its own, and its owner.
func (c *conn) refuse(head *l7.RequestHead, reason crossingv1.Reason, detail string) (crossing, owner string) {
	if caller, bad, ok := c.caller(time.Now()); ok && bad == 0 {
		return c.l.cfg.Refuser.RefuseKnown(caller, head, reason, detail)
	}
	c.l.cfg.Refuser.Refuse(reason, c.addr, Name, detail)
	return "", ""
}
