package api

import (
	"crypto/ed25519"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sallyport-mesh/sallyport/controlplane/internal/join"
	"github.com/sallyport-mesh/sallyport/gateway/act"
	"github.com/sallyport-mesh/sallyport/gateway/policy/signed"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// quarantine is an act of the operator about the workload.
func (m *mesh) quarantine() *policyv1.Act {
	return &policyv1.Act{
		Policy: "demo", Kind: policyv1.Act_QUARANTINE, Subject: "spiffe://onprem.demo" + workloadPath, Reason: "leaked",
		Author: m.domains["mesh.demo"].ID(operatorPath).String(), Made: timestamppb.Now(), ReviewBy: "2999-01-01",
	}
}

func (m *mesh) signAct(said *policyv1.Act, signers ...signed.Signer) *policyv1.SignedAct {
	m.t.Helper()
	if signers == nil {
		signers = []signed.Signer{m.signer}
	}
	sa, err := act.Sign(said, signers...)
	if err != nil {
		m.t.Fatal(err)
	}
	return sa
}

func (m *mesh) make(sa *policyv1.SignedAct) (*controlv1.MakeResponse, error) {
	m.t.Helper()
	return controlv1.NewActServiceClient(m.operator()).Make(m.t.Context(), &controlv1.MakeRequest{Signed: sa})
}

func (m *mesh) list() []*controlv1.ActStatus {
	m.t.Helper()
	r, err := controlv1.NewActServiceClient(m.operator()).ListActs(m.t.Context(), &controlv1.ListActsRequest{})
	if err != nil {
		m.t.Fatal(err)
	}
	return r.GetActs()
}

func TestMakeKeepsAnAct(t *testing.T) {
	m := published(t, nil)
	sa := m.signAct(m.quarantine())
	for range 2 { // the second time it is known
		r, err := m.make(sa)
		if err != nil || r.GetId() != act.ID(sa) || len(r.GetBehind()) != 2 || len(r.GetInForce()) != 0 {
			t.Fatalf("Make = %v, %v", r, err)
		}
	}
	m.stop()
	m.serve(nil)
	all := m.list()
	if len(all) != 1 || all[0].GetId() != act.ID(sa) || all[0].GetAct().GetReason() != "leaked" || all[0].GetKeys()[0] != "alice" || len(all[0].GetBehind()) != 2 {
		t.Errorf("after a restart: %v", all)
	}
	if !proto.Equal(m.server.Acts(), &policyv1.ActSet{Acts: []*policyv1.SignedAct{sa}}) {
		t.Errorf("served: %v", m.server.Acts())
	}
}

func TestMakeRefuses(t *testing.T) {
	m := newMesh(t, nil)
	_, err := m.make(m.signAct(m.quarantine()))
	wantCode(t, "Make without a policy", err, codes.FailedPrecondition)
	if _, err := m.publish(m.sign(testPolicy(), 1, "")); err != nil {
		t.Fatal(err)
	}
	_, stranger, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		change func(*policyv1.Act)
		by     []signed.Signer
		want   string
	}{
		{"nobody's", nil, []signed.Signer{}, "not signed by enough known keys"},
		{"a stranger's", nil, []signed.Signer{signed.NewSigner("alice", stranger)}, "not signed by enough known keys"},
		{"another policy's", func(a *policyv1.Act) { a.Policy = "other" }, nil, `of policy "other"`},
		{"somebody else's", func(a *policyv1.Act) { a.Author = "spiffe://mesh.demo/sallyport/operator/eve" }, nil, "comes from"},
		{"of yesterday", func(a *policyv1.Act) { a.Made = timestamppb.New(time.Now().Add(-24 * time.Hour)) }, nil, "check the clocks"},
		{"of tomorrow", func(a *policyv1.Act) { a.Made = timestamppb.New(time.Now().Add(24 * time.Hour)) }, nil, "check the clocks"},
		{"about nobody of the mesh", func(a *policyv1.Act) { a.Subject = "spiffe://stranger.demo/ai/x" }, nil, "would deny nothing"},
		{"about no gateway", func(a *policyv1.Act) {
			a.Kind, a.Subject = policyv1.Act_REVOKE_GATEWAY, "spiffe://onprem.demo/sallyport/gateway/onprem-9"
		}, nil, "no gateway of the policy"},
	} {
		said := m.quarantine()
		if c.change != nil {
			c.change(said)
		}
		_, err := m.make(m.signAct(said, c.by...))
		wantCode(t, c.name, err, codes.InvalidArgument)
		if err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	_, err = m.make(nil)
	wantCode(t, "no act", err, codes.InvalidArgument)
	if all := m.list(); len(all) != 0 {
		t.Errorf("kept: %v", all)
	}
}

func TestLift(t *testing.T) {
	m := published(t, nil)
	sa := m.signAct(m.quarantine())
	lift := func(of string, subject string) *policyv1.SignedAct {
		said := m.quarantine()
		said.Kind, said.ReviewBy, said.Lifts, said.Subject = policyv1.Act_LIFT, "", of, subject
		return m.signAct(said)
	}
	subject := m.quarantine().GetSubject()
	_, err := m.make(lift(act.ID(sa), subject))
	wantCode(t, "LIFT of what is not there", err, codes.FailedPrecondition)
	if _, err := m.make(sa); err != nil {
		t.Fatal(err)
	}
	_, err = m.make(lift(act.ID(sa), "spiffe://azure.demo/ai/llm"))
	wantCode(t, "LIFT about somebody else", err, codes.FailedPrecondition)
	up := lift(act.ID(sa), subject)
	if _, err := m.make(up); err != nil {
		t.Fatal(err)
	}
	_, err = m.make(lift(act.ID(sa), subject))
	wantCode(t, "LIFT of what is lifted", err, codes.FailedPrecondition)
	for _, a := range m.list() {
		if a.GetId() == act.ID(sa) && (a.GetLiftedBy() != act.ID(up) || a.GetOverdue()) {
			t.Errorf("listed as %v", a)
		}
	}
}

func TestListActsSaysWhereAndWhen(t *testing.T) {
	m := published(t, nil)
	said := m.quarantine()
	said.ReviewBy = "2020-01-01"
	sa, unknown := m.signAct(said), "sha256:"+strings.Repeat("3f", 32)
	if _, err := m.make(sa); err != nil {
		t.Fatal(err)
	}
	gateway := m.domains["onprem.demo"].ID(gatewayPath1).String()
	at := timestamppb.Now()
	m.records.mu.Lock()
	for _, id := range []string{act.ID(sa), unknown} {
		m.records.applied = append(m.records.applied, join.Applied{Gateway: gateway, Applied: &crossingv1.Applied{
			Act: id, Kind: policyv1.Act_QUARANTINE, Subject: said.GetSubject(), At: at,
		}})
	}
	m.records.mu.Unlock()
	all := m.list()
	if len(all) != 2 || all[0].GetId() != unknown || all[0].GetAct().GetSubject() != said.GetSubject() {
		t.Fatalf("an act that is recorded and not stored is not shown: %v", all)
	}
	got := all[1]
	if len(got.GetApplied()) != 1 || got.GetApplied()[0].GetGateway() != "onprem-1" || !proto.Equal(got.GetApplied()[0].GetAt(), at) ||
		strings.Join(got.GetBehind(), ",") != "azure-1" || !got.GetOverdue() {
		t.Errorf("listed as %v", got)
	}
}

// TestTheDeniedRegisterNothing: whoever is quarantined or revoked could lead calls to
// where it likes.
func TestTheDeniedRegisterNothing(t *testing.T) {
	m := published(t, nil)
	register := func(path string) error {
		_, err := controlv1.NewWorkloadServiceClient(m.as("azure.demo", path)).Register(t.Context(), &controlv1.RegisterRequest{
			Workload: "llm", Endpoints: map[string]string{"chat": "127.3.0.10:8000"},
		})
		return err
	}
	for _, c := range []struct {
		path string
		kind policyv1.Act_Kind
	}{{"/ai/llm", policyv1.Act_QUARANTINE}, {"/sallyport/gateway/azure-1", policyv1.Act_REVOKE_GATEWAY}} {
		if err := register(c.path); err != nil {
			t.Fatalf("%s: %v", c.path, err)
		}
		said := m.quarantine()
		said.Kind, said.Subject = c.kind, "spiffe://azure.demo"+c.path
		if _, err := m.make(m.signAct(said)); err != nil {
			t.Fatal(err)
		}
		wantCode(t, "register as "+c.path, register(c.path), codes.PermissionDenied)
	}
}
