// Package federation keeps the bundles of other trust domains current, and
// publishes one's own. A bundle comes from the other trust domain's bundle
// endpoint (SPIFFE Federation) or, signed by its authority, over a channel that
// nobody needs to trust; FORMAT.md says what is signed. The last good one is kept
// on disk. The package decides nothing about who may do what, and issues nothing.
//
// The one invariant: a bundle takes the place of another one only if the trust
// domain itself says so, by a root that was trusted until then, and never goes
// back to an earlier one.
package federation

import (
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// Why a bundle was not taken. An error of this package about a bundle is one of
// these by errors.Is.
var (
	// ErrUnknown says that there is no relationship with the trust domain, or that
	// it is one's own.
	ErrUnknown = errors.New("not a trust domain that this one federates with")
	// ErrMalformed says that it is no bundle, or not within the bounds.
	ErrMalformed = errors.New("not a bundle")
	// ErrUnverified says that no signature is by an authority of the trust domain
	// under the roots that are held.
	ErrUnverified = errors.New("not signed under a root that is trusted")
	// ErrRollback says that the bundle held is a later one.
	ErrRollback = errors.New("older than the bundle held")
	// ErrForked says that the bundle held has the same sequence number and is not
	// the same: somebody has said two things.
	ErrForked = errors.New("not the bundle held, with the same sequence number")
)

// The bounds of a bundle document. A trust domain has two or three roots while it
// rotates; what is far beyond was not made to be used.
const (
	maxDocument    = 256 << 10 // bytes
	maxAuthorities = 64        // of each kind
	maxTrustDomain = 200       // bytes of a name; a file is named for it
)

// How often a bundle is looked for whose hint says nothing sensible, and what is
// taken of one that does (SPIFFE Federation, section 4.1).
const (
	defaultHint = 5 * time.Minute
	minHint     = 10 * time.Second
	maxHint     = time.Hour
)

// authorityPath begins the path of the SPIFFE IDs that may sign a bundle. A
// gateway may not: one that is stolen could add a root of its own, which would
// outlive its revocation.
const authorityPath = "/sallyport/authority/"

// AuthorizeAuthority says whether an ID is that of an authority of a trust domain.
func AuthorizeAuthority(td spiffeid.TrustDomain, id spiffeid.ID) error {
	name, ok := strings.CutPrefix(id.Path(), authorityPath)
	if !id.MemberOf(td) || !ok || name == "" || strings.Contains(name, "/") {
		return fmt.Errorf("%s is no authority of %s", id, td)
	}
	return nil
}

// parse reads a bundle document that is to take another one's place, and judges it
// by itself.
func parse(td spiffeid.TrustDomain, document []byte, now time.Time) (*spiffebundle.Bundle, error) {
	b, err := parseAny(td, document)
	if err == nil && !usable(b, now) {
		return nil, fmt.Errorf("%w: none of its X.509 authorities is within its dates", ErrMalformed)
	}
	return b, err
}

// usable says whether a bundle has a root for now. One without any is good: its
// trust domain has revoked all it had (SPIFFE Trust Domain and Bundle, section
// 4.1.3).
func usable(b *spiffebundle.Bundle, now time.Time) bool {
	roots := b.X509Authorities()
	return len(roots) == 0 || slices.ContainsFunc(roots, func(root *x509.Certificate) bool {
		return !now.Before(root.NotBefore) && !now.After(root.NotAfter)
	})
}

// parseAny reads a bundle document of any date.
func parseAny(td spiffeid.TrustDomain, document []byte) (*spiffebundle.Bundle, error) {
	if len(td.Name()) > maxTrustDomain {
		return nil, fmt.Errorf("%w: the trust domain's name has %d bytes, at most %d are taken", ErrMalformed, len(td.Name()), maxTrustDomain)
	}
	if len(document) > maxDocument {
		return nil, fmt.Errorf("%w: %d bytes, at most %d are taken", ErrMalformed, len(document), maxDocument)
	}
	b, err := spiffebundle.Parse(td, document)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if err := check(b); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return b, nil
}

// check holds a bundle's authorities to the bounds.
func check(b *spiffebundle.Bundle) error {
	roots, jwt := b.X509Authorities(), len(b.JWTAuthorities())
	if len(roots) > maxAuthorities || jwt > maxAuthorities {
		return fmt.Errorf("%d X.509 and %d JWT authorities, at most %d are taken", len(roots), jwt, maxAuthorities)
	}
	for i, root := range roots {
		if err := checkRoot(b.TrustDomain(), root); err != nil {
			return fmt.Errorf("X.509 authority %d: %w", i, err)
		}
	}
	return nil
}

// checkRoot holds an authority to what a signing certificate is (X509-SVID,
// sections 3.2 and 4): a CA that, if it names a trust domain, names this one.
func checkRoot(td spiffeid.TrustDomain, root *x509.Certificate) error {
	if !root.BasicConstraintsValid || !root.IsCA {
		return errors.New("it is no CA")
	}
	if root.KeyUsage != 0 && root.KeyUsage&x509.KeyUsageCertSign == 0 {
		return errors.New("it may not sign certificates")
	}
	for _, uri := range root.URIs {
		if uri.Scheme == "spiffe" && uri.String() != td.IDString() {
			return fmt.Errorf("it is of %.256q", uri)
		}
	}
	return nil
}

// hint is how often a bundle's publisher wants it looked for, as far as that is
// sensible.
func hint(b *spiffebundle.Bundle) time.Duration {
	d, ok := b.RefreshHint()
	if !ok || d <= 0 {
		return defaultHint
	}
	return min(max(d, minHint), maxHint)
}

// same says whether two bundles hold the same authorities under the same number.
// A hint is advice: it may change by itself.
func same(a, b *spiffebundle.Bundle) bool {
	x, y := a.Clone(), b.Clone()
	x.ClearRefreshHint()
	y.ClearRefreshHint()
	return x.Equal(y)
}
