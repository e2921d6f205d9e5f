package api

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"

	"github.com/sallyport-mesh/sallyport/certs/federation"
	"github.com/sallyport-mesh/sallyport/controlplane/internal/store"
	configv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/config/v1"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
)

// fakeBundles takes whatever it is given, or fails as it is told.
type fakeBundles struct {
	mu      sync.Mutex // guards what follows
	fails   error
	newest  []*configv1.SignedBundle
	changed chan struct{}
}

func newFakeBundles() *fakeBundles { return &fakeBundles{changed: make(chan struct{})} }

func (b *fakeBundles) Publish(_ context.Context, signed *configv1.SignedBundle) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fails != nil {
		return b.fails
	}
	b.newest = append(b.newest, signed)
	close(b.changed)
	b.changed = make(chan struct{})
	return nil
}

func (b *fakeBundles) Newest() ([]*configv1.SignedBundle, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.newest, b.changed
}

func (b *fakeBundles) States() []*controlv1.BundleStatus {
	return []*controlv1.BundleStatus{{TrustDomain: "azure.demo", Sequence: 7}}
}

func publishBundle(m *mesh, domain, td string) error {
	conn := m.as(domain, "/sallyport/authority/main")
	_, err := controlv1.NewBundleServiceClient(conn).Publish(m.t.Context(), &controlv1.PublishBundleRequest{
		Signed: &configv1.SignedBundle{TrustDomain: td},
	})
	return err
}

func TestPublishBundle(t *testing.T) {
	m := newMesh(t, nil)
	wantCode(t, "Publish() of one's own", publishBundle(m, "onprem.demo", "onprem.demo"), codes.OK)
	wantCode(t, "Publish() of another's", publishBundle(m, "onprem.demo", "azure.demo"), codes.PermissionDenied)
	wantCode(t, "Publish() of nobody's", publishBundle(m, "onprem.demo", ""), codes.PermissionDenied)
	for err, want := range map[error]codes.Code{
		federation.ErrMalformed: codes.InvalidArgument, federation.ErrUnverified: codes.InvalidArgument, federation.ErrUnknown: codes.InvalidArgument,
		federation.ErrRollback: codes.FailedPrecondition, federation.ErrForked: codes.FailedPrecondition, store.ErrConflict: codes.FailedPrecondition,
		store.ErrUnavailable: codes.Unavailable,
	} {
		m.bundles.fails = fmt.Errorf("%w: as told", err)
		wantCode(t, err.Error(), publishBundle(m, "onprem.demo", "onprem.demo"), want)
	}
}

// TestWatchBundles: what is there comes at once, what comes later comes then, and
// nothing comes twice.
func TestWatchBundles(t *testing.T) {
	m := newMesh(t, nil)
	if err := publishBundle(m, "azure.demo", "azure.demo"); err != nil {
		t.Fatal(err)
	}
	stream, err := controlv1.NewBundleServiceClient(m.as("onprem.demo", "/sallyport/authority/main")).Watch(t.Context(), &controlv1.WatchBundlesRequest{})
	if err != nil {
		t.Fatal(err)
	}
	next := func(want string) {
		t.Helper()
		got, err := stream.Recv()
		if err != nil || got.GetTrustDomain() != want {
			t.Fatalf("Recv() = %v, %v, want %s", got, err, want)
		}
	}
	next("azure.demo")
	for _, domain := range []string{"mesh.demo", "onprem.demo"} {
		if err := publishBundle(m, domain, domain); err != nil {
			t.Fatal(err)
		}
		next(domain)
	}
	m.server.Close()
	_, err = stream.Recv()
	wantCode(t, "Watch() of a control plane that stops", err, codes.Unavailable)
}

func TestListBundles(t *testing.T) {
	m := newMesh(t, nil)
	got, err := controlv1.NewBundleServiceClient(m.operator()).ListBundles(t.Context(), &controlv1.ListBundlesRequest{})
	if err != nil || len(got.GetBundles()) != 1 || got.GetBundles()[0].GetSequence() != 7 {
		t.Errorf("ListBundles() = %v, %v", got, err)
	}
}

// TestListHolders tells an authority who holds the bundle of its own trust domain:
// everybody who is not in that domain, and 0 of those who have not said.
func TestListHolders(t *testing.T) {
	m := newMesh(t, nil)
	ask := func(domain string) map[string]uint64 {
		t.Helper()
		got, err := controlv1.NewBundleServiceClient(m.as(domain, "/sallyport/authority/main")).ListHolders(t.Context(), &controlv1.ListHoldersRequest{})
		if err != nil {
			t.Fatal(err)
		}
		held := map[string]uint64{}
		for _, h := range got.GetHolders() {
			held[h.GetId()] = h.GetSequence()
		}
		return held
	}
	const plane, onprem, azure = "spiffe://mesh.demo/sallyport/controlplane/cp-1", "spiffe://onprem.demo/sallyport/gateway/onprem-1", "spiffe://azure.demo/sallyport/gateway/azure-1"
	want := func(domain string, want map[string]uint64) {
		t.Helper()
		if diff := cmp.Diff(want, ask(domain)); diff != "" {
			t.Errorf("ListHolders() of %s: %s", domain, diff)
		}
	}
	want("azure.demo", map[string]uint64{plane: 7}) // there is no policy yet
	if _, err := m.publish(m.sign(testPolicy(), 1, "")); err != nil {
		t.Fatal(err)
	}
	want("azure.demo", map[string]uint64{plane: 7, onprem: 0})
	_, err := controlv1.NewGatewayServiceClient(m.gateway()).Report(t.Context(), &controlv1.ReportRequest{
		Bundles: []*controlv1.BundleStatus{{TrustDomain: "mesh.demo", Sequence: 3}, {TrustDomain: "azure.demo", Sequence: 5}},
	})
	if err != nil {
		t.Fatal(err)
	}
	want("azure.demo", map[string]uint64{plane: 7, onprem: 5})
	want("mesh.demo", map[string]uint64{onprem: 3, azure: 0})
	want("onprem.demo", map[string]uint64{plane: 0, azure: 0})
}
