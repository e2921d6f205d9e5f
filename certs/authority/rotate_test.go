package authority

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"go.uber.org/zap"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/certs/authority/admin"
	"github.com/sallyport-mesh/sallyport/certs/authority/attest"
	"github.com/sallyport-mesh/sallyport/certs/authority/ca"
	"github.com/sallyport-mesh/sallyport/certs/authority/keys"
)

// clock is a clock that tests set on.
type clock struct{ off atomic.Int64 }

func (c *clock) now() time.Time     { return time.Now().Add(time.Duration(c.off.Load())) }
func (c *clock) on(d time.Duration) { c.off.Add(int64(d)) }

// source is a workload's own, as its program has it.
func source(t *testing.T, socket string) *certs.Source {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	s, err := certs.NewSource(ctx, certs.Options{WorkloadAPI: "unix://" + socket})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// await waits until a source is as it should be.
func await(t *testing.T, s *certs.Source, what string, good func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	updated, stop := s.Subscribe()
	defer stop()
	for !good() {
		select {
		case <-updated:
		case <-ctx.Done():
			t.Fatalf("%s: %s did not come", s.ID(), what)
		}
	}
}

func rootsOf(t *testing.T, s *certs.Source) int {
	t.Helper()
	b, err := s.GetX509BundleForTrustDomain(td)
	if err != nil {
		t.Fatal(err)
	}
	return len(b.X509Authorities())
}

// under says that the source's SVID was issued under the root.
func under(t *testing.T, s *certs.Source, root *x509.Certificate) bool {
	t.Helper()
	svid, err := s.GetX509SVID()
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = x509svid.Verify(svid.Certificates, spiffebundle.FromX509Authorities(td, []*x509.Certificate{root}))
	return err == nil
}

func two(t *testing.T) Config {
	t.Helper()
	c := config(t)
	c.Entries = []Entry{
		{ID: spiffeid.RequireFromPath(td, "/caller"), Socket: c.Entries[0].Socket},
		{ID: spiffeid.RequireFromPath(td, "/callee"), Socket: c.Entries[1].Socket},
	}
	return c
}

// callee answers every connection with one byte.
func callee(t *testing.T, s *certs.Source, caller spiffeid.ID) net.Addr {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", certs.ServerTLS(s, certs.AuthorizeID(caller)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_, _ = conn.Write([]byte{1}) // the handshake with it; its error is the caller's, too
			}()
		}
	}()
	return l.Addr()
}

func call(s *certs.Source, at net.Addr, id spiffeid.ID) error {
	conn, err := tls.Dial("tcp", at.String(), certs.ClientTLS(s, certs.AuthorizeID(id)))
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = io.ReadFull(conn, make([]byte, 1))
	return err
}

// TestRotationDropsNothing rotates the root twice under a constant stream of new
// connections between two workloads, none of which fails.
func TestRotationDropsNothing(t *testing.T) {
	c := two(t)
	c.X509TTL, c.IntermediateLife = 10*time.Second, 20*time.Second // ordinary renewals happen meanwhile
	a := start(t, c, nil)
	from, to := source(t, c.Entries[0].Socket), source(t, c.Entries[1].Socket)
	at := callee(t, to, from.ID())

	var calls atomic.Int64
	stop, failed := make(chan struct{}), make(chan error, 1)
	go func() {
		defer close(failed)
		for {
			select {
			case <-stop:
				return
			default:
			}
			if err := call(from, at, to.ID()); err != nil {
				failed <- fmt.Errorf("call %d: %w", calls.Load(), err)
				return
			}
			calls.Add(1)
		}
	}()
	goOn := func() { // a while of calls between two steps
		for until := calls.Load() + 30; calls.Load() < until; {
			if err := call(from, at, to.ID()); err != nil {
				t.Fatal(err)
			}
			select {
			case err := <-failed:
				t.Fatal(err)
			default:
			}
		}
	}
	for range 2 {
		goOn()
		if err := a.PrepareRoot(); err != nil {
			t.Fatal(err)
		}
		for _, s := range []*certs.Source{from, to} {
			await(t, s, "the prepared root", func() bool { return rootsOf(t, s) == 2 })
		}
		goOn()
		prepared := a.ca.View().In(ca.Prepared).Issuer.Root
		if err := a.ActivateRoot(); err != nil {
			t.Fatal(err)
		}
		for _, s := range []*certs.Source{from, to} {
			await(t, s, "an SVID under the new root", func() bool { return under(t, s, prepared) })
		}
		goOn()
		if err := a.RetireRoot(); err != nil {
			t.Fatal(err)
		}
		for _, s := range []*certs.Source{from, to} {
			await(t, s, "the end of the old root", func() bool { return rootsOf(t, s) == 1 })
		}
		goOn()
	}
	close(stop)
	if err := <-failed; err != nil {
		t.Error(err)
	}
	t.Logf("%d calls over two rotations, none failed", calls.Load())
}

// TestStepsWait: without force, a root is activated when others hold it, and the
// old one is retired when nothing under it is valid any more.
func TestStepsWait(t *testing.T) {
	var clock clock
	c := two(t)
	a := start(t, c, clock.now)
	if _, err := dial(t, c.Entries[0]).FetchX509SVID(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(a.MayActivateRoot(), a.MayRetireRoot()); err != nil {
		t.Errorf("there is nothing to wait for: %v", err)
	}
	if err := errors.Join(a.ActivateRoot(), a.RetireRoot()); !errors.Is(err, ca.ErrStep) {
		t.Errorf("steps out of order = %v", err)
	}
	if err := a.PrepareRoot(); err != nil {
		t.Fatal(err)
	}
	if err := a.MayActivateRoot(); !errors.Is(err, ErrNotYet) || !strings.Contains(err.Error(), "every 1m0s") {
		t.Errorf("at once after it was prepared: %v", err)
	}
	clock.on(time.Minute)
	lacking := []string{"azure.example", "onprem.example"}
	var deaf error
	a.SetFollowers(func(sequence uint64) ([]string, error) {
		if now, _ := a.Bundle().SequenceNumber(); sequence != now {
			t.Errorf("asked about bundle %d, want %d", sequence, now)
		}
		return lacking, deaf
	})
	if err := a.MayActivateRoot(); !errors.Is(err, ErrNotYet) || !strings.Contains(err.Error(), "azure.example, onprem.example") {
		t.Errorf("while followers lack it: %v", err)
	}
	lacking, deaf = nil, errors.New("nobody answers")
	if err := a.MayActivateRoot(); !errors.Is(err, ErrNotYet) || !errors.Is(err, deaf) {
		t.Errorf("while nobody knows: %v", err)
	}
	deaf = nil
	if err := a.MayActivateRoot(); err != nil {
		t.Errorf("when all hold it: %v", err)
	}
	if err := a.ActivateRoot(); err != nil {
		t.Fatal(err)
	}
	if _, err := a.OwnSVIDs(); err != nil { // under the old root, too; nobody waits for those
		t.Fatal(err)
	}
	if err := a.MayRetireRoot(); !errors.Is(err, ErrNotYet) || !strings.Contains(err.Error(), "may be valid for another 1h0m0s") {
		t.Errorf("while an SVID is valid: %v", err)
	}
	clock.on(time.Hour)
	lacking = []string{"azure.example"}
	if err := a.MayRetireRoot(); !errors.Is(err, ErrNotYet) || !strings.Contains(err.Error(), "azure.example") {
		t.Errorf("while a follower lacks the active one: %v", err)
	}
	lacking = nil
	if err := a.MayRetireRoot(); err != nil {
		t.Errorf("when nothing is valid any more: %v", err)
	}
	if err := a.RetireRoot(); err != nil {
		t.Fatal(err)
	}
}

func TestOwnSVIDs(t *testing.T) {
	c := config(t)
	c.Entries, c.Name = nil, "aws-1"
	a := idle(t, c)
	first := a.Bundle()
	for _, step := range []struct {
		do   func() error
		want int
	}{{func() error { return nil }, 1}, {a.PrepareRoot, 2}, {a.ActivateRoot, 2}, {a.RetireRoot, 1}} {
		changed := a.Changed()
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		svids, err := a.OwnSVIDs()
		if err != nil || len(svids) != step.want {
			t.Fatalf("%d SVIDs, %v, want %d", len(svids), err, step.want)
		}
		for i, svid := range svids {
			id, chains, err := x509svid.Verify(svid.Certificates, a.Bundle())
			if err != nil || id.String() != "spiffe://aws.example/sallyport/authority/aws-1" {
				t.Errorf("SVID %d: %v, %v", i, id, err)
				continue
			}
			_, _, old := x509svid.Verify(svid.Certificates, first)
			if last := i == len(svids)-1 && step.want == 2; last != (old == nil) && step.want == 2 {
				t.Errorf("SVID %d of %d verifies under the first root: %v", i, len(svids), old)
			}
			if len(chains[0]) != 3 {
				t.Errorf("a chain of %d", len(chains[0]))
			}
		}
		if len(svids) == 2 {
			select {
			case <-changed:
			default:
				t.Error("the change was not told")
			}
		}
	}
}

// TestIntermediateIsRenewed lets half of an intermediate's life pass.
func TestIntermediateIsRenewed(t *testing.T) {
	c := two(t)
	var clock clock
	c.Entries = nil
	a := idle(t, c)
	a.now = clock.now
	before := a.Roots()[0]
	if wait := a.renewDue(); wait != lookAgain {
		t.Errorf("the next look is in %v", wait)
	}
	if got := a.Roots()[0]; got.Intermediate.SHA256 != before.Intermediate.SHA256 {
		t.Error("a fresh intermediate was renewed")
	}
	clock.on(defaultIntermediateLife/2 + time.Minute)
	a.renewDue()
	after := a.Roots()[0]
	if after.Intermediate.SHA256 == before.Intermediate.SHA256 || after.Root != before.Root {
		t.Errorf("at half of its life: %+v, before %+v", after, before)
	}
}

// TestAdmin drives a rotation through the socket that the operator's tool uses.
func TestAdmin(t *testing.T) {
	c := two(t)
	c.Admin = true
	start(t, c, nil)
	socket := filepath.Join(c.Dir, admin.Socket)
	if info, err := os.Lstat(socket); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("admin socket: %v, %v", info.Mode(), err)
	}
	op := admin.Dial(socket)
	if roots, err := op.Step(t.Context(), "prepare"); err != nil || len(roots) != 2 || roots[0].State != "prepared" || roots[0].Number <= roots[1].Number {
		t.Fatalf("prepare = %+v, %v", roots, err)
	}
	if _, err := op.Step(t.Context(), "activate"); !errors.Is(err, admin.ErrNotYet) {
		t.Errorf("activate at once = %v", err)
	}
	for _, step := range []string{"activate", "retire"} {
		if _, err := op.ForceStep(t.Context(), step); err != nil {
			t.Errorf("%s: %v", step, err)
		}
	}
	if _, err := op.Step(t.Context(), "abandon"); err == nil || !strings.Contains(err.Error(), "none is prepared") {
		t.Errorf("abandon = %v", err)
	}
	if roots, err := op.Roots(t.Context()); err != nil || len(roots) != 1 || roots[0].State != "active" || roots[0].Intermediate == nil {
		t.Errorf("Roots = %+v, %v", roots, err)
	}
}

// TestKeysElsewhere has a signer keep all keys: none is in the authority's directory.
func TestKeysElsewhere(t *testing.T) {
	c := two(t)
	dir := filepath.Dir(c.Dir)
	store, err := keys.OpenDisk(filepath.Join(dir, "signer"))
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(dir, "signer.sock"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- keys.Serve(ctx, l, store, attest.Selectors{UIDs: []uint32{ownUID()}}, zap.NewNop())
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	c.Keys = keys.Dial(l.Addr().String())
	a := start(t, c, nil)
	from, to := source(t, c.Entries[0].Socket), source(t, c.Entries[1].Socket)
	at := callee(t, to, from.ID())
	for _, step := range []func() error{func() error { return nil }, a.PrepareRoot, a.ActivateRoot} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
		if err := call(from, at, to.ID()); err != nil {
			t.Error(err)
		}
	}
	if _, _, err := from.FetchJWTSVID(t.Context(), "one"); err != nil {
		t.Error(err)
	}
	if found, err := filepath.Glob(filepath.Join(c.Dir, "keys", "*")); err != nil || len(found) != 0 {
		t.Errorf("keys in the authority's directory: %v, %v", found, err)
	}
	if found, err := filepath.Glob(filepath.Join(dir, "signer", "*.pem")); err != nil || len(found) != 6 {
		t.Errorf("keys at the signer: %v, %v", found, err)
	}
}
