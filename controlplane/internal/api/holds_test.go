package api

import (
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/sallyport-mesh/sallyport/controlplane/internal/records"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	logv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/log/v1"
)

const (
	llm0 = "spiffe://azure.demo/ai/llm-0"
	llm1 = "spiffe://azure.demo/ai/llm-1"
)

// holding is a mesh with workloads that have labels, a store that keeps records for an
// hour, and logs.
func holding(t *testing.T) (*mesh, records.Keeper, *brokenLogs) {
	t.Helper()
	store, err := records.Config{Hot: time.Minute, Retention: time.Hour}.Open(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	logs := &brokenLogs{whole: true, taken: map[string][]*logv1.Entry{}}
	m := newMesh(t, func(c *Config) { c.Holds, c.Logs = store, logs })
	p := testPolicy()
	p.Workloads["llm"].Id, p.Workloads["llm"].Labels = llm0, map[string]string{"tier": "gold"}
	if _, err := m.publish(m.sign(p, 1, "")); err != nil {
		t.Fatal(err)
	}
	return m, store, logs
}

// acts are the administrative acts of one kind that a log has.
func (b *brokenLogs) acts(m *mesh, td string, of func(*logv1.Act) *logv1.Hold) (all []*logv1.Act) {
	m.server.journal.enter(m.t.Context())
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.taken[td] {
		if of(e.GetAct()) != nil {
			all = append(all, e.GetAct())
		}
	}
	return all
}

// TestHoldOutlastsRetention: what a label held when it was set is kept until it is
// released, and both are in the log of each environment.
func TestHoldOutlastsRetention(t *testing.T) {
	m, store, logs := holding(t)
	var joined []records.Joined
	for _, r := range counting() {
		joined = append(joined, records.Joined{Egress: onprem1, Ingress: azure1, Record: r})
	}
	if err := store.Put(t.Context(), joined); err != nil {
		t.Fatal(err)
	}
	client := controlv1.NewHoldServiceClient(m.operator())
	hold, err := client.SetHold(t.Context(), &controlv1.SetHoldRequest{Name: "case 7", Identities: []string{llm1}, Labels: []string{"tier=gold"}})
	if want := (&logv1.Hold{Name: "case 7", Identities: []string{llm0, llm1}}); err != nil || !proto.Equal(hold, want) {
		t.Fatalf("SetHold() = %v, %v, want %v", hold, err, want)
	}
	listed, err := client.ListHolds(t.Context(), &controlv1.ListHoldsRequest{})
	if err != nil || len(listed.GetHolds()) != 1 || !proto.Equal(listed.GetHolds()[0], hold) {
		t.Errorf("ListHolds() = %v, %v", listed, err)
	}
	held := 0
	for _, r := range counting() {
		if slices.Contains(hold.GetIdentities(), r.GetDestination()) {
			held++
		}
	}
	long := time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
	left(t, store, long, len(joined)) // the clock has yet to go steadily for a day
	left(t, store, long.Add(24*time.Hour), held)
	if released, err := client.ReleaseHold(t.Context(), &controlv1.ReleaseHoldRequest{Name: "case 7"}); err != nil || !proto.Equal(released, hold) {
		t.Errorf("ReleaseHold() = %v, %v", released, err)
	}
	left(t, store, long.Add(25*time.Hour), 0)
	for _, td := range []string{"onprem.demo", "azure.demo"} {
		for _, of := range []func(*logv1.Act) *logv1.Hold{(*logv1.Act).GetHold, (*logv1.Act).GetReleased} {
			acts := logs.acts(m, td, of)
			if len(acts) != 1 || !proto.Equal(of(acts[0]), hold) || !strings.HasSuffix(acts[0].GetBy(), operatorPath) {
				t.Errorf("the log of %s has %v", td, acts)
			}
		}
	}
}

// left says how many records are left after upkeep.
func left(t *testing.T, store records.Keeper, now time.Time, want int) {
	t.Helper()
	if _, err := store.Maintain(t.Context(), now); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, err := range store.Find(t.Context(), records.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n != want {
		t.Errorf("at %v there are %d records, want %d", now, n, want)
	}
}

// TestLabelsOfWhereWorkloadsAre: a label of a registration counts, too.
func TestLabelsOfWhereWorkloadsAre(t *testing.T) {
	m, _, _ := holding(t)
	_, err := controlv1.NewWorkloadServiceClient(m.operator()).Register(t.Context(), &controlv1.RegisterRequest{
		Workload: "orchestrator", Addresses: []string{"127.1.0.20"}, Labels: map[string]string{"case": "7"},
	})
	if err != nil {
		t.Fatal(err)
	}
	hold, err := controlv1.NewHoldServiceClient(m.operator()).SetHold(t.Context(), &controlv1.SetHoldRequest{Name: "x", Labels: []string{"case=7", "tier=gold"}})
	if want := []string{llm0, "spiffe://onprem.demo" + workloadPath}; err != nil || !slices.Equal(hold.GetIdentities(), want) {
		t.Errorf("SetHold() = %v, %v, want %v", hold, err, want)
	}
}

func TestRefusedHolds(t *testing.T) {
	m, _, logs := holding(t)
	client := controlv1.NewHoldServiceClient(m.operator())
	for want, req := range map[string]*controlv1.SetHoldRequest{
		"without a name":                      {Owner: "ml-platform"},
		"no owner and no identities":          {Name: "x"},
		`identity "llm"`:                      {Name: "x", Identities: []string{"llm"}},
		`"tier": want KEY=VALUE`:              {Name: "x", Labels: []string{"tier"}},
		"no workload has the label tier=iron": {Name: "x", Labels: []string{"tier=gold", "tier=iron"}},
		"set several":                         {Name: "x", Owner: strings.Repeat("x", maxHold)},
	} {
		_, err := client.SetHold(t.Context(), req)
		wantCode(t, want, err, codes.InvalidArgument)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %q", req.GetName(), err, want)
		}
	}
	_, err := client.ReleaseHold(t.Context(), &controlv1.ReleaseHoldRequest{Name: "x"})
	wantCode(t, "a hold that there is not", err, codes.NotFound)
	if acts := logs.acts(m, "onprem.demo", (*logv1.Act).GetHold); len(acts) > 0 {
		t.Errorf("the log has what was refused: %v", acts)
	}
	_, err = controlv1.NewHoldServiceClient(published(t, nil).operator()).ListHolds(t.Context(), &controlv1.ListHoldsRequest{})
	wantCode(t, "holds without records on disk", err, codes.FailedPrecondition)
	unpublished := newMesh(t, func(c *Config) { c.Holds = emptyHolds(t) })
	_, err = controlv1.NewHoldServiceClient(unpublished.operator()).SetHold(t.Context(), &controlv1.SetHoldRequest{Name: "x", Owner: "y"})
	wantCode(t, "a hold without a policy", err, codes.FailedPrecondition)
}

func emptyHolds(t *testing.T) Holds {
	t.Helper()
	store, err := records.OpenSQLite(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return store
}

// TestStandingHoldsAreEntered when a control plane starts: the one before may not have
// come to it.
func TestStandingHoldsAreEntered(t *testing.T) {
	m, store, logs := holding(t)
	if err := store.Hold(t.Context(), records.Hold{Name: "case 7", Owner: "ml-platform"}); err != nil {
		t.Fatal(err)
	}
	m.server.enterStanding(t.Context())
	if acts := logs.acts(m, "azure.demo", (*logv1.Act).GetHold); len(acts) != 1 || acts[0].GetHold().GetOwner() != "ml-platform" || acts[0].GetBy() != "" {
		t.Errorf("the log has %v", acts)
	}
}
