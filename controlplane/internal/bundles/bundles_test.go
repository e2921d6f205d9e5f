package bundles

import (
	"context"
	"errors"
	"maps"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/protobuf/proto"

	"github.com/sallyport-mesh/sallyport/certs/authority"
	"github.com/sallyport-mesh/sallyport/certs/federation"
	"github.com/sallyport-mesh/sallyport/controlplane/internal/store"
	configv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/config/v1"
)

// memory is a store that may fail.
type memory struct {
	mu       sync.Mutex // guards what follows
	values   map[string][]byte
	revision map[string]uint64
	fails    error
}

func (m *memory) Put(ctx context.Context, key string, value []byte, expected uint64) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case ctx.Err() != nil:
		return 0, ctx.Err()
	case m.fails != nil:
		return 0, m.fails
	case m.revision[key] != expected:
		return 0, store.ErrConflict
	}
	m.values[key] = value
	m.revision[key]++
	return m.revision[key], nil
}

func (m *memory) Get(_ context.Context, key string) ([]byte, uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.values[key], m.revision[key], nil
}

func (m *memory) List(_ context.Context, each func(key string, value []byte, revision uint64) error) error {
	m.mu.Lock()
	all := maps.Clone(m.values)
	m.mu.Unlock()
	for key, value := range all {
		if err := each(key, value, m.revision[key]); err != nil {
			return err
		}
	}
	return m.fails
}

// carrier is a control plane of mesh.test that federates with aws.test.
type carrier struct {
	t         *testing.T
	aws, mesh *authority.Authority
	memory    *memory
	*Bundles
}

func issuerOf(t *testing.T, name string) *authority.Authority {
	t.Helper()
	a, err := authority.New(authority.Config{
		TrustDomain: spiffeid.RequireTrustDomainFromString(name), Dir: filepath.Join(t.TempDir(), "a"), X509TTL: time.Hour, RefreshHint: time.Minute,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stopped, stop := context.WithCancel(context.Background())
		stop()
		if err := a.Run(stopped); err != nil {
			t.Error(err)
		}
	})
	return a
}

func newCarrier(t *testing.T) *carrier {
	t.Helper()
	c := &carrier{
		t: t, aws: issuerOf(t, "aws.test"), mesh: issuerOf(t, "mesh.test"),
		memory: &memory{values: map[string][]byte{}, revision: map[string]uint64{}},
	}
	c.start()
	return c
}

// start starts a control plane over the store, with what it trusts at first.
func (c *carrier) start() {
	c.t.Helper()
	first := c.aws.Bundle().X509Bundle()
	self := c.mesh.Bundle().TrustDomain()
	k, err := federation.Open(federation.Config{Self: self, Anchor: func(td spiffeid.TrustDomain) *x509bundle.Bundle {
		if td == first.TrustDomain() {
			return first
		}
		return nil
	}})
	if err != nil {
		c.t.Fatal(err)
	}
	c.Bundles, err = New(c.t.Context(), Config{Store: c.memory, Self: self, Roots: c.mesh.Bundle(), Keeper: k})
	if err != nil {
		c.t.Fatal(err)
	}
}

func signedBy(t *testing.T, a *authority.Authority) *configv1.SignedBundle {
	t.Helper()
	p, err := federation.NewPublisher(a, nil)
	if err != nil {
		t.Fatal(err)
	}
	signed, _ := p.Latest()
	return signed
}

func (c *carrier) names() (names []string) {
	all, _ := c.Newest()
	for _, s := range all {
		names = append(names, s.GetTrustDomain())
	}
	return names
}

func TestPublish(t *testing.T) {
	c := newCarrier(t)
	first := signedBy(t, c.aws)
	if err := c.aws.PrepareRoot(); err != nil {
		t.Fatal(err)
	}
	second := signedBy(t, c.aws)
	_, changed := c.Newest()
	for _, s := range []*configv1.SignedBundle{first, second, second, signedBy(t, c.mesh)} {
		if err := c.Publish(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	<-changed
	if got := c.names(); len(got) != 2 || got[0] != "aws.test" || got[1] != "mesh.test" {
		t.Errorf("handed on: %v", got)
	}
	forged := proto.CloneOf(second)
	forged.Document = append(forged.Document, ' ')
	own := proto.CloneOf(signedBy(t, c.mesh))
	own.Signatures = second.GetSignatures()
	for name, tt := range map[string]struct {
		signed *configv1.SignedBundle
		want   error
	}{
		"an older one":               {first, federation.ErrRollback},
		"a forged one":               {forged, federation.ErrUnverified},
		"a stranger's":               {signedBy(t, issuerOf(t, "stranger.test")), federation.ErrUnknown},
		"its own, signed by another": {own, federation.ErrUnverified},
		"its own, by another root":   {signedBy(t, issuerOf(t, "mesh.test")), federation.ErrUnverified},
		"nothing":                    {nil, federation.ErrMalformed},
	} {
		if err := c.Publish(t.Context(), tt.signed); !errors.Is(err, tt.want) {
			t.Errorf("%s: Publish() = %v, want %v", name, err, tt.want)
		}
	}
	if all, _ := c.Newest(); !proto.Equal(all[0], second) {
		t.Errorf("handed on: %v", all[0])
	}
	if s := c.States(); len(s) != 1 || s[0].GetSequence() != sequenceOf(second) {
		t.Errorf("States() = %v", s)
	}
	// The mesh's own may not go back either, though no keeper keeps it.
	before := signedBy(t, c.mesh)
	if err := c.mesh.PrepareRoot(); err != nil {
		t.Fatal(err)
	}
	if err := c.Publish(t.Context(), signedBy(t, c.mesh)); err != nil {
		t.Fatal(err)
	}
	if err := c.Publish(t.Context(), before); !errors.Is(err, federation.ErrRollback) {
		t.Errorf("its own older one: Publish() = %v", err)
	}
}

func sequenceOf(signed *configv1.SignedBundle) uint64 {
	n, _ := federation.Sequence(signed)
	return n
}

func TestStoreFails(t *testing.T) {
	c := newCarrier(t)
	c.memory.fails = store.ErrUnavailable
	if err := c.Publish(t.Context(), signedBy(t, c.aws)); !errors.Is(err, store.ErrUnavailable) || len(c.names()) != 0 {
		t.Errorf("Publish() = %v, handed on %v", err, c.names())
	}
	c.memory.fails = nil
	c.memory.revision["aws.test"] = 7 // another control plane was faster
	if err := c.Publish(t.Context(), signedBy(t, c.aws)); !errors.Is(err, store.ErrConflict) {
		t.Errorf("Publish() = %v", err)
	}
	if err := c.Publish(t.Context(), signedBy(t, c.aws)); err != nil || len(c.names()) != 1 {
		t.Errorf("again: Publish() = %v", err)
	}
}

// TestSilentAuthority: what nobody would take any more is not handed on, before and
// after a restart, until its authority is back.
func TestSilentAuthority(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCarrier(t)
		if err := c.Publish(t.Context(), signedBy(t, c.aws)); err != nil {
			t.Fatal(err)
		}
		c.start()
		if len(c.names()) != 1 {
			t.Error("a restart has lost it")
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- c.Run(ctx) }()
		<-time.After(time.Hour + 2*time.Minute)
		if len(c.names()) != 0 {
			t.Error("it is handed on though its SVID has ended")
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		c.start()
		if len(c.names()) != 0 {
			t.Error("a restart hands it on again")
		}
		if err := c.Publish(t.Context(), signedBy(t, c.aws)); err != nil || len(c.names()) != 1 {
			t.Errorf("its authority is back: Publish() = %v", err)
		}
		c.memory.values["aws.test"] = []byte("x")
		c.start()
		if len(c.names()) != 0 {
			t.Error("what cannot be read is handed on")
		}
	})
}

// TestPublishIsFinished although its caller is cut off by what it publishes.
func TestPublishIsFinished(t *testing.T) {
	c := newCarrier(t)
	ctx, leave := context.WithCancel(t.Context())
	leave()
	if err := c.Publish(ctx, signedBy(t, c.aws)); err != nil {
		t.Fatal(err)
	}
	if all, _ := c.Newest(); len(all) != 1 || len(c.memory.values) != 1 {
		t.Errorf("%d bundles are handed on, %d kept, want one", len(all), len(c.memory.values))
	}
}
