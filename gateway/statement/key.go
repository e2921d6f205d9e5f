package statement

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// What is signed begins with what it is, so that no signature is good for anything
// else.
const (
	claimContext        = "sallyport.statement.v1 claim\x00"
	answerContext       = "sallyport.statement.v1 answer\x00"
	heartbeatContext    = "sallyport.statement.v1 heartbeat\x00"
	announcementContext = "sallyport.statement.v1 announcement\x00"
)

const (
	// maxCertificates and maxCertificate bound the chain of an announcement, the
	// latter in bytes.
	maxCertificates = 8
	maxCertificate  = 16 << 10
	// maxSVIDSignature is above that of any key that an SVID may have, in bytes.
	maxSVIDSignature = 1 << 10
)

// Signer signs statements with a key that is made at each start of a gateway and
// never leaves its memory. It may be used concurrently.
type Signer struct {
	private ed25519.PrivateKey
	id      Hash
}

// NewSigner makes a key.
func NewSigner() *Signer {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err) // the system's random numbers never fail (crypto/rand)
	}
	return &Signer{private: private, id: sha256.Sum256(public)}
}

// Announce says that it is the key of that gateway's run, under the SVID of that
// chain, leaf first in DER, whose key svid is. It is renewed with the SVID.
func (s *Signer) Announce(gateway, run string, chain [][]byte, svid crypto.Signer, at time.Time) (*crossingv1.Announcement, error) {
	a := &crossingv1.Announcement{
		Gateway: gateway, Run: run, Algorithm: crossingv1.Algorithm_ED25519,
		Key: s.private.Public().(ed25519.PublicKey), At: timestamppb.New(at), Chain: chain,
	}
	algorithm, hash, err := scheme(svid.Public())
	if err != nil {
		return nil, fmt.Errorf("announce statement key: %w", err)
	}
	message := announced(a)
	var opts crypto.SignerOpts = hash
	if hash != 0 {
		h := hash.New()
		h.Write(message)
		message = h.Sum(nil)
	}
	if algorithm == x509.SHA256WithRSAPSS {
		opts = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: hash}
	}
	if a.Signature, err = svid.Sign(rand.Reader, message, opts); err != nil {
		return nil, fmt.Errorf("announce statement key: %w", err)
	}
	return a, nil
}

// scheme is how a key of an SVID signs.
func scheme(public crypto.PublicKey) (x509.SignatureAlgorithm, crypto.Hash, error) {
	switch k := public.(type) {
	case *ecdsa.PublicKey:
		switch k.Curve.Params().BitSize {
		case 256:
			return x509.ECDSAWithSHA256, crypto.SHA256, nil
		case 384:
			return x509.ECDSAWithSHA384, crypto.SHA384, nil
		case 521:
			return x509.ECDSAWithSHA512, crypto.SHA512, nil
		}
	case *rsa.PublicKey:
		return x509.SHA256WithRSAPSS, crypto.SHA256, nil
	case ed25519.PublicKey:
		return x509.PureEd25519, 0, nil
	}
	return 0, 0, fmt.Errorf("no way to sign with a key of %T", public)
}

// announced is what the SVID's key signs.
func announced(a *crossingv1.Announcement) []byte {
	unsigned := proto.CloneOf(a)
	unsigned.Signature = nil
	sum := sha256.Sum256(encode(unsigned))
	return append([]byte(announcementContext), sum[:]...)
}

// sign signs digests of what the context says.
func (s *Signer) sign(context string, sums ...Hash) *crossingv1.Signature {
	return &crossingv1.Signature{
		Algorithm: crossingv1.Algorithm_ED25519, Key: bytes.Clone(s.id[:]), Value: ed25519.Sign(s.private, signed(context, sums)),
	}
}

func signed(context string, sums []Hash) []byte {
	message := make([]byte, 0, 3*sha256.Size+sha256.Size)
	message = append(message, context...)
	for _, sum := range sums {
		message = append(message, sum[:]...)
	}
	return message
}

// Heartbeat signs a heartbeat.
func (s *Signer) Heartbeat(h *crossingv1.Heartbeat) *crossingv1.SignedHeartbeat {
	data := encode(h)
	return &crossingv1.SignedHeartbeat{Heartbeat: data, Signature: s.sign(heartbeatContext, sha256.Sum256(data))}
}

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

// Key is the signer's own, as whoever verified its announcement has it.
func (s *Signer) Key(gateway, run string) *Key {
	return &Key{Gateway: gateway, Run: run, ID: s.id, public: s.private.Public().(ed25519.PublicKey)}
}

// VerifyAnnouncement gives the key that is announced. It refuses what is too
// large, is not of that gateway, was not signed by its SVID, or is not trusted.
// Who verifies many keeps what HashAnnouncement gives beside the key.
func VerifyAnnouncement(a *crossingv1.Announcement, gateway string, trust Trust) (*Key, error) {
	k, err := verifyAnnouncement(a, gateway, trust)
	if err != nil {
		return nil, fmt.Errorf("announcement of a statement key: %w", err)
	}
	return k, nil
}

func verifyAnnouncement(a *crossingv1.Announcement, gateway string, trust Trust) (*Key, error) {
	if err := checkAnnouncement(a, gateway); err != nil {
		return nil, err
	}
	chain := make([]*x509.Certificate, len(a.GetChain()))
	for at, der := range a.GetChain() {
		var err error
		if chain[at], err = x509.ParseCertificate(der); err != nil {
			return nil, fmt.Errorf("certificate %d: %w", at, err)
		}
	}
	leaf := chain[0]
	if len(leaf.URIs) != 1 {
		return nil, fmt.Errorf("the SVID has %d URIs", len(leaf.URIs))
	}
	if id, err := spiffeid.FromURI(leaf.URIs[0]); err != nil || id.String() != gateway {
		return nil, fmt.Errorf("the SVID is of %.256q", leaf.URIs[0])
	}
	algorithm, _, err := scheme(leaf.PublicKey)
	if err != nil {
		return nil, err
	}
	if err := leaf.CheckSignature(algorithm, announced(a), a.GetSignature()); err != nil {
		return nil, fmt.Errorf("signature: %w", err)
	}
	if err := trust(chain, a.GetAt().AsTime()); err != nil {
		return nil, err
	}
	return &Key{Gateway: gateway, Run: a.GetRun(), ID: sha256.Sum256(a.GetKey()), public: bytes.Clone(a.GetKey())}, nil
}

func checkAnnouncement(a *crossingv1.Announcement, gateway string) error {
	if err := crossing.CheckFields(a); err != nil {
		return err
	}
	switch {
	case gateway == "" || a.GetGateway() != gateway:
		return fmt.Errorf("it is of %.256q", a.GetGateway())
	case a.GetAlgorithm() != crossingv1.Algorithm_ED25519 || len(a.GetKey()) != ed25519.PublicKeySize:
		return errors.New("the key is not one of Ed25519")
	case !validTime(a.GetAt()):
		return errors.New("it has no valid time")
	case len(a.GetChain()) == 0 || len(a.GetChain()) > maxCertificates:
		return fmt.Errorf("%d certificates, want 1 to %d", len(a.GetChain()), maxCertificates)
	case len(a.GetSignature()) > maxSVIDSignature:
		return errors.New("the signature is too long")
	}
	for _, der := range a.GetChain() {
		if len(der) > maxCertificate {
			return errors.New("a certificate is too long")
		}
	}
	return crossing.CheckRun(a.GetRun())
}

// HashAnnouncement is by what a verified announcement can be known again.
func HashAnnouncement(a *crossingv1.Announcement) Hash { return sha256.Sum256(encode(a)) }

// verify holds that the key, which is that gateway's, signed digests of what the
// context says.
func (k *Key) verify(gateway string, s *crossingv1.Signature, context string, sums ...Hash) error {
	switch {
	case k == nil || k.Gateway != gateway:
		return fmt.Errorf("the key is not one of %s", gateway)
	case s.GetAlgorithm() != crossingv1.Algorithm_ED25519 || !bytes.Equal(s.GetKey(), k.ID[:]):
		return errors.New("the signature is not of that key")
	case !ed25519.Verify(k.public, signed(context, sums), s.GetValue()):
		return errors.New("the signature is not right")
	}
	return nil
}

// VerifyHeartbeat gives a heartbeat that the key's gateway signed.
func VerifyHeartbeat(h *crossingv1.SignedHeartbeat, k *Key) (*crossingv1.Heartbeat, error) {
	beat, err := ReadHeartbeat(h)
	if err == nil {
		err = k.verify(beat.GetGateway(), h.GetSignature(), heartbeatContext, sha256.Sum256(h.GetHeartbeat()))
	}
	if err != nil {
		return nil, fmt.Errorf("heartbeat: %w", err)
	}
	return beat, nil
}
