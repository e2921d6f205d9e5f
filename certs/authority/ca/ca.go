// Package ca keeps the keys and certificates that a trust domain's authority signs
// with, and replaces them: intermediates by itself, at half of their life; roots
// when an operator says so, step by step. It does not decide who gets an SVID.
//
// A root and the key of JWT-SVIDs that came with it are a generation. A new one is
// prepared (others learn it, nothing is issued by it), then active (all is issued
// by it, and the one before is old, but trusted), and when the old one is retired
// nobody trusts that any more. One invariant: whatever happens in between, what is
// on disk is one whole state, all of whose keys are there.
package ca

import (
	"crypto"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/sallyport-mesh/sallyport/certs/authority/keys"
	"github.com/sallyport-mesh/sallyport/certs/durable"
	"github.com/sallyport-mesh/sallyport/certs/internal/issuer"
)

// Files in the authority's directory.
const (
	stateFile  = "authority.json" // mode 0600: certificates, and the names of keys
	bundleFile = "bundle.json"    // mode 0644: for the other trust domains
	lockFile   = "lock"
	legacyFile = "authority.pem" // one root and its keys, as version 0 had it
	keysDir    = "keys"
)

// Config is what a CA is made of.
type Config struct {
	TrustDomain spiffeid.TrustDomain
	// Dir holds the state and bundle.json. It is made if it is missing.
	Dir string
	// Keys keep the keys; nil for files in Dir.
	Keys keys.Store
	// RootLife is how long a root lasts that is made from now on.
	RootLife time.Duration
	// IntermediateLife is how long an intermediate lasts; it is replaced at half
	// of it.
	IntermediateLife time.Duration
	// RefreshHint is how often others should look for the bundle.
	RefreshHint time.Duration
}

// CA is the generations of one trust domain. It holds a lock on its directory.
type CA struct {
	cfg     Config
	release func()
	// before is called before each effect on disk or on keys: tests stop there.
	before func() error

	view atomic.Pointer[View] // of state: nobody who issues waits while keys are made

	mu      sync.Mutex // guards what follows, and who changes view
	state   *state
	settled bool // what follows from state is done
}

// Open reads the state in the directory, or begins one where there is none. It
// fails with durable.ErrLocked while another process has it open.
func Open(c Config, now time.Time) (*CA, error) { return open(c, now, func() error { return nil }) }

func open(c Config, now time.Time, before func() error) (*CA, error) {
	if err := durable.MakePrivateDir(c.Dir); err != nil {
		return nil, fmt.Errorf("open directory of authority: %w", err)
	}
	if c.Keys == nil {
		disk, err := keys.OpenDisk(filepath.Join(c.Dir, keysDir))
		if err != nil {
			return nil, err
		}
		c.Keys = disk
	}
	release, err := durable.Lock(filepath.Join(c.Dir, lockFile))
	if err != nil {
		return nil, fmt.Errorf("open directory of authority: %w", err)
	}
	a := &CA{cfg: c, release: release, before: before}
	if err := a.load(now); err != nil {
		release()
		return nil, err
	}
	return a, nil
}

// Close gives the directory free.
func (a *CA) Close() { a.release() }

func (a *CA) load(now time.Time) error {
	s, err := read(a.cfg.Dir, a.cfg.TrustDomain)
	if errors.Is(err, fs.ErrNotExist) {
		if s, err = a.begin(now); err == nil {
			err = a.save(s)
		}
	}
	if err != nil {
		return err
	}
	v, err := newView(s, a.cfg)
	if err != nil {
		return err
	}
	a.state = s
	a.view.Store(v)
	return a.settle()
}

// begin is the first state: what version 0 left, or one new generation.
func (a *CA) begin(now time.Time) (*state, error) {
	s := &state{Version: version, TrustDomain: a.cfg.TrustDomain.Name(), Next: 1}
	s.step(now)
	g, err := a.adopt(s, now)
	if errors.Is(err, fs.ErrNotExist) {
		g, err = a.generate(s, Active, now)
	}
	if err != nil {
		return nil, err
	}
	s.Generations = []generation{*g}
	return s, nil
}

// adopt takes over the root and the keys of version 0.
func (a *CA) adopt(s *state, now time.Time) (*generation, error) {
	old, err := readLegacy(filepath.Join(a.cfg.Dir, legacyFile))
	if err != nil {
		return nil, err
	}
	into, ok := a.cfg.Keys.(*keys.Disk)
	if !ok {
		return nil, fmt.Errorf("%s holds a root whose key was made on disk: rotate to a new root with keys on disk first", legacyFile)
	}
	g := &generation{Number: s.Next, State: Active, Since: now.UTC(), Root: certificate{Key: s.name("root"), DER: old.root.Raw}}
	g.JWT = certificate{Key: s.name("jwt")}
	if g.JWT.DER, err = publicKey(&old.jwt.PublicKey); err != nil {
		return nil, err
	}
	s.Next++
	for name, key := range map[string]*ecdsa.PrivateKey{g.Root.Key: old.key, g.JWT.Key: old.jwt} {
		if err := a.before(); err != nil {
			return nil, err
		}
		if err := into.Import(name, key); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
	}
	return g, nil
}

// generate makes a generation with its keys.
func (a *CA) generate(s *state, in State, now time.Time) (*generation, error) {
	g := &generation{Number: s.Next, State: in, Since: now.UTC()}
	rootKey, err := a.makeKey(s, "root", &g.Root.Key)
	if err != nil {
		return nil, err
	}
	jwtKey, err := a.makeKey(s, "jwt", &g.JWT.Key)
	if err != nil {
		return nil, err
	}
	if g.JWT.DER, err = publicKey(jwtKey.Public()); err != nil {
		return nil, err
	}
	s.Next++
	root, err := issuer.Root(a.cfg.TrustDomain, rootKey, now, a.cfg.RootLife)
	if err != nil {
		return nil, err
	}
	g.Root.DER = root.Raw
	return g, a.intermediate(s, g, now)
}

// intermediate gives a generation a new one. The one before it goes with its key:
// what it signed carries its certificate along.
func (a *CA) intermediate(s *state, g *generation, now time.Time) error {
	root, err := g.root()
	if err != nil || issuer.Direct(root) {
		return err
	}
	rootKey, err := a.cfg.Keys.Load(g.Root.Key)
	if err != nil {
		return err
	}
	next := &certificate{}
	key, err := a.makeKey(s, "intermediate", &next.Key)
	if err != nil {
		return err
	}
	s.Next++
	cert, err := issuer.Intermediate(a.cfg.TrustDomain, root, rootKey, key.Public(), now, a.cfg.IntermediateLife)
	if err != nil {
		return err
	}
	next.DER = cert.Raw
	if g.Intermediate != nil {
		s.Discard = append(s.Discard, g.Intermediate.Key)
	}
	g.Intermediate = next
	return nil
}

// makeKey makes a key of the next number. One of that name may be there, of an
// attempt that did not get as far as the state: nothing was signed with it that
// anybody has seen.
func (a *CA) makeKey(s *state, kind string, name *string) (crypto.Signer, error) {
	if err := a.before(); err != nil {
		return nil, err
	}
	*name = s.name(kind)
	key, err := keys.Ensure(a.cfg.Keys, *name)
	if err != nil {
		return nil, err
	}
	if _, err := keys.CheckPublic(key.Public()); err != nil {
		return nil, fmt.Errorf("make key %q: %w", *name, err)
	}
	return key, nil
}

// change makes another state of the one there is, and puts it in force once it is
// durable. The caller holds mu.
func (a *CA) change(do func(*state) error) error {
	if !a.settled {
		if err := a.settle(); err != nil {
			return err
		}
	}
	next := a.state.clone()
	if err := do(next); err != nil {
		return err
	}
	view, err := newView(next, a.cfg)
	if err != nil {
		return err
	}
	if err := a.save(next); err != nil {
		return err
	}
	a.state, a.settled = next, false
	a.view.Store(view)
	return a.settle()
}

func (a *CA) save(s *state) error {
	if err := a.before(); err != nil {
		return err
	}
	text, err := s.marshal()
	if err != nil {
		return err
	}
	if err := durable.Replace(filepath.Join(a.cfg.Dir, stateFile), text, 0o600); err != nil {
		return fmt.Errorf("write state of authority: %w", err)
	}
	return nil
}

// settle does what follows from the state, any number of times: the bundle for
// others, and the end of keys that no state needs.
func (a *CA) settle() error {
	doc, err := a.View().Bundle.Marshal()
	if err != nil {
		return fmt.Errorf("write bundle: %w", err)
	}
	if err := a.before(); err != nil {
		return err
	}
	if err := durable.Replace(filepath.Join(a.cfg.Dir, bundleFile), doc, 0o644); err != nil {
		return fmt.Errorf("write bundle: %w", err)
	}
	for _, name := range a.state.Discard {
		if err := a.before(); err != nil {
			return err
		}
		if err := a.cfg.Keys.Remove(name); err != nil {
			return err
		}
	}
	if err := a.before(); err != nil {
		return err
	}
	if err := durable.Remove(filepath.Join(a.cfg.Dir, legacyFile)); err != nil {
		return err
	}
	a.settled = true
	return nil
}

// View is what is in force.
func (a *CA) View() *View { return a.view.Load() }

// View is the generations at one moment. It is shared: nobody writes to it.
type View struct {
	// Bundle is what others verify with: every generation's root and JWT key.
	Bundle *spiffebundle.Bundle
	// Generations begin with the active one.
	Generations []Generation
}

// Active is the generation that issues.
func (v *View) Active() *Generation { return &v.Generations[0] }

// In is the generation in a state; nil if there is none.
func (v *View) In(s State) *Generation {
	for i := range v.Generations {
		if v.Generations[i].State == s {
			return &v.Generations[i]
		}
	}
	return nil
}

// Generation is a root and what issues under it.
type Generation struct {
	Number uint64
	State  State
	// Since is when it got into State.
	Since  time.Time
	Issuer *issuer.Issuer
}

func newView(s *state, c Config) (*View, error) {
	v := &View{Bundle: spiffebundle.New(c.TrustDomain)}
	for i := range s.Generations {
		g := &s.Generations[i]
		i, err := g.issuer(c)
		if err != nil {
			return nil, fmt.Errorf("root %d: %w", g.Number, err)
		}
		i.AddTo(v.Bundle)
		v.Generations = append(v.Generations, Generation{Number: g.Number, State: g.State, Since: g.Since, Issuer: i})
	}
	v.Bundle.SetSequenceNumber(s.Sequence)
	v.Bundle.SetRefreshHint(c.RefreshHint)
	return v, nil
}

// issuer loads the keys of a generation and checks that they are its own.
func (g *generation) issuer(c Config) (*issuer.Issuer, error) {
	root, err := g.root()
	if err != nil {
		return nil, err
	}
	p := issuer.Parts{TrustDomain: c.TrustDomain, Root: root}
	name := g.Root.Key
	if g.Intermediate != nil {
		name = g.Intermediate.Key
		if p.Intermediate, err = g.Intermediate.parse(); err != nil {
			return nil, err
		}
	}
	if p.Key, err = c.Keys.Load(name); err != nil {
		return nil, err
	}
	if p.JWTKey, err = c.Keys.Load(g.JWT.Key); err != nil {
		return nil, err
	}
	if err := g.checkJWT(p.JWTKey.Public()); err != nil {
		return nil, err
	}
	return issuer.New(p)
}
