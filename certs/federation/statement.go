package federation

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/sallyport-mesh/sallyport/certs"
	configv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/config/v1"
)

const (
	// prefix keeps these signatures apart from any other that the key makes: TLS
	// signs 64 spaces first (RFC 8446, section 4.4.3).
	prefix = "sallyport.bundle.v1\n"

	maxSignatures  = 8
	maxChain       = 4       // certificates
	maxCertificate = 8 << 10 // bytes
	maxSignature   = 1 << 10 // bytes

	// skew is how far ahead of this clock the signer's may be.
	skew = time.Minute
)

// input is what is signed: see FORMAT.md.
func input(td string, signedAt int64, document []byte) []byte {
	b := make([]byte, 0, len(prefix)+len(td)+len(document)+16)
	b = append(b, prefix...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(td)))
	b = append(b, td...)
	b = binary.BigEndian.AppendUint64(b, uint64(signedAt))
	b = binary.BigEndian.AppendUint32(b, uint32(len(document)))
	return append(b, document...)
}

// sign makes a statement of a document, under each SVID. All are of an authority
// of the trust domain: what others would refuse is not made.
func sign(td spiffeid.TrustDomain, document []byte, svids []*x509svid.SVID, now time.Time) (*configv1.SignedBundle, error) {
	s := &configv1.SignedBundle{TrustDomain: td.Name(), Document: document}
	for _, svid := range svids {
		if err := AuthorizeAuthority(td, svid.ID); err != nil {
			return nil, fmt.Errorf("sign bundle: %w", err)
		}
		sig := &configv1.BundleSignature{SignedAt: now.Unix(), Chain: certs.Certificate(svid).Certificate}
		var err error
		if sig.Signature, err = signInput(svid.PrivateKey, input(s.TrustDomain, sig.SignedAt, document)); err != nil {
			return nil, fmt.Errorf("sign bundle as %s: %w", svid.ID, err)
		}
		s.Signatures = append(s.Signatures, sig)
	}
	_, err := open(s, now)
	return s, err
}

func signInput(key crypto.Signer, text []byte) ([]byte, error) {
	algorithm, err := algorithmOf(key.Public())
	if err != nil {
		return nil, err
	}
	switch algorithm {
	case x509.PureEd25519:
		return key.Sign(rand.Reader, text, crypto.Hash(0))
	case x509.ECDSAWithSHA384:
		sum := sha512.Sum384(text)
		return key.Sign(rand.Reader, sum[:], crypto.SHA384)
	case x509.SHA256WithRSAPSS:
		sum := sha256.Sum256(text)
		return key.Sign(rand.Reader, sum[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256})
	default:
		sum := sha256.Sum256(text)
		return key.Sign(rand.Reader, sum[:], crypto.SHA256)
	}
}

// algorithmOf is the one algorithm that a key signs with: the statement does not
// get to say.
func algorithmOf(public crypto.PublicKey) (x509.SignatureAlgorithm, error) {
	switch key := public.(type) {
	case ed25519.PublicKey:
		return x509.PureEd25519, nil
	case *ecdsa.PublicKey:
		switch key.Curve {
		case elliptic.P256():
			return x509.ECDSAWithSHA256, nil
		case elliptic.P384():
			return x509.ECDSAWithSHA384, nil
		}
	case *rsa.PublicKey:
		if n := key.N.BitLen(); n >= 2048 && n <= 4096 {
			return x509.SHA256WithRSAPSS, nil
		}
	}
	return 0, fmt.Errorf("a key of type %T, or of its size, signs no bundle", public)
}

// open reads a statement and judges all of it but its signatures.
func open(s *configv1.SignedBundle, now time.Time) (*spiffebundle.Bundle, error) {
	td, err := spiffeid.TrustDomainFromString(s.GetTrustDomain())
	if err != nil || td.Name() != s.GetTrustDomain() {
		return nil, fmt.Errorf("%w: trust domain %.256q", ErrMalformed, s.GetTrustDomain())
	}
	if n := len(s.GetSignatures()); n < 1 || n > maxSignatures {
		return nil, fmt.Errorf("%w: %d signatures, want 1 to %d", ErrMalformed, n, maxSignatures)
	}
	b, err := parse(td, s.GetDocument(), now)
	if err != nil {
		return nil, err
	}
	if _, ok := b.SequenceNumber(); !ok {
		return nil, fmt.Errorf("%w: a signed one has a sequence number", ErrMalformed)
	}
	return b, nil
}

// verify says when a statement was last signed by an authority of its trust
// domain whose SVID verifies under the roots, now. One good signature is enough:
// others are for those who know other roots.
func verify(s *configv1.SignedBundle, roots x509bundle.Source, now time.Time) (time.Time, error) {
	td, err := spiffeid.TrustDomainFromString(s.GetTrustDomain())
	if err != nil {
		return time.Time{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	var last time.Time
	var faults []error
	for i, sig := range s.GetSignatures() {
		if err := verifyOne(td, s.GetDocument(), sig, roots, now); err != nil {
			faults = append(faults, fmt.Errorf("signature %d: %w", i, err))
			continue
		}
		if at := time.Unix(sig.GetSignedAt(), 0); at.After(last) {
			last = at
		}
	}
	if last.IsZero() {
		return last, fmt.Errorf("%w: %w", ErrUnverified, errors.Join(faults...))
	}
	return last, nil
}

func verifyOne(td spiffeid.TrustDomain, document []byte, sig *configv1.BundleSignature, roots x509bundle.Source, now time.Time) error {
	chain, err := parseChain(sig)
	if err != nil {
		return err
	}
	if _, err := certs.Verify(roots, chain, func(id spiffeid.ID, _ []*x509.Certificate) error {
		return AuthorizeAuthority(td, id)
	}); err != nil {
		return err
	}
	leaf, at := chain[0], time.Unix(sig.GetSignedAt(), 0)
	if at.Before(leaf.NotBefore) || at.After(now.Add(skew)) {
		return fmt.Errorf("it says that it was made at %s", at.UTC().Format(time.RFC3339))
	}
	algorithm, err := algorithmOf(leaf.PublicKey)
	if err != nil {
		return err
	}
	return leaf.CheckSignature(algorithm, input(td.Name(), sig.GetSignedAt(), document), sig.GetSignature())
}

func parseChain(sig *configv1.BundleSignature) ([]*x509.Certificate, error) {
	if n := len(sig.GetChain()); n < 1 || n > maxChain {
		return nil, fmt.Errorf("%d certificates, want 1 to %d", n, maxChain)
	}
	if n := len(sig.GetSignature()); n > maxSignature {
		return nil, fmt.Errorf("a signature of %d bytes", n)
	}
	chain := make([]*x509.Certificate, 0, len(sig.GetChain()))
	for _, der := range sig.GetChain() {
		if len(der) > maxCertificate {
			return nil, fmt.Errorf("a certificate of %d bytes, at most %d are taken", len(der), maxCertificate)
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, err
		}
		chain = append(chain, c)
	}
	return chain, nil
}
