package certs_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest"
	"go.uber.org/zap/zaptest/observer"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/certs/authority"
	"github.com/sallyport-mesh/sallyport/certs/certstest"
)

// issuing is a running authority with one entry.
type issuing struct {
	*authority.Authority
	addr string // of the Workload API
	stop func()
}

func serve(t *testing.T, c authority.Config) issuing {
	t.Helper()
	c.Log = zaptest.NewLogger(t)
	a, err := authority.New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	var stopped bool
	stop := func() {
		if cancel(); stopped {
			return
		}
		stopped = true
		if err := <-done; err != nil {
			t.Errorf("Run = %v", err)
		}
	}
	t.Cleanup(stop)
	return issuing{a, "unix://" + c.Entries[0].Socket, stop}
}

func configure(t *testing.T, name string) authority.Config {
	t.Helper()
	dir, err := os.MkdirTemp("", "sp") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	td := spiffeid.RequireTrustDomainFromString(name)
	return authority.Config{
		TrustDomain: td,
		Dir:         filepath.Join(dir, "authority"),
		Entries:     []authority.Entry{{ID: spiffeid.RequireFromPath(td, "/agent"), Socket: filepath.Join(dir, "run", "a.sock")}},
	}
}

func open(t *testing.T, addr string, extra ...*spiffebundle.Bundle) *certs.Source {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	s, err := certs.NewSource(ctx, certs.Options{WorkloadAPI: addr, Bundles: extra, Log: zaptest.NewLogger(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
	})
	return s
}

// await waits for signals until something holds.
func await(t *testing.T, s *certs.Source, what string, holds func() bool) {
	t.Helper()
	timeout := time.After(20 * time.Second)
	for !holds() {
		select {
		case <-s.Updated():
		case <-timeout:
			t.Fatalf("%s: not within 20 seconds", what)
		}
	}
}

// TestFederatedAuthorities has workloads of two authorities meet, before and
// after the authorities are federated.
func TestFederatedAuthorities(t *testing.T) {
	aws, azure := serve(t, configure(t, "aws.example")), serve(t, configure(t, "azure.example"))
	t.Setenv("SPIFFE_ENDPOINT_SOCKET", aws.addr)
	client, server := open(t, ""), open(t, azure.addr)
	sc := certs.ServerTLS(server, certs.AuthorizeID(client.ID()))
	cc := certs.ClientTLS(client, certs.AuthorizeID(server.ID()))
	if o := connect(t, sc, cc); !errors.Is(o.clientErr, certs.ErrUntrusted) {
		t.Errorf("before federation: %v, want %v", o.clientErr, certs.ErrUntrusted)
	}

	aws.SetFederated(azure.Bundle())
	azure.SetFederated(aws.Bundle())
	knows := func(s *certs.Source, td spiffeid.TrustDomain) func() bool {
		return func() bool {
			_, x := s.GetX509BundleForTrustDomain(td)
			_, j := s.GetJWTBundleForTrustDomain(td)
			return x == nil && j == nil
		}
	}
	await(t, client, "azure's bundle", knows(client, server.TrustDomain()))
	await(t, server, "aws's bundle", knows(server, client.TrustDomain()))
	if o := connect(t, sc, cc); o.serverErr != nil || o.clientErr != nil {
		t.Errorf("federated: server: %v, client: %v", o.serverErr, o.clientErr)
	}
	token, expires, err := client.FetchJWTSVID(t.Context(), audience)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := server.ValidateJWT(token, audience, time.Now()); err != nil || got.ID != client.ID() {
		t.Errorf("ValidateJWT = %v, %v, want %v", got, err, client.ID())
	}
	if left := time.Until(expires); left > time.Hour || left < 59*time.Minute {
		t.Errorf("JWT-SVID expires in %v, want an hour", left)
	}

	azure.SetFederated()
	await(t, server, "aws's bundle gone", func() bool { return !knows(server, client.TrustDomain())() })
	if o := connect(t, sc, cc); !errors.Is(o.serverErr, certs.ErrUntrusted) {
		t.Errorf("after federation ended: %v, want %v", o.serverErr, certs.ErrUntrusted)
	}
}

// TestRotationAndRestart follows an authority whose SVIDs last four seconds, and
// one that was restarted.
func TestRotationAndRestart(t *testing.T) {
	c := configure(t, "aws.example")
	c.X509TTL = 4 * time.Second
	first := serve(t, c)
	s := open(t, first.addr)
	shown := func() (string, error) {
		svid, err := s.GetX509SVID()
		if err != nil {
			return "", err
		}
		return certs.Fingerprint(svid.Certificates[0]), nil
	}
	// another is one that is good, whatever has become of the last one until then.
	another := func(than string) func() bool {
		return func() bool {
			now, err := shown()
			return err == nil && now != than
		}
	}
	before, err := shown()
	if err != nil {
		t.Fatal(err)
	}
	await(t, s, "rotation", another(before))

	first.stop()
	before, err = shown() // kept while the Workload API is away
	if err != nil && !errors.Is(err, certs.ErrExpired) {
		t.Fatal(err)
	}
	second := serve(t, c)
	await(t, s, "an SVID of the restarted authority", another(before))
	if !second.Bundle().Equal(first.Bundle()) {
		t.Error("the restarted authority has another root")
	}
}

func TestStaticBundle(t *testing.T) {
	mesh := certstest.Mesh(t, "mesh.example", "aws.example")
	aws := serve(t, configure(t, "aws.example"))
	s := open(t, aws.addr, mesh["mesh.example"].Bundle(), mesh["aws.example"].Bundle())
	b, err := s.GetX509BundleForTrustDomain(mesh["mesh.example"].TrustDomain())
	if err != nil || !b.Equal(mesh["mesh.example"].Bundle().X509Bundle()) {
		t.Errorf("static bundle: %v", err)
	}
	j, err := s.GetJWTBundleForTrustDomain(mesh["mesh.example"].TrustDomain())
	if err != nil || !j.Equal(mesh["mesh.example"].Bundle().JWTBundle()) {
		t.Errorf("static JWT bundle: %v", err)
	}
	own, err := s.GetX509BundleForTrustDomain(s.TrustDomain())
	if err != nil || !own.Equal(aws.Bundle().X509Bundle()) {
		t.Errorf("own bundle is not the Workload API's: %v", err)
	}
}

// due is a context whose deadline is what a test says it is.
type due struct {
	context.Context
	passed chan struct{}
}

func (d due) Done() <-chan struct{} { return d.passed }

func (d due) Err() error {
	select {
	case <-d.passed:
		return context.DeadlineExceeded
	default:
		return nil
	}
}

// overdue is a context whose deadline passes when the log that goes with it
// tells of a third fault: two streams have told of two, and one tried again.
func overdue(t *testing.T) (context.Context, *zap.Logger) {
	d := due{t.Context(), make(chan struct{})}
	var faults atomic.Int32
	core, _ := observer.New(zap.WarnLevel)
	return d, zap.New(core, zap.Hooks(func(zapcore.Entry) error {
		if faults.Add(1) == 3 {
			close(d.passed)
		}
		return nil
	}))
}

func TestNewSourceFails(t *testing.T) {
	refusing := configure(t, "aws.example")
	refusing.Entries[0].UIDs = []uint32{uint32(os.Getuid()) + 1}
	tests := []struct {
		name, addr string
		want       []string
	}{
		{"no address", "", []string{"SPIFFE_ENDPOINT_SOCKET"}},
		{"no URI", "/run/a.sock", []string{"open Workload API", "/run/a.sock"}},
		{"nobody there", "unix:///nonexistent/a.sock", []string{"nonexistent", "deadline exceeded", "no such file"}},
		{"not its user", serve(t, refusing).addr, []string{"deadline exceeded", "PermissionDenied", "no identity issued"}},
	}
	t.Setenv("SPIFFE_ENDPOINT_SOCKET", "")
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ctx, log := overdue(t)
			_, err := certs.NewSource(ctx, certs.Options{WorkloadAPI: tt.addr, Log: log})
			if err == nil {
				t.Fatal("NewSource gave a source")
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error = %q, want %q in it", err, want)
				}
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("error has more than one line: %q", err)
			}
		})
	}
}
