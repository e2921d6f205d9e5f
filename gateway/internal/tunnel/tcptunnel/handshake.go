package tcptunnel

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"time"

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
	want    spiffeid.ID // who must answer; zero for the acceptor
	refused error       // why the peer's SVID was refused
	shown   bool        // the peer showed a certificate
	foreign bool        // the peer asked for other protocols than this one
}

// run makes a tunnel of a TCP connection within the handshake's time. On
// failure it closes the connection and reports a peer that was refused.
func (h *handshake) run(ctx context.Context, raw net.Conn) (*conn, error) {
	ctx, cancel := context.WithTimeout(ctx, h.cfg.Limits.HandshakeTimeout)
	defer cancel()
	c, err := h.tunnel(ctx, raw)
	if err != nil {
		raw.Close() // the handshake's error says more
		h.report(raw, err)
		return nil, err
	}
	return c, nil
}

func (h *handshake) tunnel(ctx context.Context, raw net.Conn) (*conn, error) {
	secure := h.secure(raw)
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("TLS handshake: %w", certs.HandshakeError(err))
	}
	state := secure.ConnectionState()
	if state.NegotiatedProtocol != mux.ALPN {
		return nil, fmt.Errorf("TLS handshake: %w", &mux.FaultError{Reason: mux.BadPreface, Detail: "ALPN is not " + mux.ALPN})
	}
	id, err := certs.PeerID(state)
	if err != nil {
		return nil, err
	}
	own := settings(h.cfg.Limits)
	own.Class, own.Generation = uint8(h.class), h.cfg.Generation
	settings, err := exchange(ctx, secure, h.role, own)
	if err != nil {
		return nil, fmt.Errorf("exchange prefaces with %s: %w", id, err)
	}
	guard, err := carrier.NewGuard(h.cfg, state.PeerCertificates, h.authorize)
	if err != nil {
		return nil, err
	}
	guard.Broke = func(fault error) {
		h.cfg.Refuse(crossingv1.Reason_MALFORMED, address(secure.NetConn()), id.String()+": "+fault.Error())
	}
	class := tunnel.Class(settings.Class)
	tune(raw, class)
	info := tunnel.Info{
		Peer: id, Class: class, Generation: settings.Generation,
		Certificate: state.PeerCertificates[0], TLS: certs.DescribeTLS(state),
	}
	return newConn(secure, h.role, settings, info, h.cfg.Limits, guard, h.cfg.Log), nil
}

// secure is the connection with TLS. What the verification said is kept,
// because the TLS library's own error does not tell whose SVID was at fault.
func (h *handshake) secure(raw net.Conn) *secureConn {
	var cfg *tls.Config
	if h.role == mux.Dialler {
		cfg = certs.ClientTLS(h.cfg.Source, h.authorize, mux.ALPN)
	} else {
		cfg = certs.ServerTLS(h.cfg.Source, h.authorize, mux.ALPN)
	}
	cfg.DynamicRecordSizingDisabled = true // batches are large, and flushed at once
	verify := cfg.VerifyConnection
	cfg.VerifyConnection = func(cs tls.ConnectionState) error {
		h.shown = true
		h.refused = verify(cs)
		return h.refused
	}
	if h.role == mux.Dialler {
		return newSecure(raw, tls.Client, cfg)
	}
	// The library refuses such a peer before it is asked for its certificate, and
	// in words only.
	cfg.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		h.foreign = len(hello.SupportedProtos) > 0 && !slices.Contains(hello.SupportedProtos, mux.ALPN)
		return nil, nil // the configuration stays
	}
	return newSecure(raw, tls.Server, cfg)
}

// authorize lets in gateways of the policy, and when dialling the one that was
// dialled.
func (h *handshake) authorize(id spiffeid.ID, _ []*x509.Certificate) error {
	if !h.want.IsZero() && id != h.want {
		return fmt.Errorf("peer is %s, want %s", id, h.want)
	}
	return h.cfg.Authorize(id)
}

// exchange sends this end's preface and reads the peer's. The dialler speaks
// first. In TLS 1.3 the client is done before the server has judged it: the
// acceptor's preface is what tells the dialler that it was let in.
func exchange(ctx context.Context, nc net.Conn, role mux.Role, own mux.Settings) (mux.Settings, error) {
	stop := context.AfterFunc(ctx, func() { nc.SetDeadline(time.Unix(1, 0)) }) //nolint:errcheck // reading says what is wrong
	peer, err := exchangePrefaces(nc, role, own)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	return peer, err
}

func exchangePrefaces(nc net.Conn, role mux.Role, own mux.Settings) (mux.Settings, error) {
	if role == mux.Dialler {
		if _, err := nc.Write(mux.AppendPreface(nil, own)); err != nil {
			return mux.Settings{}, err
		}
	}
	theirs := make([]byte, mux.PrefaceLen)
	if n, err := io.ReadFull(nc, theirs); n > 0 && errors.Is(err, io.ErrUnexpectedEOF) {
		return mux.Settings{}, &mux.FaultError{Reason: mux.BadPreface, Detail: fmt.Sprintf("cut off after %d bytes", n)}
	} else if err != nil {
		return mux.Settings{}, err
	}
	peer, err := mux.ParsePreface(theirs)
	if role == mux.Acceptor {
		own.Class = peer.Class
		// Sent even to a peer of another version: it tells which one is spoken here.
		if _, werr := nc.Write(mux.AppendPreface(nil, own)); err == nil {
			err = werr
		}
	} else if err == nil && peer.Class != own.Class {
		err = &mux.FaultError{Reason: mux.BadPreface, Detail: "the class is another one than was asked for"}
	}
	return peer, err
}

// report tells of a peer that was refused. That this gateway's own SVID is not
// good, or that it gave up, is not the peer's doing.
func (h *handshake) report(raw net.Conn, err error) {
	if reason := h.reason(err); reason != crossingv1.Reason_REASON_UNSPECIFIED {
		h.cfg.Refuse(reason, address(raw), err.Error())
	}
}

func (h *handshake) reason(err error) crossingv1.Reason {
	var record tls.RecordHeaderError
	var fault *mux.FaultError
	switch {
	case h.refused != nil:
		return carrier.IdentityReason(h.refused)
	case errors.Is(err, certs.ErrUntrusted), errors.Is(err, certs.ErrNotSPIFFE):
		return carrier.IdentityReason(err)
	case errors.As(err, &fault), errors.As(err, &record), h.foreign:
		return crossingv1.Reason_MALFORMED
	case h.shown || h.role == mux.Dialler || errors.Is(err, context.Canceled):
		return crossingv1.Reason_REASON_UNSPECIFIED
	}
	if _, own := h.cfg.Source.GetX509SVID(); own != nil {
		return crossingv1.Reason_REASON_UNSPECIFIED
	}
	return crossingv1.Reason_NO_IDENTITY
}

func address(nc net.Conn) netip.AddrPort {
	if a, ok := nc.RemoteAddr().(*net.TCPAddr); ok {
		ap := a.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	return netip.AddrPort{}
}
