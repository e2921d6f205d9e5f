package certs

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
)

const (
	// maxJWT is far above any honest JWT-SVID (well below 1 KiB) and keeps what a
	// stranger can make us decode small.
	maxJWT = 8 << 10
	// usualJWT is what nearly all need.
	usualJWT = 2 << 10
	// maxJWTLifetime bounds what a stolen bearer credential is worth.
	maxJWTLifetime = time.Hour
	// leeway is what two clocks may differ, the same that go-jose grants.
	leeway = time.Minute
)

// FetchJWTSVID asks for a JWT-SVID of the source's ID for one audience.
func (s *Source) FetchJWTSVID(ctx context.Context, audience string) (token string, expires time.Time, err error) {
	if audience == "" {
		return "", time.Time{}, errors.New("fetch JWT-SVID: no audience")
	}
	if s.mintJWT == nil {
		return "", time.Time{}, errors.New("fetch JWT-SVID: the source has no issuer")
	}
	token, expires, err = s.mintJWT(ctx, audience)
	if err != nil {
		return "", time.Time{}, fmt.Errorf("fetch JWT-SVID for %q: %w", audience, err)
	}
	return token, expires, nil
}

// JWT is a JWT-SVID that was validated, without the token itself.
type JWT struct {
	ID          spiffeid.ID
	Fingerprint string // "sha256:" and the hex digest of the token
	Held        *Held  // what stands on it is to be held against

	issued time.Time // zero if it does not say
	alone  bool      // it has one audience
}

// Held is a JWT-SVID that was validated, for as long as something stands on it. It
// does not change.
type Held struct {
	id      spiffeid.ID
	keyID   string
	key     signingKey
	expires time.Time
	bundles jwtbundle.Source
}

// Expires is when the JWT-SVID ends for those who take it, whose clocks may differ
// from the issuer's.
func (h *Held) Expires() time.Time { return h.expires.Add(leeway) }

// Check fails with ErrUntrusted once the key that signed it is not in its trust
// domain's bundle any more.
func (h *Held) Check() error {
	if key, ok := signer(h.bundles, h.id, h.keyID); !ok || !h.holds(key) {
		return fmt.Errorf("%w: the key that signed the JWT-SVID of %s is not in the bundle any more", ErrUntrusted, h.id)
	}
	return nil
}

// ValidateJWT takes a JWT-SVID that is signed by its own trust domain, is for the
// audience, and is valid now; this process's clock must agree with now. One that
// lives longer than an hour is refused, because whoever holds it is believed.
// Errors are ErrExpired, ErrUntrusted or ErrNotSPIFFE and never hold the token.
func (s *Source) ValidateJWT(token, audience string, now time.Time) (JWT, error) {
	if len(token) > maxJWT {
		return JWT{}, fmt.Errorf("%w: JWT-SVID of %d bytes, the limit is %d", ErrNotSPIFFE, len(token), maxJWT)
	}
	if audience == "" {
		return JWT{}, fmt.Errorf("%w: no audience is expected", ErrUntrusted)
	}
	var room [usualJWT]byte // so that hashing allocates nothing
	digest := sha256.Sum256(append(room[:0], token...))
	if known, ok := s.verified.find(digest, audience, now, s); ok {
		return known, nil
	}
	svid, err := jwtsvid.ParseAndValidate(token, s, []string{audience})
	if err != nil {
		return JWT{}, fmt.Errorf("validate JWT-SVID: %w", classifyJWT(token, err))
	}
	if err := checkID(svid.ID); err != nil {
		return JWT{}, err
	}
	if err := checkLifetime(svid, now); err != nil {
		return JWT{}, fmt.Errorf("validate JWT-SVID of %s: %w", svid.ID, err)
	}
	held, err := signedBy(svid, s)
	if err != nil {
		return JWT{}, fmt.Errorf("validate JWT-SVID of %s: %w: %w", svid.ID, ErrUntrusted, err)
	}
	fresh := JWT{
		ID: svid.ID, Fingerprint: "sha256:" + hex.EncodeToString(digest[:]), Held: held,
		issued: issuedAt(svid), alone: len(svid.Audience) == 1,
	}
	s.verified.keep(digest, verifiedJWT{fresh, audience, now})
	return fresh, nil
}

// ValidateFreshJWT takes a JWT-SVID that ValidateJWT takes, is for that audience
// alone, and was issued at most that long ago, whenever it expires: its issuer signed
// both, and so whoever has seen it can use it for no longer. One that does not say
// when it was issued is refused. Errors are as those of ValidateJWT.
func (s *Source) ValidateFreshJWT(token, audience string, age time.Duration, now time.Time) (JWT, error) {
	t, err := s.ValidateJWT(token, audience, now)
	switch {
	case err != nil:
		return JWT{}, err
	case !t.alone:
		return JWT{}, fmt.Errorf("%w: the JWT-SVID of %s is for others than %q too", ErrUntrusted, t.ID, audience)
	case t.issued.IsZero():
		return JWT{}, fmt.Errorf("%w: the JWT-SVID of %s does not say when it was issued", ErrUntrusted, t.ID)
	case now.Sub(t.issued) > age+leeway:
		return JWT{}, fmt.Errorf("%w: the JWT-SVID of %s was issued %v ago, the limit is %v",
			ErrExpired, t.ID, now.Sub(t.issued).Truncate(time.Second), age)
	}
	return t, nil
}

// issuedAt is when a token whose dates were checked says that it was issued; zero if
// it does not say.
func issuedAt(svid *jwtsvid.SVID) time.Time {
	iat, ok := svid.Claims["iat"].(float64)
	if !ok {
		return time.Time{}
	}
	return time.Unix(int64(iat), 0)
}

// signedBy is a JWT-SVID that was validated, with the key that has signed it.
func signedBy(svid *jwtsvid.SVID, bundles jwtbundle.Source) (*Held, error) {
	keyID, err := keyIDOf(svid.Marshal())
	if err != nil {
		return nil, err
	}
	found, ok := signer(bundles, svid.ID, keyID)
	if !ok {
		return nil, errors.New("the key that signed it is not in the bundle any more")
	}
	if err := checkKey(found); err != nil {
		return nil, err
	}
	key, ok := found.(signingKey)
	if !ok {
		return nil, fmt.Errorf("a key of type %T", found)
	}
	return &Held{id: svid.ID, keyID: keyID, key: key, expires: svid.Expiry, bundles: bundles}, nil
}

// maxVerified bounds what is remembered of tokens.
const maxVerified = 4096

// verifiedJWTs remembers tokens that were validated, by their digest: a workload
// shows one with each request, and a signature costs more to verify than all else
// of it. One counts until it expires, and only while the very key that signed it
// is in its trust domain's bundle.
type verifiedJWTs struct {
	mu     sync.RWMutex // guards what follows
	tokens map[[sha256.Size]byte]verifiedJWT
}

type verifiedJWT struct {
	JWT
	audience string
	since    time.Time // by the clock that it was validated with
}

// signingKey is a key as the standard library has them.
type signingKey interface{ Equal(crypto.PublicKey) bool }

// holds says that a bundle's key is the one that signed the token. Most often it is
// the very object: to compare numbers costs more than all else of find.
func (h *Held) holds(key crypto.PublicKey) bool {
	switch key.(type) {
	case *ecdsa.PublicKey, *rsa.PublicKey: // what is no pointer may not be comparable
		if key == crypto.PublicKey(h.key) {
			return true
		}
	}
	return h.key.Equal(key)
}

// find gives a token that was validated before and still holds.
func (v *verifiedJWTs) find(digest [sha256.Size]byte, audience string, now time.Time, bundles jwtbundle.Source) (JWT, bool) {
	v.mu.RLock()
	t, ok := v.tokens[digest]
	v.mu.RUnlock()
	if !ok || t.audience != audience || now.Before(t.since) || !now.Before(t.Held.expires) {
		return JWT{}, false
	}
	key, ok := signer(bundles, t.ID, t.Held.keyID)
	if !ok || !t.Held.holds(key) {
		return JWT{}, false
	}
	return t.JWT, true
}

// keep remembers a token that was validated.
func (v *verifiedJWTs) keep(digest [sha256.Size]byte, token verifiedJWT) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.tokens) >= maxVerified || v.tokens == nil {
		v.tokens = map[[sha256.Size]byte]verifiedJWT{} // those in use come back by themselves
	}
	v.tokens[digest] = token
}

// signer is the key of that ID in the bundle of a trust domain now.
func signer(bundles jwtbundle.Source, id spiffeid.ID, keyID string) (crypto.PublicKey, bool) {
	b, err := bundles.GetJWTBundleForTrustDomain(id.TrustDomain())
	if err != nil {
		return nil, false
	}
	return b.FindJWTAuthority(keyID)
}

func keyIDOf(token string) (string, error) {
	tok, err := jwt.ParseSigned(token, jwtAlgorithms)
	if err != nil {
		return "", err
	}
	return tok.Headers[0].KeyID, nil
}

// jwtAlgorithms are those that a JWT-SVID may use (JWT-SVID, section 2.1); "none"
// is not among them.
var jwtAlgorithms = []jose.SignatureAlgorithm{
	jose.RS256, jose.RS384, jose.RS512, jose.ES256, jose.ES384, jose.ES512, jose.PS256, jose.PS384, jose.PS512,
}

// checkLifetime looks at the dates of a token whose signature is good.
func checkLifetime(svid *jwtsvid.SVID, now time.Time) error {
	if now.After(svid.Expiry.Add(leeway)) {
		return &DatesError{NotAfter: svid.Expiry, Now: now}
	}
	issued := float64(now.Unix())
	if iat, ok := svid.Claims["iat"].(float64); ok {
		issued = iat
	}
	if issued > float64(now.Add(leeway).Unix()) {
		return fmt.Errorf("%w: issued in the future: check the clocks", ErrExpired)
	}
	// Seconds as float64, because a Duration overflows on hostile dates.
	lives := float64(svid.Expiry.Unix()) - issued
	if limit := maxJWTLifetime + leeway; lives > limit.Seconds() {
		return fmt.Errorf("%w: it lives %.0f seconds, the limit is %.0f", ErrUntrusted, lives, maxJWTLifetime.Seconds())
	}
	return nil
}

// classifyJWT gives an error of jwtsvid its sentinel. jwtsvid looks at the dates
// after the signature, so that a stranger's token is never called expired. It
// flattens go-jose's ErrExpired to text, which is why the text is looked at.
func classifyJWT(token string, err error) error {
	switch {
	case strings.HasSuffix(err.Error(), "token has expired"):
		return fmt.Errorf("%w: it has expired", ErrExpired)
	case errors.Is(err, jwt.ErrNotValidYet), errors.Is(err, jwt.ErrIssuedInTheFuture):
		return fmt.Errorf("%w: not yet valid: check the clocks", ErrExpired)
	case !namesWorkload(token):
		return fmt.Errorf("%w: %w", ErrNotSPIFFE, err)
	}
	return fmt.Errorf("%w: %w", ErrUntrusted, err)
}

// namesWorkload says whether a token claims to be of a SPIFFE ID with a path,
// by an algorithm that JWT-SVIDs may use.
func namesWorkload(token string) bool {
	tok, err := jwt.ParseSigned(token, jwtAlgorithms)
	if err != nil {
		return false
	}
	var claims jwt.Claims
	if err := tok.UnsafeClaimsWithoutVerification(&claims); err != nil {
		return false
	}
	id, err := spiffeid.FromString(claims.Subject)
	return err == nil && id.Path() != ""
}
