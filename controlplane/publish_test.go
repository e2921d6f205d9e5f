package controlplane

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.uber.org/zap/zaptest"

	"github.com/sallyport-mesh/sallyport/certs/authority"
	"github.com/sallyport-mesh/sallyport/certs/federation"
	configv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/config/v1"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
)

// domain is an authority on this machine that can be started again.
type domain struct {
	t      *testing.T
	config AuthorityConfig
	*Authority
	stop func()
}

func newDomain(t *testing.T, name string) *domain {
	t.Helper()
	return &domain{t: t, config: AuthorityConfig{
		Authority: authority.Config{
			TrustDomain: spiffeid.RequireTrustDomainFromString(name), Dir: filepath.Join(t.TempDir(), "authority"), RefreshHint: time.Second,
		},
		Federated: map[spiffeid.TrustDomain]string{},
		Log:       zaptest.NewLogger(t),
	}}
}

// bundle is the file for others, in this authority's directory.
func (d *domain) bundle() string { return filepath.Join(d.config.Authority.Dir, "bundle.json") }

// trusts begins with a copy of another's bundle of now.
func (d *domain) trusts(other *domain) {
	d.t.Helper()
	text, err := os.ReadFile(other.bundle())
	if err != nil {
		d.t.Fatal(err)
	}
	path := filepath.Join(d.t.TempDir(), "bundle.json")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		d.t.Fatal(err)
	}
	d.config.Federated[other.config.Authority.TrustDomain] = path
}

func (d *domain) start() *domain {
	d.t.Helper()
	a, err := NewAuthority(d.config)
	if err != nil {
		d.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	stopped := false
	d.Authority, d.stop = a, func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			d.t.Errorf("Run() = %v", err)
		}
	}
	d.t.Cleanup(d.stop)
	return d
}

// await waits until what is held of another trust domain came from there, and has
// so many roots.
func (d *domain) await(other *domain, origin string, roots uint32) {
	d.t.Helper()
	name := other.config.Authority.TrustDomain.Name()
	for deadline := time.Now().Add(30 * time.Second); ; <-time.After(20 * time.Millisecond) {
		states := d.keeper.States(time.Now())
		for _, s := range states {
			if s.GetTrustDomain() == name && s.GetOrigin() == origin && s.GetAuthorities() == roots {
				return
			}
		}
		if time.Now().After(deadline) {
			d.t.Fatalf("%s from %s with %d roots is awaited in vain: %v", name, origin, roots, states)
		}
	}
}

// TestAuthoritiesFollowEachOther: by a bundle endpoint of its own, beginning with a
// file.
func TestAuthoritiesFollowEachOther(t *testing.T) {
	t.Parallel()
	aws, onprem := newDomain(t, "aws.demo"), newDomain(t, "onprem.demo")
	aws.config.Endpoints = []BundleEndpoint{{Listen: "127.0.0.1:0", Path: "/bundle.json"}}
	aws.start()
	at, err := federation.ParseEndpoint(&configv1.BundleEndpoint{
		TrustDomain: "aws.demo", Url: "https://" + aws.endpoints[0].Addr().String() + "/bundle.json",
		Profile: federation.ProfileSPIFFE, Id: "spiffe://aws.demo/sallyport/authority/main",
	})
	if err != nil {
		t.Fatal(err)
	}
	onprem.trusts(aws)
	onprem.config.Federation = []federation.Endpoint{at}
	if err := aws.Issuer().PrepareRoot(); err != nil {
		t.Fatal(err)
	}
	if err := aws.Issuer().ActivateRoot(); err != nil { // at once: its endpoint locks nobody out
		t.Fatal(err)
	}
	onprem.start()
	onprem.await(aws, federation.FromEndpoint, 2)
	// Nobody is there to ask any more, and the file is an old one.
	aws.stop()
	onprem.stop()
	onprem.config.Federation = nil
	onprem.start()
	onprem.await(aws, federation.FromEndpoint, 2)
	if got := onprem.keeper.Bundles(); len(got) != 1 || len(got[0].X509Authorities()) != 2 {
		t.Errorf("after a restart: %v", got)
	}
}

// join starts authorities that trust one another, and the plane again as a control
// plane of the first one's trust domain that the others join.
func (p *plane) join(mesh *domain, others ...*domain) {
	p.t.Helper()
	p.stop()
	all := append([]*domain{mesh}, others...)
	for _, d := range all {
		d.start() // makes the bundle
		d.stop()
	}
	for _, d := range all {
		for _, other := range all {
			if other != d {
				d.trusts(other)
			}
		}
	}
	mesh.start()
	p.config.Source = sourceOf(p.t, mesh, "/sallyport/controlplane/cp-1", others...)
	p.start()
	for _, d := range others {
		d.config.ControlPlane = ControlPlaneAddress{Address: p.cp.Addr().String(), ID: p.cp.ID()}
		d.start()
	}
}

// TestRootsWaitForThoseWhoFollow: a root is not used before the gateways of other
// environments and the control plane hold it, as far as they can be asked.
func TestRootsWaitForThoseWhoFollow(t *testing.T) {
	t.Parallel()
	mesh, azure, onprem := newDomain(t, "mesh.demo"), newDomain(t, "azure.demo"), newDomain(t, "onprem.demo")
	p := newPlane(t)
	p.publish(1, "")
	p.join(mesh, azure, onprem)
	if err := azure.Issuer().PrepareRoot(); err != nil {
		t.Fatal(err)
	}
	until := func(what string, done func(error) bool) {
		t.Helper()
		ctx := p.patience()
		for ; ; <-time.After(20 * time.Millisecond) {
			err := azure.Issuer().MayActivateRoot()
			if done(err) {
				return
			}
			if ctx.Err() != nil {
				t.Fatalf("%s: %v", what, err)
			}
		}
	}
	// The control plane holds it soon; of the gateway nobody knows.
	until("it is held by all but the gateway", func(err error) bool {
		return errors.Is(err, authority.ErrNotYet) && strings.HasSuffix(err.Error(), "is not held by "+onprem1)
	})
	sequence, _ := azure.Issuer().Bundle().SequenceNumber()
	gateway := controlv1.NewGatewayServiceClient(p.dial(sourceOf(t, onprem, "/sallyport/gateway/onprem-1", mesh)))
	for _, held := range []struct {
		sequence uint64
		may      bool
	}{{sequence - 1, false}, {sequence, true}, {sequence + 1, true}} {
		bundles := []*controlv1.BundleStatus{{TrustDomain: "azure.demo", Sequence: held.sequence}}
		if _, err := gateway.Report(p.patience(), &controlv1.ReportRequest{Bundles: bundles}); err != nil {
			t.Fatal(err)
		}
		if err := azure.Issuer().MayActivateRoot(); (err == nil) != held.may {
			t.Errorf("the gateway holds %d, the root came with %d: %v", held.sequence, sequence, err)
		}
	}
	p.stop()
	if err := azure.Issuer().MayActivateRoot(); !errors.Is(err, authority.ErrNotYet) || !strings.Contains(err.Error(), "it is not known who holds root") {
		t.Errorf("nobody can be asked: %v", err)
	}
	if err := azure.Issuer().ActivateRoot(); err != nil {
		t.Errorf("it cannot be forced: %v", err)
	}
}

// TestAuthorityJoinsControlPlane: what one publishes, the other hears, and the
// control plane itself.
func TestAuthorityJoinsControlPlane(t *testing.T) {
	t.Parallel()
	aws, onprem := newDomain(t, "aws.demo"), newDomain(t, "onprem.demo")
	p := newPlane(t)
	p.join(newDomain(t, "mesh.demo"), aws, onprem)
	onprem.await(aws, federation.FromStatement, 1)
	aws.await(onprem, federation.FromStatement, 1)
	if err := aws.Issuer().PrepareRoot(); err != nil {
		t.Fatal(err)
	}
	onprem.await(aws, federation.FromStatement, 2)
	p.stop() // and started again, it has what it had
	p.config.Listen = aws.config.ControlPlane.Address
	p.start()
	if s := p.cp.keeper.States(time.Now()); len(s) != 2 || s[0].GetAuthorities() != 2 {
		t.Errorf("after a restart it holds %v", s)
	}
	if err := aws.Issuer().ActivateRoot(); err != nil {
		t.Fatal(err)
	}
	if err := aws.Issuer().RetireRoot(); err != nil {
		t.Fatal(err)
	}
	onprem.await(aws, federation.FromStatement, 1)
}

// TestBundlesOfAnotherIssuer: one that publishes at an endpoint and has no channel
// is spoken for by a workload of its own.
func TestBundlesOfAnotherIssuer(t *testing.T) {
	t.Parallel()
	mesh, aws := newDomain(t, "mesh.demo"), newDomain(t, "aws.demo")
	dir, err := os.MkdirTemp("", "sp") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	socket := filepath.Join(dir, "w.sock")
	mesh.start()
	aws.trusts(mesh)
	aws.config.Endpoints = []BundleEndpoint{{Listen: "127.0.0.1:0"}}
	aws.config.Authority.Entries = []authority.Entry{{
		ID: spiffeid.RequireFromPath(aws.config.Authority.TrustDomain, "/sallyport/authority/bundles"), Socket: socket,
	}}
	aws.start()
	p := newPlane(t)
	p.stop()
	p.config.Source = sourceOf(t, mesh, "/sallyport/controlplane/cp-1", aws)
	p.start()
	at, err := federation.ParseEndpoint(&configv1.BundleEndpoint{
		TrustDomain: "aws.demo", Url: "https://" + aws.endpoints[0].Addr().String() + "/",
		Profile: federation.ProfileSPIFFE, Id: "spiffe://aws.demo/sallyport/authority/main",
	})
	if err != nil {
		t.Fatal(err)
	}
	changed := p.cp.keeper.Changed()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- RunBundles(ctx, BundlesConfig{
			WorkloadAPI: "unix://" + socket, Endpoint: at, ControlPlane: ControlPlaneAddress{Address: p.cp.Addr().String(), ID: p.cp.ID()},
			Log: zaptest.NewLogger(t),
		})
	}()
	select {
	case <-changed:
	case err := <-done:
		t.Fatalf("RunBundles() = %v", err)
	case <-p.patience().Done():
		t.Fatal("nothing was published")
	}
	if s := p.cp.keeper.States(time.Now()); len(s) != 1 || s[0].GetOrigin() != federation.FromStatement || s[0].GetTrustDomain() != "aws.demo" {
		t.Errorf("the control plane holds %v", s)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("RunBundles() = %v", err)
	}
	gateway := BundlesConfig{WorkloadAPI: "unix://" + socket, Endpoint: federation.Endpoint{}}
	if err := RunBundles(t.Context(), gateway); err == nil {
		t.Error("it publishes the bundle of another trust domain's endpoint")
	}
}
