package federation

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/protobuf/types/known/timestamppb"

	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
)

// Where a bundle came from.
const (
	FromFile      = "file"
	FromEndpoint  = "endpoint"
	FromStatement = "statement"
)

// Alarms. A publisher has been silent for too long after four times its own hint:
// new roots are to be published three to five times before they are used (SPIFFE
// Federation, section 4.1). All roots are about to end if the last of them has a
// quarter of its life left, or a week, whichever is less.
const (
	staleHints     = 4
	expiringWithin = 7 * 24 * time.Hour
	expiringPart   = 4
)

// take makes a bundle the one held, or confirms the one that is. The caller holds
// the keeper's mu.
func (e *entry) take(b *spiffebundle.Bundle, k kept) error {
	newer, err := e.held.yields(b)
	if err != nil {
		return err
	}
	next := &held{kept: k}
	if e.held != nil {
		next.Anchor = e.held.Anchor
		if k.File == "" {
			next.File = e.held.File
		}
		next.saved = e.held.saved
	}
	if newer {
		next.bundle, next.x509, next.jwt, next.saved = b, b.X509Bundle(), b.JWTBundle(), time.Time{}
	} else {
		next.bundle, next.x509, next.jwt = e.held.bundle, e.held.x509, e.held.jwt
		next.Document = e.held.Document
		if e.held.Refreshed.After(next.Refreshed) {
			next.Refreshed = e.held.Refreshed
		}
		if next.File != e.held.File {
			next.saved = time.Time{}
		}
	}
	e.held = next
	return nil
}

// look takes note of the anchor, and of when it changed. The first one that is
// seen is held against the one that was there when the bundle was last kept. The
// caller holds the keeper's mu.
func (e *entry) look(anchor *x509bundle.Bundle, now time.Time) {
	if anchor == nil {
		return
	}
	digest := digestOf(anchor)
	switch {
	case e.anchor != nil && digestOf(e.anchor) != digest,
		e.anchor == nil && e.held != nil && e.held.Anchor != "" && e.held.Anchor != digest:
		e.moved = now
	}
	e.anchor = anchor
	if e.held != nil {
		e.held.Anchor = digest
	}
}

// digestOf tells two bundles apart.
func digestOf(b *x509bundle.Bundle) string {
	h := sha256.New()
	for _, root := range b.X509Authorities() {
		h.Write(root.Raw)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// superseded says that the anchor counts again: nobody has confirmed the bundle
// held for too long, and the anchor has changed since. Without that, a publisher
// that stops for good would shut out whoever its trust domain admits later; an
// anchor that merely stays as it was brings nothing back.
func (e *entry) superseded(now time.Time) bool {
	return e.held != nil && e.held.stale(now) && e.moved.After(e.held.Refreshed)
}

// stale says that nobody has confirmed the bundle for too long. Nobody has
// promised to confirm a file.
func (h *held) stale(now time.Time) bool {
	return h.Origin != FromFile && now.Sub(h.Refreshed) > staleHints*hint(h.bundle)
}

// yields says whether a bundle is to take this one's place; false if it is this
// one.
func (h *held) yields(b *spiffebundle.Bundle) (bool, error) {
	if h == nil {
		return true, nil
	}
	old, had := h.bundle.SequenceNumber()
	now, has := b.SequenceNumber()
	switch {
	case !had && !has:
		return !same(h.bundle, b), nil // the most recent one counts: section 4.2
	case !had:
		return true, nil
	case !has:
		return false, fmt.Errorf("%w: it has no sequence number, and %d is held", ErrRollback, old)
	case now < old:
		return false, fmt.Errorf("%w: its sequence number is %d, and %d is held", ErrRollback, now, old)
	case now > old:
		return true, nil
	case !same(h.bundle, b):
		return false, fmt.Errorf("%w: %d", ErrForked, now)
	}
	return false, nil
}

func (h *held) sequence() uint64 { return sequence(h.bundle) }

// sequence is a bundle's sequence number; 0 if it has none.
func sequence(b *spiffebundle.Bundle) uint64 {
	n, _ := b.SequenceNumber()
	return n
}

// ends is when the last of the roots does, and how long it lives in all; zero if
// there are none.
func (h *held) ends() (last time.Time, life time.Duration) {
	for _, root := range h.x509.X509Authorities() {
		if root.NotAfter.After(last) {
			last, life = root.NotAfter, root.NotAfter.Sub(root.NotBefore)
		}
	}
	return last, life
}

// States are how things stand with each trust domain that one federates with, by
// name, at a time.
func (k *Keeper) States(now time.Time) []*controlv1.BundleStatus {
	var all []*controlv1.BundleStatus
	for _, td := range k.known() {
		if k.federates(td) {
			all = append(all, k.state(td, now))
		}
	}
	return all
}

func (k *Keeper) state(td spiffeid.TrustDomain, now time.Time) *controlv1.BundleStatus {
	k.mu.RLock()
	defer k.mu.RUnlock()
	e := k.entries[td]
	s := &controlv1.BundleStatus{TrustDomain: td.Name()}
	var why []string
	for _, origin := range slices.Sorted(maps.Keys(e.refused)) {
		why = append(why, origin+": "+e.refused[origin])
	}
	s.Refused = strings.Join(why, "; ")
	if e.held != nil {
		e.held.describe(s, now)
	}
	return s
}

func (h *held) describe(s *controlv1.BundleStatus, now time.Time) {
	last, life := h.ends()
	s.Sequence, s.Origin = h.sequence(), h.Origin
	s.Authorities = uint32(len(h.x509.X509Authorities()))
	s.Refreshed = timestamppb.New(h.Refreshed)
	if s.Authorities > 0 {
		s.Ends = timestamppb.New(last)
	}
	s.Stale = h.stale(now)
	s.Expiring = last.Sub(now) < min(expiringWithin, life/expiringPart)
}
