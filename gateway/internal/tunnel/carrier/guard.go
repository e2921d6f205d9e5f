package carrier

import (
	"crypto/x509"
	"errors"
	"time"

	"github.com/sallyport-mesh/sallyport/certs"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// Guard watches over the identities that a tunnel was made with: nothing in TLS
// does so once the handshake is over. The zero value watches nothing.
type Guard struct {
	Changed <-chan struct{}   // signals that SVID or bundles have changed
	Check   func() error      // judges the peer again
	Expires time.Time         // when the first of both SVIDs ends
	Stop    func()            // ends the watch; may be nil
	Broke   func(fault error) // is told if the peer breaks the protocol; may be nil
}

// NewGuard watches over this end's SVID and the peer's chain, which authorize
// has to let in whenever bundles change.
func NewGuard(cfg *Config, chain []*x509.Certificate, authorize certs.Authorizer) (Guard, error) {
	own, err := cfg.Source.GetX509SVID()
	if err != nil {
		return Guard{}, err
	}
	g := Guard{
		Expires: own.Certificates[0].NotAfter,
		Check: func() error {
			_, err := cfg.Source.Verify(chain, authorize)
			return err
		},
	}
	for _, c := range chain {
		if c.NotAfter.Before(g.Expires) {
			g.Expires = c.NotAfter
		}
	}
	g.Changed, g.Stop = cfg.Source.Subscribe()
	if err := g.Check(); err != nil { // bundles may have changed since the handshake
		g.Stop()
		return Guard{}, err
	}
	return g, nil
}

// Retires is when a tunnel takes no more streams, so that another one with the
// SVIDs of then is there before this one must end.
func (g *Guard) Retires(now time.Time) time.Duration {
	return certs.RetireAt(g.Expires, now).Sub(now)
}

// ErrNoPolicy is what Authorize says as long as there is no policy to judge by:
// it says nothing about the peer.
var ErrNoPolicy = errors.New("this gateway has no policy yet")

// ErrRevoked is what Authorize says where an operator has revoked one of the two
// gateways.
var ErrRevoked = errors.New("gateway is revoked")

// IdentityReason is the reason for which package certs refused an SVID.
func IdentityReason(err error) crossingv1.Reason {
	switch {
	case errors.Is(err, ErrNoPolicy):
		return crossingv1.Reason_NO_POLICY
	case errors.Is(err, ErrRevoked):
		return crossingv1.Reason_REVOKED_GATEWAY
	case errors.Is(err, certs.ErrExpired):
		return crossingv1.Reason_EXPIRED_IDENTITY
	case errors.Is(err, certs.ErrUnauthorized):
		return crossingv1.Reason_UNKNOWN_PEER
	}
	return crossingv1.Reason_BAD_IDENTITY
}
