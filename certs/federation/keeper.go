package federation

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"github.com/sallyport-mesh/sallyport/certs"
	configv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/config/v1"
)

// Config is what a Keeper is made of.
type Config struct {
	// Self is the trust domain that this is in: its bundle is nobody else's to give.
	Self spiffeid.TrustDomain
	// Peers are trust domains that this one federates with, whatever Anchor says.
	Peers []spiffeid.TrustDomain
	// Anchor is the bundle that is trusted of a trust domain as long as nothing
	// better came, nil where there is none: its owner federates only with those
	// that it has one of, and with Peers. It counts again if it changes after
	// everybody else has fallen silent. It may be nil.
	Anchor func(td spiffeid.TrustDomain) *x509bundle.Bundle
	// Dir keeps the last good bundles, a file each; made if need be. Empty: memory
	// only.
	Dir string
	// OnChange is told after each change of what is held. It may be nil.
	OnChange func()
	// Log may be nil.
	Log *zap.Logger
}

// Keeper keeps the last good bundle of each other trust domain. All methods may
// be called concurrently.
type Keeper struct {
	self     spiffeid.TrustDomain
	peers    []spiffeid.TrustDomain
	anchor   func(td spiffeid.TrustDomain) *x509bundle.Bundle
	dir      string
	onChange func()
	log      *zap.Logger

	mu      sync.RWMutex // guards what follows
	entries map[spiffeid.TrustDomain]*entry
	changed chan struct{} // closed and replaced at each change of what is held
}

// entry is what is known of one trust domain.
type entry struct {
	held    *held             // nil until one was good
	refused map[string]string // by origin: why the last one from there was not taken
	waiting *waiting          // the last one that did not verify; nil if none is newer than held
	anchor  *x509bundle.Bundle
	moved   time.Time // when the anchor was last seen to change; zero if never
}

// waiting is a statement whose root may yet become known.
type waiting struct {
	signed   *configv1.SignedBundle
	sequence uint64
}

// held is a bundle that counts. Its bundles are not changed any more.
type held struct {
	kept

	bundle *spiffebundle.Bundle
	x509   *x509bundle.Bundle
	jwt    *jwtbundle.Bundle
	saved  time.Time // when it last went to disk; zero if that failed
}

var (
	_ certs.Foreign     = (*Keeper)(nil)
	_ x509bundle.Source = (*Keeper)(nil)
)

// Open makes a keeper with what was kept in the directory. A file that is not
// good any more is logged, and its trust domain begins anew.
func Open(cfg Config) (*Keeper, error) {
	if cfg.Self.IsZero() {
		return nil, errors.New("keep bundles: one's own trust domain is missing")
	}
	k := &Keeper{
		self: cfg.Self, peers: cfg.Peers, anchor: cfg.Anchor, dir: cfg.Dir, onChange: cfg.OnChange, log: cfg.Log,
		entries: map[spiffeid.TrustDomain]*entry{}, changed: make(chan struct{}),
	}
	if k.log == nil {
		k.log = zap.NewNop()
	}
	k.log = k.log.Named("federation")
	return k, k.load(time.Now())
}

// federates says whether a trust domain is one that this one knows by its own
// configuration, or its Workload API's.
func (k *Keeper) federates(td spiffeid.TrustDomain) bool {
	return td != k.self && (slices.Contains(k.peers, td) || k.anchored(td) != nil)
}

func (k *Keeper) anchored(td spiffeid.TrustDomain) *x509bundle.Bundle {
	if k.anchor == nil {
		return nil
	}
	return k.anchor(td)
}

func (k *Keeper) get(td spiffeid.TrustDomain) *held {
	if !k.federates(td) {
		return nil
	}
	k.mu.RLock()
	defer k.mu.RUnlock()
	if e := k.entries[td]; e != nil && !e.superseded(time.Now()) {
		return e.held
	}
	return nil
}

// X509Bundle is the X.509 bundle that is held of a trust domain; nil if none is.
func (k *Keeper) X509Bundle(td spiffeid.TrustDomain) *x509bundle.Bundle {
	if h := k.get(td); h != nil {
		return h.x509
	}
	return nil
}

// JWTBundle is the JWT bundle that is held of a trust domain; nil if none is.
func (k *Keeper) JWTBundle(td spiffeid.TrustDomain) *jwtbundle.Bundle {
	if h := k.get(td); h != nil {
		return h.jwt
	}
	return nil
}

// GetX509BundleForTrustDomain is what a trust domain's own authorities are judged
// by: the bundle held, or the anchor before there is one.
func (k *Keeper) GetX509BundleForTrustDomain(td spiffeid.TrustDomain) (*x509bundle.Bundle, error) {
	if b := k.X509Bundle(td); b != nil {
		return b, nil
	}
	if b := k.anchored(td); b != nil && td != k.self {
		return b, nil
	}
	return nil, fmt.Errorf("%w: no bundle of trust domain %q yet", certs.ErrUntrusted, td.Name())
}

// Bundles are all that are held, by trust domain. They are not to be changed.
func (k *Keeper) Bundles() []*spiffebundle.Bundle {
	var all []*spiffebundle.Bundle
	for _, td := range k.known() {
		if h := k.get(td); h != nil {
			all = append(all, h.bundle)
		}
	}
	return all
}

func (k *Keeper) known() []spiffeid.TrustDomain {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return slices.SortedFunc(maps.Keys(k.entries), spiffeid.TrustDomain.Compare)
}

// Changed is closed at the next change of what is held. Ask for it before you
// look, and again afterwards.
func (k *Keeper) Changed() <-chan struct{} {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.changed
}

// Accept takes a signed bundle, whoever brought it. It is nil if that is what is
// held from now on, or was already. The error is ErrUnknown, ErrMalformed,
// ErrUnverified, ErrRollback or ErrForked.
func (k *Keeper) Accept(s *configv1.SignedBundle) error {
	return k.accept(s, time.Now())
}

func (k *Keeper) accept(s *configv1.SignedBundle, now time.Time) error {
	td, err := spiffeid.TrustDomainFromString(s.GetTrustDomain())
	if err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if !k.federates(td) {
		return fmt.Errorf("%w: %s", ErrUnknown, td)
	}
	b, err := open(s, now)
	if err != nil {
		return k.refuse(td, FromStatement, err)
	}
	// Two at once are judged one after the other, each against what the first left.
	return k.change(td, FromStatement, func(e *entry) error {
		roots := k.anchored(td)
		if e.held != nil && !e.superseded(now) {
			roots = e.held.x509
		}
		if roots == nil {
			roots = x509bundle.New(td)
		}
		signedAt, err := verify(s, roots, now)
		if err != nil {
			e.waiting = &waiting{proto.CloneOf(s), sequence(b)}
			return err
		}
		return e.take(b, kept{Document: string(s.GetDocument()), Origin: FromStatement, Refreshed: earlier(signedAt, now)})
	})
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// Fetched takes a bundle document from an endpoint that was authenticated as the
// trust domain's. Errors are those of Accept.
func (k *Keeper) Fetched(td spiffeid.TrustDomain, document []byte) error {
	now := time.Now()
	if !k.federates(td) {
		return fmt.Errorf("%w: %s", ErrUnknown, td)
	}
	b, err := parse(td, document, now)
	if err != nil {
		return k.refuse(td, FromEndpoint, err)
	}
	return k.change(td, FromEndpoint, func(e *entry) error {
		return e.take(b, kept{Document: string(document), Origin: FromEndpoint, Refreshed: now})
	})
}

// Local takes a bundle document that the operator put in place. If nobody else has
// confirmed what is held lately, or the document has no sequence number, it is the
// latest until the trust domain is heard again (SPIFFE Federation, section 4.2):
// this is how a person repairs what repairs itself no more. Otherwise it may be a
// copy that was made too long ago, and counts by its number. Each content counts
// once: after a restart, what followed it stays in force. Errors are those of
// Accept.
func (k *Keeper) Local(td spiffeid.TrustDomain, document []byte) error {
	now := time.Now()
	if !k.federates(td) {
		return fmt.Errorf("%w: %s", ErrUnknown, td)
	}
	b, err := parse(td, document, now)
	if err == nil && len(b.X509Authorities()) == 0 {
		err = fmt.Errorf("%w: there is no X.509 authority in it", ErrMalformed)
	}
	if err != nil {
		return k.refuse(td, FromFile, err)
	}
	sum := sha256.Sum256(document)
	digest := hex.EncodeToString(sum[:])
	return k.change(td, FromFile, func(e *entry) error {
		if e.held != nil && e.held.File == digest {
			return nil
		}
		_, numbered := b.SequenceNumber()
		if e.held != nil && (!numbered || e.held.Origin == FromFile || e.held.stale(now)) {
			e.held = nil
		}
		return e.take(b, kept{Document: string(document), Origin: FromFile, Refreshed: now, File: digest})
	})
}

// Reconsider looks at the anchors again, and judges again what did not verify when
// it came. Call it when anchors may have changed.
func (k *Keeper) Reconsider() {
	now := time.Now()
	for _, td := range k.known() {
		anchor := k.anchored(td)
		k.mu.Lock()
		k.entries[td].look(anchor, now)
		k.mu.Unlock()
	}
	k.retry(now)
}

func (k *Keeper) retry(now time.Time) {
	for _, td := range k.known() {
		k.mu.RLock()
		w := k.entries[td].waiting
		k.mu.RUnlock()
		if w != nil {
			_ = k.accept(w.signed, now) // it is among the states if it was not taken
		}
	}
}

// refuse keeps why a bundle was not taken.
func (k *Keeper) refuse(td spiffeid.TrustDomain, origin string, err error) error {
	return k.change(td, origin, func(*entry) error { return err })
}

// change changes what is known of a trust domain, keeps it on disk and tells of
// it. The error is what do says.
func (k *Keeper) change(td spiffeid.TrustDomain, origin string, do func(e *entry) error) error {
	changed, err := k.swap(td, origin, do)
	if changed && k.onChange != nil {
		k.onChange()
	}
	if changed { // what did not verify before may do so under the new roots
		k.retry(time.Now())
	}
	return err
}

func (k *Keeper) swap(td spiffeid.TrustDomain, origin string, do func(e *entry) error) (changed bool, err error) {
	anchor := k.anchored(td)
	k.mu.Lock()
	defer k.mu.Unlock()
	e := k.entries[td]
	if e == nil {
		e = &entry{}
		k.entries[td] = e
	}
	before := e.held
	if err = do(e); err != nil {
		e.held = before
		k.note(td, e, origin, err)
		return false, err
	}
	delete(e.refused, origin)
	e.look(anchor, time.Now())
	if e.waiting != nil && e.waiting.sequence <= e.held.sequence() {
		e.waiting = nil
	}
	k.save(td, e.held)
	if before != nil && before.x509 == e.held.x509 {
		return false, nil
	}
	k.log.Info("bundle in force", zap.Stringer("trust_domain", td), zap.Uint64("sequence", e.held.sequence()),
		zap.Int("x509_authorities", len(e.held.x509.X509Authorities())), zap.String("origin", e.held.Origin))
	close(k.changed)
	k.changed = make(chan struct{})
	return true, nil
}

// note keeps why a bundle was refused, and logs it once. The caller holds mu.
func (k *Keeper) note(td spiffeid.TrustDomain, e *entry, origin string, err error) {
	if e.refused == nil {
		e.refused = map[string]string{}
	}
	why := clip(err.Error())
	if e.refused[origin] == why {
		return
	}
	e.refused[origin] = why
	k.log.Error("bundle refused", zap.Stringer("trust_domain", td), zap.String("origin", origin),
		zap.Bool("last_good_in_force", e.held != nil), zap.Error(err))
}

// maxWhy bounds what is kept of an error, in bytes: it goes into reports.
const maxWhy = 512

func clip(words string) string {
	return strings.ToValidUTF8(words[:min(len(words), maxWhy)], "")
}

// Verify says whether a statement is one of its trust domain's authority under
// given roots, now. It is for who carries the bundle of its own trust domain, which
// a keeper does not keep. The error is ErrMalformed or ErrUnverified.
func Verify(s *configv1.SignedBundle, roots x509bundle.Source) error {
	now := time.Now()
	if _, err := open(s, now); err != nil {
		return err
	}
	_, err := verify(s, roots, now)
	return err
}

// Sequence is a statement's sequence number, whoever made it. The error is
// ErrMalformed.
func Sequence(s *configv1.SignedBundle) (uint64, error) {
	b, err := open(s, time.Now())
	if err != nil {
		return 0, err
	}
	return sequence(b), nil
}
