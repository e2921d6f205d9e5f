package federation

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"go.uber.org/zap"

	"github.com/sallyport-mesh/sallyport/certs"
	configv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/config/v1"
)

// Authority is an issuer whose bundle is published. All methods may be called
// concurrently.
type Authority interface {
	// Bundle is what others verify its SVIDs with, with a sequence number that
	// grows with each change.
	Bundle() *spiffebundle.Bundle
	// Changed is closed when Bundle changes next, and perhaps for other reasons.
	Changed() <-chan struct{}
	// OwnSVIDs are SVIDs of spiffe://TRUST-DOMAIN/sallyport/authority/NAME, one
	// under each root of Bundle whose key is there, the newest root's first.
	OwnSVIDs() ([]*x509svid.SVID, error)
}

// signRetry is when to try again what failed.
const signRetry = 5 * time.Second

// Publisher says what an authority's bundle is, so that everybody can check it
// who holds an earlier one. It signs under each root that it has an SVID of, also
// when that root is gone from the bundle: until then somebody may know no other,
// and for him its word was good anyway.
type Publisher struct {
	authority Authority
	log       *zap.Logger

	mu       sync.Mutex // guards what follows
	shown    []root     // the oldest first
	document []byte
	of       *spiffebundle.Bundle // what document was made of
	fresh    time.Time            // when fresh SVIDs are due
	due      time.Time            // when the next signature is
	signed   *configv1.SignedBundle
	changed  chan struct{} // closed and replaced with signed
}

// root is the last SVID under one root.
type root struct {
	id   string
	svid *x509svid.SVID
}

// NewPublisher makes a publisher and signs the bundle once. log may be nil.
func NewPublisher(a Authority, log *zap.Logger) (*Publisher, error) {
	if log == nil {
		log = zap.NewNop()
	}
	p := &Publisher{authority: a, log: log.Named("federation"), changed: make(chan struct{})}
	_, err := p.renew(time.Now())
	return p, err
}

// Run signs again what changes, and as often as the bundle's hint says, so that
// who holds it can tell silence from nothing new. It returns when ctx ends.
func (p *Publisher) Run(ctx context.Context) error {
	for {
		changed := p.authority.Changed() // before it is looked at: nothing is missed
		wait, err := p.renew(time.Now())
		if err != nil {
			p.log.Error("bundle not signed", zap.Error(err))
			wait = signRetry
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-time.After(wait):
		}
	}
}

// renew signs the bundle if that is due, and says in how long it will be again.
func (p *Publisher) renew(now time.Time) (time.Duration, error) {
	b := p.authority.Bundle()
	p.mu.Lock()
	defer p.mu.Unlock()
	changed := !b.Equal(p.of)
	if !changed && now.Before(p.due) {
		return p.due.Sub(now), nil
	}
	if changed || !now.Before(p.fresh) {
		svids, err := p.authority.OwnSVIDs()
		if err != nil {
			return 0, fmt.Errorf("get SVIDs to sign the bundle with: %w", err)
		}
		p.show(svids, now)
	}
	if changed {
		document, err := b.Marshal()
		if err != nil {
			return 0, fmt.Errorf("write bundle: %w", err)
		}
		p.document, p.of = document, b
	}
	if err := p.sign(now); err != nil {
		return 0, err
	}
	wait := max(min(hint(b), p.fresh.Sub(now)), time.Second)
	p.due = now.Add(wait)
	return wait, nil
}

// sign signs with all SVIDs there are. The caller holds mu.
func (p *Publisher) sign(now time.Time) error {
	var signing []*x509svid.SVID
	for _, r := range p.shown[max(0, len(p.shown)-maxSignatures):] {
		if now.Before(r.svid.Certificates[0].NotAfter) {
			signing = append(signing, r.svid)
		}
	}
	if len(signing) == 0 {
		return errors.New("no SVID to sign the bundle with")
	}
	signed, err := sign(p.of.TrustDomain(), p.document, signing, now)
	if err != nil {
		return err
	}
	p.signed = signed
	close(p.changed)
	p.changed = make(chan struct{})
	return nil
}

// show takes fresh SVIDs, the newest root's first, beside those of roots before
// them that have not expired. The caller holds mu.
func (p *Publisher) show(fresh []*x509svid.SVID, now time.Time) {
	var next []root
	for _, svid := range slices.Backward(fresh) {
		next = append(next, root{rootOf(svid), svid})
	}
	var before []root
	for _, r := range p.shown {
		renewed := slices.ContainsFunc(next, func(n root) bool { return n.id == r.id })
		if !renewed && now.Before(r.svid.Certificates[0].NotAfter) {
			before = append(before, r)
		}
	}
	p.shown = append(before, next...)
	p.fresh = now.Add(maxHint)
	for _, r := range next {
		if half := now.Add(r.svid.Certificates[0].NotAfter.Sub(now) / 2); half.Before(p.fresh) {
			p.fresh = half
		}
	}
}

// rootOf names the root that an SVID's chain leads to.
func rootOf(svid *x509svid.SVID) string {
	last := svid.Certificates[len(svid.Certificates)-1]
	return string(last.RawIssuer) + string(last.AuthorityKeyId)
}

// Latest is the bundle as it was last signed, and a channel that is closed when it
// is signed again.
func (p *Publisher) Latest() (*configv1.SignedBundle, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.signed, p.changed
}

// SVIDs are those that have not expired, one for each root, the oldest root's
// first: the one that most others can verify.
func (p *Publisher) SVIDs() []*x509svid.SVID {
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []*x509svid.SVID
	for _, r := range p.shown {
		if now.Before(r.svid.Certificates[0].NotAfter) {
			all = append(all, r.svid)
		}
	}
	return all
}

// Bundle is the authority's own, as it is now.
func (p *Publisher) Bundle() *spiffebundle.Bundle { return p.authority.Bundle() }

// Certificate is how a bundle endpoint shows who it is: by the SVID under the
// oldest root that is still in the bundle. With the newest root's, an endpoint
// could not be reached by those who need it to learn of that root.
func (p *Publisher) Certificate() (*tls.Certificate, error) {
	b := p.authority.Bundle().X509Bundle()
	for _, svid := range p.SVIDs() {
		if _, err := certs.Verify(b, svid.Certificates, certs.AuthorizeID(svid.ID)); err == nil {
			return certs.Certificate(svid), nil
		}
	}
	return nil, errors.New("no SVID of the authority verifies under its own bundle")
}
