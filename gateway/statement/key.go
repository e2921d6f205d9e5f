package statement

import (
	"crypto"
	"crypto/ed25519"
	"crypto/x509"
	"time"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// Signer signs statements with a key that is made at each start of a gateway and
// never leaves its memory. It may be used concurrently.
type Signer struct {
	private ed25519.PrivateKey
	id      Hash
}

// NewSigner makes a key.
func NewSigner() *Signer { panic("to come") }

// Announce says that it is the key of that gateway's run, under the SVID of that
// chain, leaf first in DER, whose key svid is. It is renewed with the SVID.
func (s *Signer) Announce(gateway, run string, chain [][]byte, svid crypto.Signer, at time.Time) (*crossingv1.Announcement, error) {
	panic("to come")
}

// Heartbeat signs a heartbeat.
func (s *Signer) Heartbeat(h *crossingv1.Heartbeat) *crossingv1.SignedHeartbeat { panic("to come") }

// Key is a gateway's statement key that was announced under its SVID.
type Key struct {
	// Gateway is the SPIFFE ID of the gateway, and Run the run that has the key. It may
	// sign for any run of the gateway.
	Gateway, Run string
	// ID is the SHA-256 of the public key.
	ID     Hash
	public ed25519.PublicKey
}

// Trust says whether a chain of certificates, leaf first, was an SVID of its trust
// domain at that time.
type Trust func(chain []*x509.Certificate, at time.Time) error

// VerifyAnnouncement gives the key that is announced. It refuses what is too
// large, is not of that gateway, was not signed by its SVID, or is not trusted.
// Who verifies many keeps what HashAnnouncement gives: it takes a millisecond.
func VerifyAnnouncement(a *crossingv1.Announcement, gateway string, trust Trust) (*Key, error) {
	panic("to come")
}

// HashAnnouncement is by what a verified announcement can be known again.
func HashAnnouncement(a *crossingv1.Announcement) Hash { panic("to come") }

// VerifyHeartbeat gives a heartbeat that the key's gateway signed.
func VerifyHeartbeat(h *crossingv1.SignedHeartbeat, k *Key) (*crossingv1.Heartbeat, error) {
	panic("to come")
}
