package ca

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/sallyport-mesh/sallyport/certs/authority/keys"
	"github.com/sallyport-mesh/sallyport/certs/durable"
)

// version is that of the state file's form.
const version = 1

// State is where in its life a root is.
type State string

// States of a root, in the order that it goes through them.
const (
	// Prepared: it is in the bundle, so that others learn it, and issues nothing.
	Prepared State = "prepared"
	// Active: it issues everything.
	Active State = "active"
	// Old: it issues nothing, and is in the bundle for what it has issued.
	Old State = "old"
)

// state is the state file.
type state struct {
	Version     int    `json:"version"`
	TrustDomain string `json:"trustDomain"`
	// Sequence is the bundle's (SPIFFE Trust Domain and Bundle, section 4.1.1).
	Sequence uint64 `json:"sequence"`
	// Next is the number of the next generation or intermediate: no name of a key
	// is given twice.
	Next        uint64       `json:"next"`
	Generations []generation `json:"generations"` // the active one first
	// Discard are keys that are of no use any more.
	Discard []string `json:"discard,omitempty"`
}

type generation struct {
	Number       uint64       `json:"number"`
	State        State        `json:"state"`
	Since        time.Time    `json:"since"`
	Root         certificate  `json:"root"`
	Intermediate *certificate `json:"intermediate,omitempty"`
	JWT          certificate  `json:"jwt"` // its DER is the public key (RFC 5280, 4.1.2.7)
}

// certificate is one with the name of its key.
type certificate struct {
	Key string `json:"key"`
	DER []byte `json:"der"`
}

func (c *certificate) parse() (*x509.Certificate, error) {
	cert, err := x509.ParseCertificate(c.DER)
	if err != nil {
		return nil, fmt.Errorf("certificate of key %q: %w", c.Key, err)
	}
	return cert, nil
}

func (g *generation) root() (*x509.Certificate, error) { return g.Root.parse() }

func (g *generation) checkJWT(pub crypto.PublicKey) error {
	der, err := publicKey(pub)
	if err != nil {
		return err
	}
	if !bytes.Equal(der, g.JWT.DER) {
		return fmt.Errorf("key %q is another one than it was", g.JWT.Key)
	}
	return nil
}

func publicKey(pub crypto.PublicKey) ([]byte, error) {
	if _, err := keys.CheckPublic(pub); err != nil {
		return nil, err
	}
	return x509.MarshalPKIXPublicKey(pub)
}

func (s *state) name(kind string) string { return fmt.Sprintf("%s-%d", kind, s.Next) }

// step is a new sequence number. It is the time, unless that went back, so that
// followers see it rise even over a directory that was lost.
func (s *state) step(now time.Time) {
	s.Sequence = max(s.Sequence+1, uint64(max(now.Unix(), 0)))
}

// in is the generation in a state; nil if there is none.
func (s *state) in(what State) *generation {
	for i := range s.Generations {
		if s.Generations[i].State == what {
			return &s.Generations[i]
		}
	}
	return nil
}

// drop takes a generation out, and says that its keys may go.
func (s *state) drop(what State) {
	s.Generations = slices.DeleteFunc(s.Generations, func(g generation) bool {
		if g.State != what {
			return false
		}
		s.Discard = append(s.Discard, g.Root.Key, g.JWT.Key)
		if g.Intermediate != nil {
			s.Discard = append(s.Discard, g.Intermediate.Key)
		}
		return true
	})
}

// clone is a copy that may be changed. What was discarded is gone by now.
func (s *state) clone() *state {
	c := *s
	c.Discard = nil
	c.Generations = slices.Clone(s.Generations)
	return &c
}

func (s *state) marshal() ([]byte, error) {
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write state of authority: %w", err)
	}
	return append(text, '\n'), nil
}

// read reads the state file; fs.ErrNotExist if there is none.
func read(dir string, td spiffeid.TrustDomain) (*state, error) {
	path := filepath.Join(dir, stateFile)
	text, err := durable.ReadPrivate(path)
	if err != nil {
		return nil, fmt.Errorf("read state of authority: %w", err)
	}
	s, err := parse(text)
	if err != nil {
		return nil, fmt.Errorf("read state of authority %q: %w", path, err)
	}
	if s.TrustDomain != td.Name() {
		return nil, fmt.Errorf("state of authority %q is of trust domain %q, want %q", path, s.TrustDomain, td.Name())
	}
	return s, nil
}

// parse reads a state strictly. What it takes is whole: one generation is active,
// at most one prepared, at most one old, and no key has two uses.
func parse(text []byte) (*state, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	s := &state{}
	if err := d.Decode(s); err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is more behind it")
	}
	if s.Version != version {
		return nil, fmt.Errorf("its version is %d, this program knows %d", s.Version, version)
	}
	return s, s.check()
}

func (s *state) check() error {
	if s.Sequence == 0 {
		return errors.New("no sequence number")
	}
	if len(s.Generations) == 0 || s.Generations[0].State != Active {
		return errors.New("the first root is not active")
	}
	seen := map[string]bool{}
	for i := range s.Generations {
		g := &s.Generations[i]
		if once := "state " + string(g.State); seen[once] {
			return fmt.Errorf("two roots are %s", g.State)
		} else {
			seen[once] = true
		}
		if err := g.check(s, seen); err != nil {
			return fmt.Errorf("root %d: %w", g.Number, err)
		}
	}
	for _, name := range s.Discard {
		if err := use(name, seen); err != nil {
			return err
		}
	}
	return nil
}

func (g *generation) check(s *state, seen map[string]bool) error {
	switch g.State {
	case Prepared, Active, Old:
	default:
		return fmt.Errorf("unknown state %q", g.State)
	}
	if g.Number == 0 || g.Number >= s.Next {
		return fmt.Errorf("its number is not below %d", s.Next)
	}
	certs := []*certificate{&g.Root}
	if g.Intermediate != nil {
		certs = append(certs, g.Intermediate)
	}
	for _, c := range certs {
		if err := use(c.Key, seen); err != nil {
			return err
		}
		if _, err := c.parse(); err != nil {
			return err
		}
	}
	pub, err := x509.ParsePKIXPublicKey(g.JWT.DER)
	if err != nil {
		return err
	}
	if _, ok := pub.(*ecdsa.PublicKey); !ok {
		return errors.New("the key of JWT-SVIDs is not an ECDSA key")
	}
	return use(g.JWT.Key, seen)
}

// use notes the use of a key's name, which must be the only one.
func use(name string, seen map[string]bool) error {
	if err := keys.CheckName(name); err != nil {
		return err
	}
	if seen["key "+name] {
		return fmt.Errorf("key %q has two uses", name)
	}
	seen["key "+name] = true
	return nil
}
