package api

import (
	"context"
	"crypto/ed25519"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/sallyport-mesh/sallyport/controlplane/internal/store"
	"github.com/sallyport-mesh/sallyport/gateway/policy/signed"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

func TestPublishAndGet(t *testing.T) {
	m := newMesh(t, nil)
	first := m.sign(testPolicy(), 1, "")
	resp, err := m.publish(first)
	if err != nil {
		t.Fatal(err)
	}
	revision := signed.Revision(first.GetPolicy())
	want := &controlv1.PublishResponse{Serial: 1, Revision: revision, Behind: []string{"azure-1", "onprem-1"}}
	if diff := cmp.Diff(want, resp, protocmp.Transform(), protocmp.IgnoreFields(want, "took")); diff != "" {
		t.Errorf("Publish() (-want +got):\n%s", diff)
	}
	second := m.sign(testPolicy(), 2, revision)
	if _, err := m.publish(second); err != nil {
		t.Fatalf("Publish(serial 2) = %v", err)
	}
	got, err := controlv1.NewPolicyServiceClient(m.operator()).GetPolicy(t.Context(), &controlv1.GetPolicyRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(second, got, protocmp.Transform()); diff != "" {
		t.Errorf("GetPolicy() (-want +got):\n%s", diff)
	}
}

func TestPublishRefuses(t *testing.T) {
	m := published(t, nil)
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	current := signed.Revision(m.sign(testPolicy(), 1, "").GetPolicy())
	overdue, renamed, other := testPolicy(), testPolicy(), testPolicy()
	overdue.Transitions[0].ReviewBy = "2020-01-01"
	renamed.Policy = "another"
	other.Intents[0].Name = "swapped"
	swapped := m.sign(testPolicy(), 2, current)
	swapped.Policy = m.sign(other, 2, current).GetPolicy()
	tests := []struct {
		name   string
		signed *policyv1.SignedPolicy
		want   codes.Code
		says   string
	}{
		{"nothing", nil, codes.InvalidArgument, "no policy"},
		{"empty", &policyv1.SignedPolicy{}, codes.InvalidArgument, "not accepted"},
		{"unknown key", m.sign(testPolicy(), 2, current, signed.NewSigner("mallory", private)), codes.InvalidArgument, "not accepted"},
		{"known key's name, another key", m.sign(testPolicy(), 2, current, signed.NewSigner("alice", private)), codes.InvalidArgument, "not accepted"},
		{"another policy under the manifest", swapped, codes.InvalidArgument, "not accepted"},
		{"past review date", m.sign(overdue, 2, current), codes.InvalidArgument, "dates"},
		{"the same serial", m.sign(testPolicy(), 1, ""), codes.FailedPrecondition, current},
		{"a serial ahead", m.sign(testPolicy(), 3, current), codes.FailedPrecondition, current},
		{"another previous", m.sign(testPolicy(), 2, "sha256:00"), codes.FailedPrecondition, "serial 1"},
		{"another name", m.sign(renamed, 2, current), codes.FailedPrecondition, `"demo"`},
		{"too large", &policyv1.SignedPolicy{Policy: make([]byte, maxPolicy)}, codes.InvalidArgument, "bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := m.publish(tt.signed)
			wantCode(t, "Publish()", err, tt.want)
			if !strings.Contains(status.Convert(err).Message(), tt.says) {
				t.Errorf("Publish() says %q, want %q in it", err, tt.says)
			}
		})
	}
	if _, manifest := m.server.Current(); manifest.GetSerial() != 1 {
		t.Errorf("the current serial is %d after refusals only", manifest.GetSerial())
	}
}

func TestFirstPolicyMustBeTheFirst(t *testing.T) {
	m := newMesh(t, nil)
	_, err := m.publish(m.sign(testPolicy(), 7, "sha256:00"))
	wantCode(t, "Publish(serial 7)", err, codes.FailedPrecondition)
}

func TestOnlyOneOfManyPublishersWins(t *testing.T) {
	m := newMesh(t, nil)
	client := controlv1.NewPolicyServiceClient(m.operator())
	results := make(chan error)
	for i := range 6 {
		p := testPolicy()
		p.Intents[0].Name += string(rune('a' + i))
		sp := m.sign(p, 1, "")
		go func() {
			_, err := client.Publish(t.Context(), &controlv1.PublishRequest{Signed: sp})
			results <- err
		}()
	}
	won := 0
	for range 6 {
		err := <-results
		if err == nil {
			won++
			continue
		}
		wantCode(t, "Publish()", err, codes.FailedPrecondition)
	}
	if won != 1 {
		t.Errorf("%d of 6 publishers won, want 1", won)
	}
}

func TestAnotherControlPlanePublished(t *testing.T) {
	m := published(t, nil)
	p := testPolicy()
	p.Intents[0].Name = "from-elsewhere"
	_, stored, err := m.store.Policy(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	first := signed.Revision(m.sign(testPolicy(), 1, "").GetPolicy())
	elsewhere := m.sign(p, 2, first)
	if _, err := m.store.PutPolicy(t.Context(), elsewhere, stored); err != nil {
		t.Fatal(err)
	}
	_, err = m.publish(m.sign(testPolicy(), 2, first))
	wantCode(t, "Publish() after another's", err, codes.FailedPrecondition)
	if !strings.Contains(err.Error(), "serial 2") {
		t.Errorf("Publish() says %q, want the stored serial 2 in it", err)
	}
	if _, err := m.publish(m.sign(testPolicy(), 3, signed.Revision(elsewhere.GetPolicy()))); err != nil {
		t.Errorf("Publish() after catching up = %v", err)
	}
}

func TestRestartServesTheStoredPolicy(t *testing.T) {
	m := published(t, nil)
	m.stop()
	m.serve(nil)
	got, err := controlv1.NewPolicyServiceClient(m.operator()).GetPolicy(t.Context(), &controlv1.GetPolicyRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(m.sign(testPolicy(), 1, ""), got, protocmp.Transform()); diff != "" {
		t.Errorf("GetPolicy() after a restart (-want +got):\n%s", diff)
	}
}

func TestForgedStoredPolicyIsRefused(t *testing.T) {
	m := newMesh(t, nil)
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.store.PutPolicy(t.Context(), m.sign(testPolicy(), 1, "", signed.NewSigner("alice", private)), 0); err != nil {
		t.Fatal(err)
	}
	c, _ := m.config(nil)
	if _, err := New(t.Context(), c); !errors.Is(err, signed.ErrSignature) {
		t.Errorf("New() over a forged policy = %v, want %v", err, signed.ErrSignature)
	}
}

// brokenStore fails to write.
type brokenStore struct{ Store }

func (brokenStore) PutPolicy(context.Context, *policyv1.SignedPolicy, uint64) (uint64, error) {
	return 0, store.ErrUnavailable
}

func (brokenStore) PolicyHistory(context.Context) ([]*policyv1.SignedPolicy, error) {
	return nil, store.ErrUnavailable
}

func (brokenStore) AppendFrames(context.Context, string, [][]byte) error {
	return store.ErrUnavailable
}

func TestPublishIntoABrokenStore(t *testing.T) {
	m := newMesh(t, func(c *Config) { c.Store = brokenStore{c.Store} })
	_, err := m.publish(m.sign(testPolicy(), 1, ""))
	wantCode(t, "Publish()", err, codes.Unavailable)
	if sp, _ := m.server.Current(); sp != nil {
		t.Error("a policy that was not stored is current")
	}
}

func TestNewRefusesAConfigWithGaps(t *testing.T) {
	m := newMesh(t, nil)
	for name, change := range map[string]func(*Config){
		"no store":     func(c *Config) { c.Store = nil },
		"no bootstrap": func(c *Config) { c.Bootstrap = nil },
		"no keys":      func(c *Config) { c.Keys = nil },
	} {
		c, _ := m.config(change)
		if _, err := New(t.Context(), c); err == nil {
			t.Errorf("New() with %s succeeded", name)
		}
	}
}
