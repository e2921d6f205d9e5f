package quictunnel

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel/carrier"
	"github.com/sallyport-mesh/sallyport/gateway/mux"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// handshake is one connection on its way to be a tunnel.
type handshake struct {
	cfg     *carrier.Config
	role    mux.Role
	class   tunnel.Class
	theirs  uint16      // the peer's generation
	want    spiffeid.ID // who must answer; zero for the acceptor
	addr    netip.AddrPort
	refused error // why the peer's SVID was refused
	shown   bool  // the peer showed a certificate
	over    atomic.Bool
}

// tls is the configuration of this one handshake. What the verification said is
// kept, because the library's own error does not tell whose SVID was at fault.
func (h *handshake) tls() *tls.Config {
	var cfg *tls.Config
	if h.role == mux.Dialler {
		cfg = certs.ClientTLS(h.cfg.Source, h.authorize, ALPN)
	} else {
		cfg = certs.ServerTLS(h.cfg.Source, h.authorize, ALPN)
	}
	verify := cfg.VerifyConnection
	cfg.VerifyConnection = func(cs tls.ConnectionState) error {
		h.shown = true
		h.refused = verify(cs)
		return h.refused
	}
	return cfg
}

// authorize lets in gateways of the policy, and when dialling the one that was
// dialled.
func (h *handshake) authorize(id spiffeid.ID, _ []*x509.Certificate) error {
	if !h.want.IsZero() && id != h.want {
		return fmt.Errorf("peer is %s, want %s", id, h.want)
	}
	return h.cfg.Authorize(id)
}

// tunnel makes a tunnel of a connection whose TLS handshake is done. It holds
// the endpoint from then on, and is not served yet.
func (h *handshake) tunnel(ctx context.Context, qc *quic.Conn, ep *endpoint) (*conn, error) {
	connection := qc.ConnectionState()
	state := connection.TLS
	id, err := certs.PeerID(state)
	if err != nil {
		return nil, err
	}
	control, err := h.exchange(ctx, qc)
	if err != nil {
		return nil, fmt.Errorf("exchange prefaces with %s: %w", id, err)
	}
	guard, err := carrier.NewGuard(h.cfg, state.PeerCertificates, h.authorize)
	if err != nil {
		return nil, err
	}
	guard.Broke = func(fault error) {
		h.cfg.Refuse(crossingv1.Reason_MALFORMED, h.addr, id.String()+": "+fault.Error())
	}
	if err := ep.hold(); err != nil {
		guard.Stop()
		return nil, err
	}
	c := &conn{qc: qc, control: control, ep: ep, limits: h.cfg.Limits, guard: guard, log: h.cfg.Log}
	c.partial = connection.SupportsStreamResetPartialDelivery.Remote
	c.info = tunnel.Info{
		Peer: id, Certificate: state.PeerCertificates[0], Carrier: "QUIC", Class: h.class, Generation: h.theirs,
		Dialed: h.role == mux.Dialler, TLS: certs.DescribeTLS(state), Since: time.Now(),
	}
	return c, nil
}

// exchange opens or takes the control stream and exchanges prefaces on it. The
// dialler speaks first. In TLS 1.3 the client is done before the server has
// judged it: the acceptor's preface is what tells the dialler that it was let in.
func (h *handshake) exchange(ctx context.Context, qc *quic.Conn) (*quic.Stream, error) {
	var control *quic.Stream
	var err error
	if h.role == mux.Dialler {
		control, err = qc.OpenStreamSync(ctx)
	} else {
		control, err = qc.AcceptStream(ctx)
	}
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { control.SetReadDeadline(time.Unix(1, 0)) }) //nolint:errcheck // reading says what is wrong
	err = h.prefaces(control)
	if !stop() {
		err = ctx.Err()
	}
	return control, err
}

// prefaces fit into one packet: writing them does not wait.
func (h *handshake) prefaces(control *quic.Stream) error {
	if h.role == mux.Dialler {
		if _, err := control.Write(appendPreface(nil, h.class, h.cfg.Generation)); err != nil {
			return err
		}
	}
	theirs := make([]byte, prefaceLen)
	if n, err := io.ReadFull(control, theirs); err != nil {
		return cutOff(err, n)
	}
	class, generation, err := parsePreface(theirs)
	h.theirs = generation
	switch {
	case h.role == mux.Dialler && err == nil && class != h.class:
		return &mux.FaultError{Reason: mux.BadPreface, Detail: "answer is for another class"}
	case h.role == mux.Dialler:
		return err
	}
	// Sent even to a peer of another version: it tells which one is spoken here.
	h.class = class
	if _, werr := control.Write(appendPreface(nil, class, h.cfg.Generation)); err == nil {
		err = werr
	}
	return err
}

// report tells of a peer that was refused. That this gateway's own SVID is not
// good, or that it gave up, is not the peer's doing.
func (h *handshake) report(err error) {
	err = certs.HandshakeError(err)
	if reason := h.reason(err); reason != crossingv1.Reason_REASON_UNSPECIFIED {
		h.cfg.Refuse(reason, h.addr, err.Error())
	}
}

func (h *handshake) reason(err error) crossingv1.Reason {
	var fault *mux.FaultError
	var local *quic.TransportError
	refusedHere := errors.As(err, &local) && !local.Remote && local.ErrorCode == quic.ConnectionRefused
	switch {
	case h.refused != nil:
		return carrier.IdentityReason(h.refused)
	case errors.Is(err, certs.ErrUntrusted), errors.Is(err, certs.ErrNotSPIFFE):
		return carrier.IdentityReason(err)
	case errors.As(err, &fault), brokeQUIC(err):
		return crossingv1.Reason_MALFORMED
	case h.shown || h.role == mux.Dialler || refusedHere || errors.Is(err, context.Canceled):
		return crossingv1.Reason_REASON_UNSPECIFIED
	}
	if _, own := h.cfg.Source.GetX509SVID(); own != nil {
		return crossingv1.Reason_REASON_UNSPECIFIED
	}
	return crossingv1.Reason_NO_IDENTITY
}

func address(a net.Addr) netip.AddrPort {
	if u, ok := a.(*net.UDPAddr); ok {
		ap := u.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	return netip.AddrPort{}
}
