package ca

import (
	"crypto"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/sallyport-mesh/sallyport/certs/authority/keys"
	"github.com/sallyport-mesh/sallyport/certs/internal/issuer"
)

// ErrStep says that a rotation is not at that step.
var ErrStep = errors.New("not the next step of a rotation")

// Prepare makes a new root. It is in the bundle from now on and issues nothing.
// One rotation is done after the other: it fails with ErrStep while one goes on.
func (a *CA) Prepare(now time.Time) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.state.in(Prepared) != nil:
		return fmt.Errorf("prepare a root: %w: one is prepared already: activate or abandon it", ErrStep)
	case a.state.in(Old) != nil:
		return fmt.Errorf("prepare a root: %w: retire the old one before", ErrStep)
	}
	return a.change(func(s *state) error {
		g, err := a.generate(s, Prepared, now)
		if err != nil {
			return fmt.Errorf("prepare a root: %w", err)
		}
		s.Generations = append(s.Generations, *g)
		s.step(now)
		return nil
	})
}

// Activate has the prepared root issue. The one before is old, and stays in the
// bundle.
func (a *CA) Activate(now time.Time) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.state.in(Prepared) == nil {
		return fmt.Errorf("activate a root: %w: none is prepared", ErrStep)
	}
	return a.change(func(s *state) error {
		was, next := *s.in(Active), *s.in(Prepared)
		was.State, was.Since = Old, now.UTC()
		next.State, next.Since = Active, now.UTC()
		s.Generations = []generation{next, was}
		s.step(now) // its order in the bundle is another
		return nil
	})
}

// Retire takes the old root out of the bundle and destroys its keys.
func (a *CA) Retire(now time.Time) error { return a.end(Old, "retire a root", "none is old", now) }

// Abandon takes the prepared root out of the bundle and destroys its keys.
func (a *CA) Abandon(now time.Time) error {
	return a.end(Prepared, "abandon a root", "none is prepared", now)
}

func (a *CA) end(what State, doing, none string, now time.Time) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.state.in(what) == nil {
		return fmt.Errorf("%s: %w: %s", doing, ErrStep, none)
	}
	return a.change(func(s *state) error {
		s.drop(what)
		s.step(now)
		return nil
	})
}

// Renew gives every root whose intermediate is past half of its life a new one,
// and says when the next is due.
func (a *CA) Renew(now time.Time) (due time.Time, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	view := a.View()
	next, late := view.due(now)
	if !late {
		return next, nil
	}
	err = a.change(func(s *state) error {
		for i := range view.Generations { // as many as in s, and in its order
			if at, ok := view.Generations[i].renewAt(); !ok || now.Before(at) {
				continue
			}
			if err := a.intermediate(s, &s.Generations[i], now); err != nil {
				return fmt.Errorf("renew intermediate of root %d: %w", s.Generations[i].Number, err)
			}
		}
		return nil
	})
	next, _ = a.View().due(now)
	return next, err
}

// due is when the first intermediate wants to be replaced, and whether that is
// past. It is zero if none ever will be.
func (v *View) due(now time.Time) (first time.Time, late bool) {
	for i := range v.Generations {
		if at, ok := v.Generations[i].renewAt(); ok && (first.IsZero() || at.Before(first)) {
			first = at
		}
	}
	return first, !first.IsZero() && !now.Before(first)
}

// renewAt is half of the intermediate's life. There is nothing to renew without
// one, or where it ends with its root.
func (g *Generation) renewAt() (time.Time, bool) {
	cert := g.Issuer.Intermediate
	if cert == nil || !cert.NotAfter.Before(g.Issuer.Root.NotAfter) {
		return time.Time{}, false
	}
	return cert.NotBefore.Add(cert.NotAfter.Sub(cert.NotBefore) / 2), true
}

// Stolen reads the active generation of an authority from the files in its
// directory, without a lock: whoever can read them can issue. It is for tests
// that play a thief.
func Stolen(dir string, td spiffeid.TrustDomain) (*issuer.Issuer, error) {
	s, err := read(dir, td)
	if err != nil {
		return nil, err
	}
	disk, err := keys.OpenDisk(filepath.Join(dir, keysDir))
	if err != nil {
		return nil, err
	}
	return s.Generations[0].issuer(Config{TrustDomain: td, Keys: disk})
}

// StolenRoot is the key of the active root, read likewise.
func StolenRoot(dir string, td spiffeid.TrustDomain) (crypto.Signer, error) {
	s, err := read(dir, td)
	if err != nil {
		return nil, err
	}
	disk, err := keys.OpenDisk(filepath.Join(dir, keysDir))
	if err != nil {
		return nil, err
	}
	return disk.Load(s.Generations[0].Root.Key)
}
