package federation

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/sallyport-mesh/sallyport/certs"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
)

func TestSequence(t *testing.T) {
	a := newAuthority(t, aws)
	first := a.signed()
	a.add(a.newRoot())
	second := a.signed()
	fork := newAuthority(t, aws)
	fork.roots[0] = a.roots[0] // the same root says two things under one number
	fork.add(fork.newRoot())
	k := keeper(t, "", a)
	changed := k.Changed()
	for _, step := range []struct {
		name string
		err  error
		took uint64
	}{
		{"second", k.Accept(second), 2},
		{"second again", k.Accept(second), 2},
	} {
		if step.err != nil || k.sequenceOf(aws) != step.took {
			t.Errorf("%s: %v, sequence %d", step.name, step.err, k.sequenceOf(aws))
		}
	}
	<-changed
	changed = k.Changed()
	if err := k.Accept(first); !errors.Is(err, ErrRollback) {
		t.Errorf("an older one: %v", err)
	}
	if err := k.Accept(fork.signed()); !errors.Is(err, ErrForked) {
		t.Errorf("another of the same number: %v", err)
	}
	if err := k.Fetched(aws, first.GetDocument()); !errors.Is(err, ErrRollback) {
		t.Errorf("an older one from an endpoint: %v", err)
	}
	s := k.States(time.Now())[0]
	if s.GetSequence() != 2 || !strings.Contains(s.GetRefused(), "endpoint: "+ErrRollback.Error()) || !strings.Contains(s.GetRefused(), "statement: "+ErrForked.Error()) {
		t.Errorf("state: %v", s)
	}
	select {
	case <-changed:
		t.Error("told of a change, and there was none")
	default:
	}
	if err := errors.Join(k.Accept(second), k.Fetched(aws, second.GetDocument())); err != nil {
		t.Fatal(err)
	}
	if s := k.States(time.Now())[0]; s.GetRefused() != "" {
		t.Errorf("after good ones: %v", s)
	}
}

// TestChainOfCustody: each bundle is judged by the one before, not by what is in
// itself or by what counted long ago.
func TestChainOfCustody(t *testing.T) {
	a := newAuthority(t, aws)
	stolen := a.newest()
	k := keeper(t, "", a)
	a.add(a.newRoot())
	if err := k.Accept(a.signed()); err != nil {
		t.Fatal(err)
	}
	a.drop()
	if err := k.Accept(a.signed()); err != nil {
		t.Fatal(err)
	}
	if len(k.X509Bundle(aws).X509Authorities()) != 1 {
		t.Fatal("the old root is still there")
	}
	a.add(a.newRoot())
	forged := signAs(t, aws.Name(), documentOf(t, a.Bundle()), time.Now(), svidOf(t, stolen, testName))
	if err := k.Accept(forged); !errors.Is(err, ErrUnverified) {
		t.Errorf("signed under the root that is gone, which is still the anchor: %v", err)
	}
	if k.sequenceOf(aws) != 3 {
		t.Errorf("sequence %d", k.sequenceOf(aws))
	}
}

// TestMissedOverlap: the last word of the old root leads on who missed the rest.
func TestMissedOverlap(t *testing.T) {
	a := newAuthority(t, aws)
	k := keeper(t, "", a)
	p, err := NewPublisher(a, nil)
	if err != nil {
		t.Fatal(err)
	}
	a.add(a.newRoot())
	a.drop()
	if _, err := p.renew(time.Now()); err != nil {
		t.Fatal(err)
	}
	signed, _ := p.Latest()
	if n := len(signed.GetSignatures()); n != 2 {
		t.Fatalf("%d signatures, want that of the old root as well", n)
	}
	if err := k.Accept(signed); err != nil || k.sequenceOf(aws) != 3 {
		t.Errorf("Accept() = %v, sequence %d", err, k.sequenceOf(aws))
	}
}

// TestWaiting: what cannot be verified yet is judged again once it can.
func TestWaiting(t *testing.T) {
	a := newAuthority(t, aws)
	var told int
	k := keeperOf(t, Config{Self: self, Anchor: anchors(a.Bundle()), OnChange: func() { told++ }})
	a.add(a.newRoot())
	both := a.Bundle()
	a.drop()
	only := a.signed() // under the new root alone
	if err := k.Accept(only); !errors.Is(err, ErrUnverified) {
		t.Fatal(err)
	}
	if err := k.Fetched(aws, documentOf(t, both)); err != nil {
		t.Fatal(err)
	}
	if got := k.sequenceOf(aws); got != 3 || told != 2 {
		t.Errorf("sequence %d, told %d times", got, told)
	}
	if s := k.States(time.Now())[0]; s.GetRefused() != "" {
		t.Errorf("state: %v", s)
	}
}

// TestAnchorsComeLater: a statement that came before its trust domain was known.
func TestAnchorsComeLater(t *testing.T) {
	a := newAuthority(t, aws)
	k := keeperOf(t, Config{Self: self, Peers: []spiffeid.TrustDomain{aws}})
	if err := k.Accept(a.signed()); !errors.Is(err, ErrUnverified) {
		t.Fatal(err)
	}
	if err := k.Local(aws, documentOf(t, a.Bundle())); err != nil {
		t.Fatal(err)
	}
	if s := k.States(time.Now())[0]; s.GetOrigin() != FromFile && s.GetRefused() != "" {
		t.Errorf("state: %v", s)
	}
	k.Reconsider()
	if got := k.sequenceOf(aws); got != 1 {
		t.Errorf("sequence %d", got)
	}
}

func TestFederationEndsWithTheAnchor(t *testing.T) {
	a := newAuthority(t, aws)
	anchor := anchors(a.Bundle())
	known := true
	k := keeperOf(t, Config{Self: self, Anchor: func(td spiffeid.TrustDomain) *x509bundle.Bundle {
		if known {
			return anchor(td)
		}
		return nil
	}})
	if err := k.Accept(a.signed()); err != nil || k.X509Bundle(aws) == nil || len(k.Bundles()) != 1 {
		t.Fatal(err)
	}
	known = false
	if k.X509Bundle(aws) != nil || k.JWTBundle(aws) != nil || len(k.Bundles()) != 0 || len(k.States(time.Now())) != 0 {
		t.Error("its bundle still counts")
	}
	if err := k.Accept(a.signed()); !errors.Is(err, ErrUnknown) {
		t.Errorf("Accept() = %v", err)
	}
}

func TestLocal(t *testing.T) {
	dir := t.TempDir()
	a := newAuthority(t, aws)
	plain := a.Bundle()
	plain.ClearSequenceNumber()
	file := documentOf(t, plain)
	cfg := Config{Self: self, Peers: []spiffeid.TrustDomain{aws}, Dir: dir}
	k := keeperOf(t, cfg)
	if err := k.Local(aws, []byte(`{"keys":[]}`)); !errors.Is(err, ErrMalformed) {
		t.Errorf("a file without roots: %v", err)
	}
	if err := k.Local(aws, file); err != nil {
		t.Fatal(err)
	}
	if s := k.States(time.Now().AddDate(1, 0, 0))[0]; s.GetStale() || s.GetOrigin() != FromFile {
		t.Errorf("a file is stale: %v", s)
	}
	a.add(a.newRoot())
	if err := k.Accept(a.signed()); err != nil {
		t.Fatal(err)
	}
	if err := k.Local(aws, file); err != nil || k.sequenceOf(aws) != 2 {
		t.Errorf("the same file again: %v, sequence %d", err, k.sequenceOf(aws))
	}
	k = keeperOf(t, cfg)
	if err := k.Local(aws, file); err != nil || k.sequenceOf(aws) != 2 {
		t.Errorf("the same file after a restart: %v, sequence %d", err, k.sequenceOf(aws))
	}
	// What the operator puts there now counts, whatever came before.
	reborn := newAuthority(t, aws)
	b := reborn.Bundle()
	b.ClearSequenceNumber()
	if err := k.Local(aws, documentOf(t, b)); err != nil || !k.X509Bundle(aws).HasX509Authority(b.X509Authorities()[0]) {
		t.Errorf("another file: %v", err)
	}
	if err := k.Accept(reborn.signed()); err != nil || k.sequenceOf(aws) != 1 {
		t.Errorf("what follows it: %v, sequence %d", err, k.sequenceOf(aws))
	}
	if err := k.Local(aws, documentOf(t, a.Bundle())); err != nil {
		t.Errorf("a file with a higher number: %v", err)
	}
	// An authority that has lost its state begins to count anew, and its operator
	// says so, where only he has said anything before.
	if err := k.Local(aws, documentOf(t, reborn.Bundle())); err != nil || k.sequenceOf(aws) != 1 {
		t.Errorf("a file with a lower number: %v, sequence %d", err, k.sequenceOf(aws))
	}
}

// TestOldCopy: a file that comes late brings nothing back, until nobody else says
// what is right.
func TestOldCopy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(t, aws)
		a.add(a.newRoot())
		both := a.Bundle()
		k := keeperOf(t, Config{Self: self, Peers: []spiffeid.TrustDomain{aws}})
		if err := k.Local(aws, documentOf(t, both)); err != nil {
			t.Fatal(err)
		}
		removed := svidOf(t, a.roots[0], testName)
		a.drop()
		if err := k.Accept(a.signed()); err != nil {
			t.Fatal(err)
		}
		both.SetRefreshHint(time.Hour) // another content, with the old number
		copied := documentOf(t, both)
		if err := k.Local(aws, copied); !errors.Is(err, ErrRollback) || trusts(k, removed) {
			t.Errorf("a copy that came late: %v", err)
		}
		<-time.After(staleHints*a.hint + 2*time.Second)
		if err := k.Local(aws, copied); err != nil || !trusts(k, removed) {
			t.Errorf("the operator's last word: %v", err)
		}
	})
}

// TestRestart: the last good bundle is there without anybody to ask, and what
// came before it does not come back.
func TestRestart(t *testing.T) {
	dir := t.TempDir()
	a := newAuthority(t, aws)
	first := a.signed()
	anchor := anchors(a.Bundle())
	k := keeperOf(t, Config{Self: self, Anchor: anchor, Dir: dir})
	a.add(a.newRoot())
	if err := k.Accept(a.signed()); err != nil {
		t.Fatal(err)
	}
	k = keeperOf(t, Config{Self: self, Anchor: anchor, Dir: dir})
	if k.sequenceOf(aws) != 2 || len(k.X509Bundle(aws).X509Authorities()) != 2 || k.JWTBundle(aws) == nil {
		t.Errorf("sequence %d", k.sequenceOf(aws))
	}
	if err := k.Accept(first); !errors.Is(err, ErrRollback) {
		t.Errorf("an older one after a restart: %v", err)
	}
	if info, err := os.Stat(filepath.Join(dir, "bundle-aws.test.json")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("file: %v, %v", info, err)
	}
}

func TestDamagedFiles(t *testing.T) {
	a := newAuthority(t, aws)
	for name, damage := range map[string]func(text string) string{
		"cut":              func(text string) string { return text[:len(text)/2] },
		"another document": func(text string) string { return strings.Replace(text, `"document":"{`, `"document":"{ `, 1) },
		"unknown field":    func(text string) string { return strings.Replace(text, `{"trust`, `{"x":1,"trust`, 1) },
		"empty":            func(string) string { return "" },
		"huge":             func(text string) string { return text + strings.Repeat(" ", maxFile) },
		"another domain":   func(text string) string { return strings.Replace(text, `"aws.test"`, `"azure.test"`, 1) },
		"no trust domain":  func(text string) string { return strings.Replace(text, `"aws.test"`, `"A B"`, 1) },
		"no bundle, signed": func(string) string {
			return `{"trustDomain":"aws.test","document":"","sha256":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}`
		},
	} {
		dir := t.TempDir()
		if err := keeper(t, dir, a).Accept(a.signed()); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, "bundle-aws.test.json")
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(damage(string(text))), 0o600); err != nil {
			t.Fatal(err)
		}
		k := keeper(t, dir, a)
		if k.X509Bundle(aws) != nil {
			t.Errorf("%s: it is in force", name)
		}
		if err := k.Accept(a.signed()); err != nil {
			t.Errorf("%s: a new one: %v", name, err)
		}
	}
}

// TestDiskFails: a root that was removed is not trusted because a disk is full.
func TestDiskFails(t *testing.T) {
	dir := t.TempDir()
	a := newAuthority(t, aws)
	a.add(a.newRoot())
	k := keeper(t, dir, a)
	block := filepath.Join(dir, "bundle-aws.test.json", "x") // a directory is not replaced by a file
	if err := os.MkdirAll(block, 0o700); err != nil {
		t.Fatal(err)
	}
	a.drop()
	if err := k.Accept(a.signed()); err != nil || len(k.X509Bundle(aws).X509Authorities()) != 1 {
		t.Fatalf("Accept() = %v", err)
	}
	if err := os.RemoveAll(filepath.Dir(block)); err != nil {
		t.Fatal(err)
	}
	if err := k.Accept(a.signed()); err != nil {
		t.Fatal(err)
	}
	if k = keeper(t, dir, a); k.sequenceOf(aws) != 3 {
		t.Error("it was not tried again")
	}
	if _, err := Open(Config{Self: self, Dir: filepath.Join(dir, "bundle-aws.test.json")}); err == nil {
		t.Error("a file was opened as a directory")
	}
	if _, err := Open(Config{}); err == nil {
		t.Error("a keeper of nobody was opened")
	}
}

func TestAlarms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(t, aws)
		k := keeper(t, "", a)
		if err := k.Accept(a.signed()); err != nil {
			t.Fatal(err)
		}
		state := func() *controlv1.BundleStatus { return k.States(time.Now())[0] }
		if s := state(); s.GetStale() || s.GetExpiring() || s.GetAuthorities() != 1 || s.GetOrigin() != FromStatement {
			t.Errorf("fresh: %v", s)
		}
		<-time.After(staleHints * a.hint)
		if s := state(); s.GetStale() {
			t.Errorf("after four hints: %v", s)
		}
		<-time.After(2 * time.Second)
		if s := state(); !s.GetStale() {
			t.Errorf("after more than four hints: %v", s)
		}
		if k.X509Bundle(aws) == nil {
			t.Error("a stale bundle is not used")
		}
		// What was signed before is no news, what is signed now is.
		if err := k.Accept(a.signed()); err != nil || state().GetStale() {
			t.Errorf("confirmed: %v, %v", err, state())
		}
		end := k.X509Bundle(aws).X509Authorities()[0].NotAfter
		<-time.After(time.Until(end) - expiringWithin - time.Hour)
		if s := state(); s.GetExpiring() {
			t.Errorf("more than a week before the end: %v", s)
		}
		<-time.After(2 * time.Hour)
		if s := state(); !s.GetExpiring() || !s.GetEnds().AsTime().Equal(end) {
			t.Errorf("a week before the end: %v", s)
		}
	})
}

// TestReplayedConfirmation: who carries bundles cannot make an old one look fresh.
func TestReplayedConfirmation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(t, aws)
		k, old := keeper(t, "", a), a.signed()
		if err := k.Accept(old); err != nil {
			t.Fatal(err)
		}
		<-time.After(staleHints*a.hint + 2*time.Second)
		if err := k.Accept(old); err != nil {
			t.Fatal(err)
		}
		if s := k.States(time.Now())[0]; !s.GetStale() {
			t.Errorf("fresh again: %v", s)
		}
		<-time.After(time.Hour) // the SVID that signed it is gone
		if err := k.Accept(old); !errors.Is(err, ErrUnverified) {
			t.Errorf("Accept() = %v", err)
		}
	})
}

// TestEverythingRevoked: a trust domain may end itself.
func TestEverythingRevoked(t *testing.T) {
	a := newAuthority(t, aws)
	k := keeper(t, "", a)
	last := svidOf(t, a.newest(), testName)
	a.drop()
	s, err := sign(aws, []byte(`{"spiffe_sequence":2,"keys":[]}`), []*x509svid.SVID{last}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Accept(s); err != nil {
		t.Fatal(err)
	}
	if _, err := certs.Verify(k, last.Certificates, certs.AuthorizeAny()); !errors.Is(err, certs.ErrUntrusted) {
		t.Errorf("Verify() = %v", err)
	}
	if s := k.States(time.Now())[0]; !s.GetExpiring() || s.GetEnds() != nil {
		t.Errorf("state: %v", s)
	}
}

func TestSourceTakesTheKeepersBundles(t *testing.T) {
	a := newAuthority(t, aws)
	onprem := newAuthority(t, self)
	source := onprem.newest().Source("/sallyport/gateway/onprem-1")
	k, err := Open(Config{Self: self, Anchor: anchors(a.Bundle(), onprem.Bundle()), OnChange: source.Notify})
	if err != nil {
		t.Fatal(err)
	}
	source.SetForeign(k)
	updated, stop := source.Subscribe()
	defer stop()
	peer := svidOf(t, a.newest(), "/sallyport/gateway/aws-1").Certificates
	if _, err := source.Verify(peer, certs.AuthorizeAny()); err == nil {
		t.Error("a peer of a trust domain that nobody knows was let in")
	}
	if err := k.Accept(a.signed()); err != nil {
		t.Fatal(err)
	}
	<-updated
	if _, err := source.Verify(peer, certs.AuthorizeAny()); err != nil {
		t.Errorf("Verify() = %v", err)
	}
	a.add(a.newRoot())
	if err := k.Accept(a.signed()); err != nil {
		t.Fatal(err)
	}
	<-updated
	a.drop()
	if err := k.Accept(a.signed()); err != nil {
		t.Fatal(err)
	}
	<-updated
	if _, err := source.Verify(peer, certs.AuthorizeAny()); !errors.Is(err, certs.ErrUntrusted) {
		t.Errorf("Verify() of a peer whose root is gone = %v", err)
	}
	// Nobody else says who is in one's own trust domain.
	if err := k.Accept(onprem.signed()); !errors.Is(err, ErrUnknown) {
		t.Errorf("Accept() of one's own = %v", err)
	}
}

// TestAnchorCountsAgain: where a publisher has stopped for good, what the Workload
// API learnt since counts, and nothing that it knew before.
func TestAnchorCountsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		a := newAuthority(t, aws)
		old := peerOf(t, a)
		first := a.Bundle()
		a.add(a.newRoot())
		anchor := anchors(first)
		cfg := Config{Self: self, Dir: dir, Anchor: func(td spiffeid.TrustDomain) *x509bundle.Bundle { return anchor(td) }}
		k := keeperOf(t, cfg)
		if err := k.Accept(a.signed()); err != nil {
			t.Fatal(err)
		}
		a.drop()
		if err := k.Accept(a.signed()); err != nil {
			t.Fatal(err)
		}
		<-time.After(24 * time.Hour)
		k.Reconsider()
		if s := k.States(time.Now())[0]; !s.GetStale() || trusts(k, old) {
			t.Fatalf("the anchor brought an old root back: %v", s)
		}
		a.add(a.newRoot())
		a.drop() // the root that k knows is gone, and nobody has told it
		anchor = anchors(a.Bundle())
		for name, k := range map[string]*Keeper{"running": k, "restarted": keeperOf(t, cfg)} {
			k.Reconsider()
			if !trusts(k, peerOf(t, a)) {
				t.Errorf("%s: who is known to the Workload API is locked out", name)
			}
			if err := k.Accept(a.signed()); err != nil || k.sequenceOf(aws) != 5 {
				t.Errorf("%s: the publisher is back: %v, sequence %d", name, err, k.sequenceOf(aws))
			}
		}
	})
}
