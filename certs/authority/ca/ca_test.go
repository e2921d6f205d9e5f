package ca

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/sallyport-mesh/sallyport/certs/durable"
)

const day = 24 * time.Hour

var (
	td    = spiffeid.RequireTrustDomainFromString("aws.example")
	agent = spiffeid.RequireFromPath(td, "/agent")
	begin = time.Now().Truncate(time.Second)
)

func config(t *testing.T) Config {
	t.Helper()
	return Config{
		TrustDomain: td, Dir: filepath.Join(t.TempDir(), "authority"),
		RootLife: 3650 * day, IntermediateLife: 30 * day, RefreshHint: time.Minute,
	}
}

func opened(t *testing.T, c Config, now time.Time) *CA {
	t.Helper()
	a, err := Open(c, now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return a
}

// check holds all that must be true of what is in force and of what is on disk,
// whatever happened before.
func check(t *testing.T, a *CA, now time.Time) {
	t.Helper()
	v := a.View()
	if v.Active().State != Active {
		t.Errorf("the first root is %s", v.Active().State)
	}
	hint, _ := v.Bundle.RefreshHint()
	if roots := v.Bundle.X509Authorities(); len(roots) != len(v.Generations) || len(v.Bundle.JWTAuthorities()) != len(roots) || hint != time.Minute {
		t.Errorf("a bundle of %d roots and %d JWT keys, refresh hint %v, for %d generations", len(roots), len(v.Bundle.JWTAuthorities()), hint, len(v.Generations))
	}
	for _, g := range v.Generations {
		svid, err := g.Issuer.X509SVID(agent, nil, now, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := x509svid.Verify(svid.Certificates, v.Bundle, x509svid.WithTime(now)); err != nil {
			t.Errorf("root %d: %v", g.Number, err)
		}
		token, err := g.Issuer.JWTSVID(agent, []string{"one"}, time.Now(), time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := jwtsvid.ParseAndValidate(token.Token, v.Bundle, []string{"one"}); err != nil {
			t.Errorf("root %d: %v", g.Number, err)
		}
	}
	onDisk, err := spiffebundle.Load(td, filepath.Join(a.cfg.Dir, bundleFile))
	if err != nil || !onDisk.Equal(v.Bundle) {
		t.Errorf("bundle.json is another bundle: %v", err)
	}
	if names, err := filepath.Glob(filepath.Join(a.cfg.Dir, "*.tmp")); err != nil || len(names) != 0 {
		t.Errorf("left behind: %v, %v", names, err)
	}
}

func states(a *CA) []State {
	var out []State
	for _, g := range a.View().Generations {
		out = append(out, g.State)
	}
	return out
}

// steps are a whole rotation.
var steps = []struct {
	name string
	do   func(*CA, time.Time) error
	want []State
}{
	{"prepare", (*CA).Prepare, []State{Active, Prepared}},
	{"activate", (*CA).Activate, []State{Active, Old}},
	{"retire", (*CA).Retire, []State{Active}},
}

func TestRotation(t *testing.T) {
	c := config(t)
	a := opened(t, c, begin)
	check(t, a, begin)
	first := a.View()
	for _, step := range steps {
		before, _ := a.View().Bundle.SequenceNumber()
		for _, other := range steps {
			if other.name != step.name {
				if err := other.do(a, begin); !errors.Is(err, ErrStep) {
					t.Errorf("%s before %s = %v", other.name, step.name, err)
				}
			}
		}
		if err := step.do(a, begin); err != nil {
			t.Fatal(err)
		}
		check(t, a, begin)
		if diff := cmp.Diff(step.want, states(a)); diff != "" {
			t.Errorf("after %s (-want +got):\n%s", step.name, diff)
		}
		if after, _ := a.View().Bundle.SequenceNumber(); after <= before {
			t.Errorf("%s: sequence number %d after %d", step.name, after, before)
		}
	}
	if a.View().Bundle.HasX509Authority(first.Active().Issuer.Root) {
		t.Error("the first root is still in the bundle")
	}
	files, err := filepath.Glob(filepath.Join(c.Dir, keysDir, "*"))
	if err != nil || len(files) != 3 {
		t.Errorf("keys of root, intermediate and JWTs are to be left, there are %v, %v", files, err)
	}
	a.Close()
	again := opened(t, c, begin.Add(time.Hour))
	check(t, again, begin)
	if !again.View().Bundle.Equal(a.View().Bundle) {
		t.Error("a restart changed the bundle")
	}
}

func TestAbandon(t *testing.T) {
	a := opened(t, config(t), begin)
	was := a.View().Active().Issuer.Root
	if err := a.Abandon(begin); !errors.Is(err, ErrStep) {
		t.Errorf("Abandon without a prepared root = %v", err)
	}
	for _, do := range []func(time.Time) error{a.Prepare, a.Abandon} {
		if err := do(begin); err != nil {
			t.Fatal(err)
		}
		check(t, a, begin)
	}
	if roots := a.View().Bundle.X509Authorities(); len(roots) != 1 || !roots[0].Equal(was) {
		t.Errorf("%d roots are left", len(roots))
	}
}

// TestCrash ends the process before each single effect of every step, and goes on
// from what is on disk.
func TestCrash(t *testing.T) {
	errCrash := errors.New("power is gone")
	type step = struct {
		name string
		do   func(*CA, time.Time) error
		want []State
	}
	all := slices.Concat([]step{{"open", func(*CA, time.Time) error { return nil }, []State{Active}}}, steps,
		[]step{{"renew", func(a *CA, now time.Time) error { _, err := a.Renew(now); return err }, []State{Active}}})
	at := []time.Time{begin, begin.Add(time.Minute), begin.Add(2 * time.Minute), begin.Add(3 * time.Minute), begin.Add(16 * day)}
	crashes := 0
	for fail := 1; ; fail++ {
		c := config(t)
		left, crashed := fail, false
		before := func() error {
			if left--; left == 0 {
				crashed = true
				return errCrash
			}
			return nil
		}
		var a *CA
		for i, step := range all {
			if a == nil {
				var err error
				if a, err = open(c, at[i], before); err != nil {
					if !errors.Is(err, errCrash) {
						t.Fatalf("crash %d, %s: %v", fail, step.name, err)
					}
					if a, err = open(c, at[i], before); err != nil {
						t.Fatalf("crash %d: open after it: %v", fail, err)
					}
				}
			}
			err := step.do(a, at[i])
			if errors.Is(err, errCrash) {
				a.Close()
				if a, err = open(c, at[i], before); err != nil {
					t.Fatalf("crash %d in %s: open after it: %v", fail, step.name, err)
				}
				check(t, a, at[i])
				if err = step.do(a, at[i]); errors.Is(err, ErrStep) {
					err = nil // it was done
				}
			}
			if err != nil {
				t.Fatalf("crash %d, %s: %v", fail, step.name, err)
			}
			check(t, a, at[i])
			if got := states(a); !slices.Equal(got, step.want) {
				t.Fatalf("crash %d: after %s there are %v, want %v", fail, step.name, got, step.want)
			}
		}
		a.Close()
		if !crashed {
			break
		}
		crashes++
	}
	if crashes < 20 {
		t.Errorf("only %d effects were crashed at", crashes)
	}
}

// TestFaultThenGoOn has a step fail in a process that lives on.
func TestFaultThenGoOn(t *testing.T) {
	for fail := 1; fail < 16; fail++ {
		a := opened(t, config(t), begin)
		left := fail
		a.before = func() error {
			if left--; left == 0 {
				return errors.New("disk is full")
			}
			return nil
		}
		for _, step := range steps {
			err := step.do(a, begin)
			if err != nil && !slices.Equal(states(a), step.want) {
				err = step.do(a, begin)
			}
			if err != nil && !slices.Equal(states(a), step.want) {
				t.Fatalf("fault %d, %s: %v", fail, step.name, err)
			}
		}
		if _, err := a.Renew(begin.Add(16 * day)); err != nil && left > 0 {
			t.Fatal(err)
		}
		begin := begin.Add(16 * day)
		check(t, a, begin)
	}
}

func TestRenew(t *testing.T) {
	c := config(t)
	a := opened(t, c, begin)
	first := a.View().Active().Issuer.Intermediate
	old, err := a.View().Active().Issuer.X509SVID(agent, nil, begin.Add(15*day-time.Minute), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	now := begin.Add(15*day - time.Minute)
	due, err := a.Renew(now)
	if err != nil || due.Before(now) || due.After(begin.Add(15*day)) || !a.View().Active().Issuer.Intermediate.Equal(first) {
		t.Errorf("before half of its life: due %v, %v", due, err)
	}
	sequence, _ := a.View().Bundle.SequenceNumber()
	now = begin.Add(15 * day)
	due, err = a.Renew(now)
	if err != nil || !due.After(now.Add(14*day)) {
		t.Errorf("at half of its life: due %v, %v", due, err)
	}
	check(t, a, now)
	if a.View().Active().Issuer.Intermediate.Equal(first) {
		t.Error("it is the same intermediate")
	}
	if _, _, err := x509svid.Verify(old.Certificates, a.View().Bundle, x509svid.WithTime(now)); err != nil {
		t.Errorf("an SVID of the intermediate before: %v", err)
	}
	if after, _ := a.View().Bundle.SequenceNumber(); after != sequence {
		t.Error("an intermediate is in no bundle, and yet its sequence number changed")
	}
	if files, _ := filepath.Glob(filepath.Join(c.Dir, keysDir, "intermediate-*")); len(files) != 1 {
		t.Errorf("keys of intermediates: %v", files)
	}
}

// TestRenewEndsWithRoot: an intermediate that ends with its root is the last.
func TestRenewEndsWithRoot(t *testing.T) {
	c := config(t)
	c.RootLife = 40 * day
	a := opened(t, c, begin)
	now := begin.Add(20 * day)
	if due, err := a.Renew(now); err != nil || !due.IsZero() {
		t.Errorf("Renew = %v, %v", due, err)
	}
	if in, root := a.View().Active().Issuer.Intermediate, a.View().Active().Issuer.Root; !in.NotAfter.Equal(root.NotAfter) {
		t.Errorf("the intermediate ends %v, the root %v", in.NotAfter, root.NotAfter)
	}
	last := a.View().Active().Issuer.Intermediate
	if due, err := a.Renew(now.Add(15 * day)); err != nil || !due.IsZero() || !a.View().Active().Issuer.Intermediate.Equal(last) {
		t.Errorf("Renew of the last = %v, %v", due, err)
	}
}

func TestSequenceSurvivesLossAndClock(t *testing.T) {
	a := opened(t, config(t), begin)
	first, _ := a.View().Bundle.SequenceNumber()
	lost := opened(t, config(t), begin.Add(time.Minute))
	if again, _ := lost.View().Bundle.SequenceNumber(); again <= first {
		t.Errorf("a directory made anew has %d after %d", again, first)
	}
	if err := a.Prepare(begin.Add(-time.Hour)); err != nil { // the clock was set back
		t.Fatal(err)
	}
	if again, _ := a.View().Bundle.SequenceNumber(); again <= first {
		t.Errorf("%d after %d with a clock that went back", again, first)
	}
}

// version0 writes a directory as version 0 of the authority made it.
func version0(t *testing.T, dir string) *x509.Certificate {
	t.Helper()
	key, jwt := newKey(t), newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(7), NotBefore: begin, NotAfter: begin.Add(3650 * day),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, BasicConstraintsValid: true,
		IsCA: true, MaxPathLenZero: true, URIs: []*url.URL{td.ID().URL()},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	root, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	for _, k := range []*ecdsa.PrivateKey{key, jwt} {
		der, err := x509.MarshalPKCS8PrivateKey(k)
		if err != nil {
			t.Fatal(err)
		}
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})...)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, legacyFile), text, 0o600); err != nil {
		t.Fatal(err)
	}
	return root
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// TestVersion0 takes over a directory of version 0, whatever it is interrupted by,
// and rotates to a root that has room for an intermediate.
func TestVersion0(t *testing.T) {
	for fail := range 8 {
		c := config(t)
		root := version0(t, c.Dir)
		left := fail
		a, err := open(c, begin, func() error {
			if left--; left == 0 {
				return errors.New("power is gone")
			}
			return nil
		})
		if err != nil {
			a, err = Open(c, begin)
		}
		if err != nil {
			t.Fatalf("crash %d: %v", fail, err)
		}
		a.before = func() error { return nil }
		check(t, a, begin)
		if g := a.View().Active(); !g.Issuer.Root.Equal(root) || g.Issuer.Intermediate != nil {
			t.Errorf("crash %d: another root, or an intermediate that it has no room for", fail)
		}
		if _, err := os.Stat(filepath.Join(c.Dir, legacyFile)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("crash %d: the file of version 0: %v", fail, err)
		}
		if due, err := a.Renew(begin.Add(1000 * day)); err != nil || !due.IsZero() {
			t.Errorf("Renew = %v, %v", due, err)
		}
		for _, step := range steps {
			if err := step.do(a, begin); err != nil {
				t.Fatal(err)
			}
			check(t, a, begin)
		}
		if a.View().Active().Issuer.Intermediate == nil {
			t.Error("the next root has no intermediate")
		}
		a.Close()
	}
}

func TestLocked(t *testing.T) {
	c := config(t)
	a := opened(t, c, begin)
	if _, err := Open(c, begin); !errors.Is(err, durable.ErrLocked) {
		t.Errorf("a second Open = %v", err)
	}
	a.Close()
	opened(t, c, begin)
}

// TestRefusedDirectories changes one thing in a good directory each time.
func TestRefusedDirectories(t *testing.T) {
	path := func(c Config, name ...string) string { return filepath.Join(append([]string{c.Dir}, name...)...) }
	edit := func(was, is string) func(*testing.T, Config) {
		return func(t *testing.T, c Config) {
			t.Helper()
			text, err := os.ReadFile(path(c, stateFile))
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Contains(text, []byte(was)) {
				t.Fatalf("no %q in the state", was)
			}
			if err := os.WriteFile(path(c, stateFile), bytes.Replace(text, []byte(was), []byte(is), 1), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	mode := func(m fs.FileMode, name ...string) func(*testing.T, Config) {
		return func(t *testing.T, c Config) {
			t.Helper()
			if err := os.Chmod(path(c, name...), m); err != nil {
				t.Fatal(err)
			}
		}
	}
	tests := []struct {
		name   string
		change func(*testing.T, Config)
		says   string
	}{
		{"state for others to read", mode(0o644, stateFile), "chmod 600"},
		{"key for others to read", mode(0o640, keysDir, "root-1.pem"), ""},
		{"intermediate's key for others to read", mode(0o640, keysDir, "intermediate-2.pem"), "chmod 600"},
		{"keys' directory for others", mode(0o755, keysDir), "chmod 700"},
		{"directory for others", mode(0o755), "chmod 700"},
		{"another trust domain", edit(`"aws.example"`, `"azure.example"`), "azure.example"},
		{"a later version", edit(`"version": 1`, `"version": 2`), "version is 2"},
		{"an unknown field", edit(`"version"`, `"x": 1, "version"`), "unknown field"},
		{"no active root", edit(`"active"`, `"prepared"`), "not active"},
		{"an unknown state", edit(`"prepared"`, `"tainted"`), "tainted"},
		{"two active roots", edit(`"prepared"`, `"active"`), "two roots are active"},
		{"one key twice", edit(`"jwt-1"`, `"root-1"`), "two uses"},
		{"a key that leads out", edit(`"jwt-1"`, `"../jwt"`), "only a-z"},
		{"another JWT key", edit(`"jwt-1"`, `"root-9"`), "no such file"},
		{"more behind it", edit("}\n", "}\n{}"), ""},
		{"half of it", func(t *testing.T, c Config) {
			t.Helper()
			if err := os.Truncate(path(c, stateFile), 300); err != nil {
				t.Fatal(err)
			}
		}, "unexpected EOF"},
		{"another key in its place", func(t *testing.T, c Config) {
			t.Helper()
			if err := os.Rename(path(c, keysDir, "root-1.pem"), path(c, keysDir, "intermediate-2.pem")); err != nil {
				t.Fatal(err)
			}
		}, "do not belong together"},
		{"another key of JWT-SVIDs", func(t *testing.T, c Config) {
			t.Helper()
			if err := os.Rename(path(c, keysDir, "root-1.pem"), path(c, keysDir, "jwt-1.pem")); err != nil {
				t.Fatal(err)
			}
		}, "another one than it was"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := config(t)
			a := opened(t, c, begin)
			if err := a.Prepare(begin); err != nil {
				t.Fatal(err)
			}
			a.Close()
			tt.change(t, c)
			a, err := Open(c, begin)
			if err == nil {
				err = a.Prepare(begin) // the root's key is not opened before it signs
				a.Close()
			}
			if err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("Open = %v, want %q", err, tt.says)
			}
		})
	}
}

func TestStolen(t *testing.T) {
	c := config(t)
	a := opened(t, c, begin)
	thief, err := Stolen(c.Dir, td)
	if err != nil {
		t.Fatal(err)
	}
	svid, err := thief.X509SVID(agent, nil, time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := x509svid.Verify(svid.Certificates, a.View().Bundle); err != nil {
		t.Error(err)
	}
}

func FuzzParse(f *testing.F) {
	dir := filepath.Join(f.TempDir(), "authority")
	a, err := Open(Config{TrustDomain: td, Dir: dir, RootLife: 3650 * day, IntermediateLife: 30 * day, RefreshHint: time.Minute}, begin)
	if err != nil {
		f.Fatal(err)
	}
	defer a.Close()
	for _, step := range append(slices.Clone(steps), steps[0]) {
		text, err := os.ReadFile(filepath.Join(dir, stateFile))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
		f.Add(text[:len(text)/2])
		if err := step.do(a, begin); err != nil {
			f.Fatal(err)
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := parse(text)
		if err != nil {
			return
		}
		if s.in(Active) != &s.Generations[0] {
			t.Error("the first root is not the active one")
		}
		out, err := s.marshal()
		if err != nil {
			t.Fatal(err)
		}
		again, err := parse(out)
		if err != nil {
			t.Fatalf("parse after marshal: %v", err)
		}
		if diff := cmp.Diff(s, again); diff != "" {
			t.Errorf("parse after marshal (-was +is):\n%s", diff)
		}
	})
}

func FuzzLegacy(f *testing.F) {
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if l, err := parseLegacy(text); err == nil && (l.root == nil || l.key == nil || l.jwt == nil) {
			t.Error("half a file was taken")
		}
	})
}
