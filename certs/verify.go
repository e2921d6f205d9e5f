package certs

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// Why an identity was refused. An error that this package makes of a peer is
// one of these by errors.Is.
var (
	// ErrExpired says that an SVID is outside of its dates: expired, or not yet
	// valid. The facts are in a *DatesError.
	ErrExpired = errors.New("SVID is expired or not yet valid")
	// ErrUntrusted says that an SVID did not verify: no bundle of its trust
	// domain, another root or key, a bad signature, another audience, a JWT-SVID
	// that lives too long, a key that is too weak, a chain of more than eight
	// certificates or 64 KiB.
	ErrUntrusted = errors.New("SVID is not trusted")
	// ErrNotSPIFFE says that what was shown is no SVID: none or more than one
	// SPIFFE ID, one without a path or of more than 2,048 bytes, a signing
	// certificate, one for other purposes than TLS.
	ErrNotSPIFFE = errors.New("not an SVID")
	// ErrUnauthorized says that the SVID is good and its holder is not the one
	// who may be here.
	ErrUnauthorized = errors.New("SPIFFE ID is not authorized")
)

// DatesError says that a certificate is used outside of its dates. It is
// ErrExpired.
type DatesError struct {
	NotBefore, NotAfter time.Time
	Now                 time.Time // by this machine's clock
}

// NotYet says that the dates are still to come, which nearly always means that
// two clocks differ.
func (e *DatesError) NotYet() bool { return e.Now.Before(e.NotBefore) }

// Error says by how much the dates are missed.
func (e *DatesError) Error() string {
	if e.NotYet() {
		return fmt.Sprintf("not yet valid: valid in %s, from %s: check the clocks",
			e.NotBefore.Sub(e.Now).Round(time.Second), e.NotBefore.UTC().Format(time.RFC3339))
	}
	return fmt.Sprintf("expired %s ago, at %s",
		e.Now.Sub(e.NotAfter).Round(time.Second), e.NotAfter.UTC().Format(time.RFC3339))
}

// Is makes errors.Is(err, ErrExpired) hold.
func (e *DatesError) Is(target error) bool { return target == ErrExpired }

func checkDates(c *x509.Certificate, now time.Time) error {
	if now.Before(c.NotBefore) || now.After(c.NotAfter) {
		return &DatesError{NotBefore: c.NotBefore, NotAfter: c.NotAfter, Now: now}
	}
	return nil
}

// Authorizer says whether the holder of a verified SVID may be the peer. The
// chain goes from the SVID to a root of its trust domain's bundle. It is called
// in each handshake; an error refuses the peer.
type Authorizer = func(id spiffeid.ID, chain []*x509.Certificate) error

// AuthorizeID lets one SPIFFE ID be the peer.
func AuthorizeID(want spiffeid.ID) Authorizer {
	return func(id spiffeid.ID, _ []*x509.Certificate) error {
		if id != want || want.IsZero() {
			return fmt.Errorf("peer is %s, want %s", id, want)
		}
		return nil
	}
}

// AuthorizeAny lets any verified SPIFFE ID of any known trust domain be the
// peer: for servers that decide on each request.
func AuthorizeAny() Authorizer {
	return func(spiffeid.ID, []*x509.Certificate) error { return nil }
}

// Verify checks a chain, leaf first, as a handshake does, against the bundles of
// now, and authorizes its ID. It is for those who hold a connection open and
// must judge it again. Errors are ErrExpired, ErrUntrusted, ErrNotSPIFFE or
// ErrUnauthorized.
func (s *Source) Verify(chain []*x509.Certificate, a Authorizer) (spiffeid.ID, error) {
	return verify(s, chain, &s.intermediates, time.Now(), a)
}

// Verify is Source.Verify against other bundles: for those who check an SVID
// under more or less than what counts for peers.
func Verify(bundles x509bundle.Source, chain []*x509.Certificate, a Authorizer) (spiffeid.ID, error) {
	return verify(bundles, chain, nil, time.Now(), a)
}

// VerifyAt is Verify as of another time, under the bundles of now: for those who are
// shown today what somebody signed while his SVID was good.
func VerifyAt(bundles x509bundle.Source, chain []*x509.Certificate, at time.Time, a Authorizer) (spiffeid.ID, error) {
	return verify(bundles, chain, nil, at, a)
}

func verify(bundles x509bundle.Source, chain []*x509.Certificate, known *intermediates, at time.Time, a Authorizer) (spiffeid.ID, error) {
	id, verified, err := verifyChain(bundles, chain, known, at)
	if err != nil {
		return spiffeid.ID{}, err
	}
	if a == nil {
		return spiffeid.ID{}, fmt.Errorf("%w: nobody is", ErrUnauthorized)
	}
	if err := a(id, verified); err != nil {
		return spiffeid.ID{}, fmt.Errorf("%w: %w", ErrUnauthorized, err)
	}
	return id, nil
}

func verifyChain(bundles x509bundle.Source, chain []*x509.Certificate, known *intermediates, at time.Time) (spiffeid.ID, []*x509.Certificate, error) {
	if err := checkShown(chain); err != nil {
		return spiffeid.ID{}, nil, err
	}
	id, err := leafID(chain)
	if err != nil {
		return id, nil, err
	}
	if verified := known.verify(bundles, id.TrustDomain(), chain, at); verified != nil && checkKeys(verified) == nil {
		return id, verified, nil
	}
	// x509svid.Verify asks for the bundle of the ID's own trust domain only, so
	// that a root of another one never validates it.
	_, chains, err := x509svid.Verify(chain, bundles, x509svid.WithTime(at))
	if err != nil {
		return id, nil, fmt.Errorf("verify SVID of %s: %w", id, classify(err, at))
	}
	for _, verified := range chains {
		if err = checkKeys(verified); err == nil {
			known.keep(verified)
			return id, verified, nil
		}
	}
	return id, nil, fmt.Errorf("verify SVID of %s: %w", id, err)
}

// leafID is the one SPIFFE ID of a chain's leaf, which must name a workload and
// may not sign other certificates (X509-SVID, sections 2 and 4).
func leafID(chain []*x509.Certificate) (spiffeid.ID, error) {
	if len(chain) == 0 {
		return spiffeid.ID{}, fmt.Errorf("%w: no certificate", ErrNotSPIFFE)
	}
	leaf := chain[0]
	id, err := x509svid.IDFromCert(leaf)
	if err != nil {
		return spiffeid.ID{}, fmt.Errorf("%w: %w", ErrNotSPIFFE, err)
	}
	if err := checkID(id); err != nil {
		return spiffeid.ID{}, err
	}
	if leaf.IsCA || leaf.KeyUsage&(x509.KeyUsageCertSign|x509.KeyUsageCRLSign) != 0 {
		return spiffeid.ID{}, fmt.Errorf("%w: certificate of %s may sign others", ErrNotSPIFFE, id)
	}
	if !forTLS(leaf) {
		return spiffeid.ID{}, fmt.Errorf("%w: certificate of %s is for other purposes than TLS", ErrNotSPIFFE, id)
	}
	return id, nil
}

// forTLS says that a leaf is not for something else alone (X509-SVID, sections 4.3
// and 4.4). One that does not say what it is for is for anything.
func forTLS(leaf *x509.Certificate) bool {
	if leaf.KeyUsage != 0 && leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0 {
		return false
	}
	if len(leaf.ExtKeyUsage)+len(leaf.UnknownExtKeyUsage) == 0 {
		return true
	}
	return slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageServerAuth) && slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageClientAuth)
}

// classify gives a verification error its sentinel.
func classify(err error, at time.Time) error {
	var invalid x509.CertificateInvalidError
	if errors.As(err, &invalid) && invalid.Reason == x509.Expired {
		if dates := checkDates(invalid.Cert, at); dates != nil {
			return dates
		}
	}
	if errors.Is(err, ErrUntrusted) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrUntrusted, fault(err))
}

// fault is what crypto/x509 said, without those who said that it did: a record has
// room for so many words, and the last ones say the most.
func fault(err error) error {
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	var critical x509.UnhandledCriticalExtension
	switch {
	case errors.As(err, &unknown):
		return unknown
	case errors.As(err, &invalid):
		return invalid
	case errors.As(err, &critical):
		return critical
	}
	return err
}

// PeerID is the SPIFFE ID of the peer of a connection that was made with a
// configuration of this package. It fails with ErrNotSPIFFE where the peer
// showed no SVID or the handshake is not complete.
func PeerID(cs tls.ConnectionState) (spiffeid.ID, error) {
	if !cs.HandshakeComplete {
		return spiffeid.ID{}, fmt.Errorf("%w: handshake is not complete", ErrNotSPIFFE)
	}
	return leafID(cs.PeerCertificates)
}

// Fingerprint is a certificate's SHA-256 over its DER form as "sha256:HEX".
func Fingerprint(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.Raw)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// RetireAt is when a connection whose SVID ends then is to give way to another one:
// after 70 to 80 % of the time that is left now, so that not all connections end at
// once, and the next SVID is there by then.
func RetireAt(end, now time.Time) time.Time {
	left := end.Sub(now)
	return now.Add(time.Duration(float64(left) * (0.7 + 0.1*rand.Float64())))
}
