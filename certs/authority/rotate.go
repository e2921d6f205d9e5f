package authority

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/certs/authority/admin"
	"github.com/sallyport-mesh/sallyport/certs/authority/ca"
	"github.com/sallyport-mesh/sallyport/certs/authority/issued"
)

// ErrNotYet says that a step of a rotation would break what others do now.
var ErrNotYet = admin.ErrNotYet

const (
	// lookAgain bounds how long an intermediate's renewal waits: a clock may be set.
	lookAgain = time.Hour
	// retryRenewal is when a renewal that failed is tried again.
	retryRenewal = time.Minute
)

var _ admin.Roots = (*Authority)(nil)

// SetFollowers says how to learn which of those who are known to follow this trust
// domain's bundle lack one of a sequence number: their names, for people. It is
// asked before roots are activated and retired; if it fails, nobody knows.
func (a *Authority) SetFollowers(lacking func(sequence uint64) ([]string, error)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.lacking = lacking
}

// Roots are the roots of the bundle, the newest first.
func (a *Authority) Roots() []admin.Root {
	var roots []admin.Root
	for _, g := range slices.SortedFunc(slices.Values(a.ca.View().Generations), newestFirst) {
		r := admin.Root{
			Number: g.Number, State: string(g.State), Since: g.Since,
			Root:     admin.Certificate{SHA256: certs.Fingerprint(g.Issuer.Root), NotAfter: g.Issuer.Root.NotAfter},
			JWTKeyID: g.Issuer.JWTKeyID(),
		}
		if cert := g.Issuer.Intermediate; cert != nil {
			r.Intermediate = &admin.Certificate{SHA256: certs.Fingerprint(cert), NotAfter: cert.NotAfter}
		}
		roots = append(roots, r)
	}
	return roots
}

// PrepareRoot makes a new root, and a new key of JWT-SVIDs. Both are in the bundle
// from now on, and issue nothing. It fails with ca.ErrStep while a rotation goes on.
func (a *Authority) PrepareRoot() error { return a.rotate("prepared", a.ca.Prepare) }

// MayActivateRoot fails with ErrNotYet while somebody may not have learnt the
// prepared root: for as long as the bundle's refresh hint, and while a known
// follower lacks it.
func (a *Authority) MayActivateRoot() error {
	g := a.ca.View().In(ca.Prepared)
	if g == nil {
		return nil // ActivateRoot says so
	}
	if wait := g.Since.Add(a.cfg.RefreshHint).Sub(a.now()); wait > 0 {
		return fmt.Errorf("%w: who follows the bundle looks for it every %s: wait another %s",
			ErrNotYet, a.cfg.RefreshHint, wait.Round(time.Second))
	}
	return a.held(g)
}

// held fails while somebody lacks the bundle of now, which has the root in it.
func (a *Authority) held(g *ca.Generation) error {
	a.mu.Lock()
	lacking := a.lacking
	a.mu.Unlock()
	sequence, _ := a.ca.View().Bundle.SequenceNumber()
	who, err := lacking(sequence) // not under mu: it may be slow
	switch {
	case err != nil:
		return fmt.Errorf("%w: it is not known who holds root %d: %w", ErrNotYet, g.Number, err)
	case len(who) > 0:
		return fmt.Errorf("%w: root %d is not held by %s", ErrNotYet, g.Number, strings.Join(who, ", "))
	}
	return nil
}

// ActivateRoot issues everything under the prepared root from now on. All open
// streams get their new SVIDs at once.
func (a *Authority) ActivateRoot() error { return a.rotate("activated", a.ca.Activate) }

// MayRetireRoot fails with ErrNotYet while anything is valid that was issued under
// the old root, or while a known follower lacks the active one.
func (a *Authority) MayRetireRoot() error {
	view := a.ca.View()
	g := view.In(ca.Old)
	if g == nil {
		return nil // RetireRoot says so
	}
	until, err := issued.ValidUntil(a.cfg.Dir, g.Number, a.own.String())
	if err != nil {
		return err
	}
	// The log is bounded: what it may not hold any more was issued before the root
	// became old.
	if last := g.Since.Add(max(a.cfg.X509TTL, a.cfg.JWTTTL)); last.After(until) {
		until = last
	}
	if wait := until.Sub(a.now()); wait > 0 {
		return fmt.Errorf("%w: an SVID under root %d may be valid for another %s", ErrNotYet, g.Number, wait.Round(time.Second))
	}
	return a.held(view.Active())
}

// RetireRoot takes the old root out of the bundle, and destroys its keys.
func (a *Authority) RetireRoot() error { return a.rotate("retired", a.ca.Retire) }

// AbandonRoot takes a prepared root out of the bundle, and destroys its keys.
func (a *Authority) AbandonRoot() error { return a.rotate("abandoned", a.ca.Abandon) }

// rotate takes a step and tells all streams, even if what follows from the step
// could not be done as a whole.
func (a *Authority) rotate(what string, step func(time.Time) error) error {
	err := step(a.now())
	a.signal()
	if err == nil {
		a.log.Info("root "+what, zap.Any("roots", a.Roots()))
	}
	return err
}

// renew replaces intermediates until ctx ends.
func (a *Authority) renew(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
			timer.Reset(a.renewDue())
		}
	}
}

// renewDue replaces intermediates that are due and says when to look again.
func (a *Authority) renewDue() time.Duration {
	now := a.now()
	a.warnOfEnd(now)
	due, err := a.ca.Renew(now)
	if err != nil {
		a.log.Error("intermediate not renewed", zap.Error(err))
		return retryRenewal
	}
	if due.IsZero() {
		return lookAgain
	}
	return min(max(due.Sub(now), time.Second), lookAgain)
}

// warnOfEnd says in time that an operator must rotate the root.
func (a *Authority) warnOfEnd(now time.Time) {
	g := a.ca.View().Active()
	if left := g.Issuer.Root.NotAfter.Sub(now); left < 2*a.cfg.IntermediateLife {
		a.log.Warn("root ends: rotate it", zap.Uint64("root", g.Number), zap.Duration("left", left))
	}
}
