// Package certs holds a program's identity and everything it checks others
// with: one X509-SVID, the bundles of the trust domains it knows, and every TLS
// configuration of the product. It is not an issuer (that is certs/authority)
// and decides nothing about who may do what: it proves who somebody is.
//
// One invariant holds for every connection made with it: the peer's SVID was
// verified against its own trust domain's bundle, and authorized, in this very
// handshake. Nothing is carried over from an earlier one but the knowledge that an
// intermediate's signature is good.
package certs

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"go.uber.org/zap"
)

// ErrClosed says that the Source was closed.
var ErrClosed = errors.New("source of SVIDs is closed")

// Options say where a Source gets its material from.
type Options struct {
	// WorkloadAPI is the address of the Workload API, such as
	// "unix:///run/sallyport/gw.sock". Empty: SPIFFE_ENDPOINT_SOCKET.
	WorkloadAPI string
	// ID is whose SVID the Source takes where the Workload API gives several, in
	// whatever order. If that is not among them, or zero: the first one.
	ID spiffeid.ID
	// Bundles are static bundles beside those of the Workload API, such as the
	// mesh's own trust domain's at bootstrap. A bundle that the Workload API
	// gives for the same trust domain comes before them.
	Bundles []*spiffebundle.Bundle
	// Log may be nil.
	Log *zap.Logger
}

// Foreign is what is known of other trust domains beside the Workload API, such
// as by federation. Its bundles come before the Workload API's, which have
// neither a sequence number nor a signature. It may be called concurrently, and
// while a peer shakes hands: it must not wait.
type Foreign interface {
	// X509Bundle is that of a trust domain; nil if the Workload API's is to count.
	X509Bundle(td spiffeid.TrustDomain) *x509bundle.Bundle
	// JWTBundle is likewise.
	JWTBundle(td spiffeid.TrustDomain) *jwtbundle.Bundle
}

// MintJWT gives a JWT-SVID for an audience, and when it expires.
type MintJWT func(ctx context.Context, audience string) (token string, expires time.Time, err error)

// Source is one X509-SVID and the bundles to check others with, kept current by
// a Workload API. Its SPIFFE ID never changes. All methods may be called
// concurrently.
type Source struct {
	id      spiffeid.ID
	extra   *spiffebundle.Set
	mintJWT MintJWT
	stop    func() error // ends what feeds the source, nil if nothing does
	updated chan struct{}

	verified      verifiedJWTs
	intermediates intermediates

	mu          sync.RWMutex // guards what follows
	svid        *x509svid.SVID
	x509        *x509bundle.Set
	jwt         *jwtbundle.Set
	foreign     Foreign // nil if there is none
	subscribers map[chan struct{}]struct{}
	closed      bool
}

var (
	_ x509svid.Source   = (*Source)(nil)
	_ x509bundle.Source = (*Source)(nil)
	_ jwtbundle.Source  = (*Source)(nil)
)

// NewStaticSource makes a Source of given material that no Workload API feeds.
// The sets are used as they are, not copied, so that a change in them counts at
// once; tell subscribers of it with Refresh. mint may be nil.
func NewStaticSource(svid *x509svid.SVID, x509b *x509bundle.Set, jwtb *jwtbundle.Set, mint MintJWT) *Source {
	s := newSource(nil)
	s.id, s.svid, s.x509, s.jwt, s.mintJWT = svid.ID, svid, x509b, jwtb, mint
	return s
}

func newSource(extra []*spiffebundle.Bundle) *Source {
	s := &Source{
		extra:       spiffebundle.NewSet(extra...),
		updated:     make(chan struct{}, 1),
		subscribers: map[chan struct{}]struct{}{},
		x509:        x509bundle.NewSet(),
		jwt:         jwtbundle.NewSet(),
	}
	s.subscribers[s.updated] = struct{}{}
	return s
}

// ID is the SPIFFE ID of the source's SVID.
func (s *Source) ID() spiffeid.ID { return s.id }

// TrustDomain is the trust domain of ID.
func (s *Source) TrustDomain() spiffeid.TrustDomain { return s.id.TrustDomain() }

// GetX509SVID is the current SVID. It fails with ErrExpired outside of the
// SVID's dates and with ErrClosed after Close.
func (s *Source) GetX509SVID() (*x509svid.SVID, error) {
	s.mu.RLock()
	svid, closed := s.svid, s.closed
	s.mu.RUnlock()
	if closed {
		return nil, ErrClosed
	}
	if err := checkDates(svid.Certificates[0], time.Now()); err != nil {
		return nil, fmt.Errorf("own SVID %s: %w", s.id, err)
	}
	return svid, nil
}

// SetForeign has the bundles of other trust domains come from f first. What f
// says of the source's own trust domain never counts. Tell subscribers with
// Notify of what changes in f.
func (s *Source) SetForeign(f Foreign) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.foreign = f
	s.signal()
}

// Notify signals that bundles have changed.
func (s *Source) Notify() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.signal()
}

// Anchor is the X.509 bundle of a trust domain as the Workload API or the static
// bundles have it, whatever Foreign says; nil if they have none.
func (s *Source) Anchor(td spiffeid.TrustDomain) *x509bundle.Bundle {
	s.mu.RLock()
	set := s.x509
	s.mu.RUnlock()
	if b, ok := set.Get(td); ok {
		return b
	}
	if b, ok := s.extra.Get(td); ok {
		return b.X509Bundle()
	}
	return nil
}

// GetX509BundleForTrustDomain is the X.509 bundle of a trust domain. It fails
// with ErrUntrusted where there is none.
func (s *Source) GetX509BundleForTrustDomain(td spiffeid.TrustDomain) (*x509bundle.Bundle, error) {
	s.mu.RLock()
	closed, foreign := s.closed, s.foreign
	s.mu.RUnlock()
	if closed {
		return nil, ErrClosed
	}
	if foreign != nil && td != s.id.TrustDomain() {
		if b := foreign.X509Bundle(td); b != nil {
			return b, nil
		}
	}
	if b := s.Anchor(td); b != nil {
		return b, nil
	}
	return nil, fmt.Errorf("%w: no X.509 bundle of trust domain %q", ErrUntrusted, td.Name())
}

// GetJWTBundleForTrustDomain is the JWT bundle of a trust domain. It fails with
// ErrUntrusted where there is none.
func (s *Source) GetJWTBundleForTrustDomain(td spiffeid.TrustDomain) (*jwtbundle.Bundle, error) {
	s.mu.RLock()
	set, closed, foreign := s.jwt, s.closed, s.foreign
	s.mu.RUnlock()
	if closed {
		return nil, ErrClosed
	}
	if foreign != nil && td != s.id.TrustDomain() {
		if b := foreign.JWTBundle(td); b != nil {
			return b, nil
		}
	}
	if b, ok := set.Get(td); ok {
		return b, nil
	}
	if b, ok := s.extra.Get(td); ok {
		return b.JWTBundle(), nil
	}
	return nil, fmt.Errorf("%w: no JWT bundle of trust domain %q", ErrUntrusted, td.Name())
}

// Updated signals after each change of the SVID or of bundles. It is one
// channel that holds one signal, for one receiver; others use Subscribe.
func (s *Source) Updated() <-chan struct{} { return s.updated }

// Subscribe gives a channel of its own that signals after each change of the
// SVID or of bundles and holds one signal. stop ends the subscription.
func (s *Source) Subscribe() (updated <-chan struct{}, stop func()) {
	ch := make(chan struct{}, 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.subscribers[ch] = struct{}{}
	return ch, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.subscribers, ch)
	}
}

// Refresh gives a static source another SVID (nil keeps the one it has) and
// signals the change. It fails if the SVID has another SPIFFE ID, or if a
// Workload API feeds the source.
func (s *Source) Refresh(svid *x509svid.SVID) error {
	if s.stop != nil {
		return errors.New("refresh SVID: the source is fed by a Workload API")
	}
	return s.set(svid, nil, nil)
}

// set takes over what is not nil and signals. An SVID of another ID is refused
// with everything that came with it: peers authorized this ID.
func (s *Source) set(svid *x509svid.SVID, x509b *x509bundle.Set, jwtb *jwtbundle.Set) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if svid != nil {
		if s.id.IsZero() { // the first; afterwards ID reads it without mu
			s.id = svid.ID
		}
		if svid.ID != s.id {
			return fmt.Errorf("replace SVID of %s: the new one is of %s", s.id, svid.ID)
		}
		s.svid = svid
	}
	if x509b != nil {
		s.x509 = x509b
	}
	if jwtb != nil {
		s.jwt = jwtb
	}
	s.signal()
	return nil
}

// signal tells all subscribers. The caller holds mu.
func (s *Source) signal() {
	for ch := range s.subscribers {
		select {
		case ch <- struct{}{}:
		default: // one is pending, and the receiver reads the state after it
		}
	}
}

// Close ends the connection to the Workload API and waits for it. Every
// handshake after it fails.
func (s *Source) Close() error {
	s.mu.Lock()
	closed := s.closed
	s.closed = true
	s.mu.Unlock()
	if closed || s.stop == nil {
		return nil
	}
	return s.stop()
}
