package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-mesh/sallyport/e2e/meshtest"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// awaitExplained waits until each record with one half is a finding that both gateways'
// statements explain, and until there are no others.
func awaitExplained(t *testing.T, m *meshtest.Mesh, records []*crossingv1.Record) {
	t.Helper()
	ticker := time.NewTicker(200 * time.Millisecond)
	defer ticker.Stop()
	for deadline := time.Now().Add(meshtest.Patience); ; <-ticker.C {
		findings := m.Unmatched(t)
		unexplained := unexplained(records, findings)
		if len(unexplained) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d findings of %d records, %d of them not as they should be:\n%s", len(findings), len(records), len(unexplained),
				strings.Join(unexplained[:min(len(unexplained), 10)], "\n"))
		}
	}
}

// unexplained are the records of one half that no finding explains, and all findings
// of anything else.
func unexplained(records []*crossingv1.Record, findings []*controlv1.Finding) []string {
	var faults []string
	alone := map[string]bool{}
	for _, r := range records {
		if r.GetState() == crossingv1.Record_ONE_SIDED {
			alone[r.GetId()] = true
		}
	}
	for _, f := range findings {
		explains := f.GetKind() == controlv1.Finding_ONE_SIDED && !f.GetUncertain() && f.GetCause() != "" &&
			f.GetDifference() != crossingv1.Difference_KIND_UNSPECIFIED
		if !explains || !alone[f.GetCrossing()] {
			faults = append(faults, fmt.Sprintf("a finding that nothing is the reason for, or that says none: %v", f))
			continue
		}
		delete(alone, f.GetCrossing())
	}
	for id := range alone {
		faults = append(faults, "no finding explains the one half of "+id)
	}
	return faults
}

// awaitStated waits until statements were made on every transition since then, none
// is silent, and at most so many chains of each go on: those of runs that have ended
// are over.
func awaitStated(t *testing.T, m *meshtest.Mesh, since time.Time, most uint32) {
	t.Helper()
	ticker := time.NewTicker(200 * time.Millisecond)
	defer ticker.Stop()
	for deadline := time.Now().Add(meshtest.Patience); ; <-ticker.C {
		resp, err := controlv1.NewCrossingServiceClient(m.API()).ListTransitions(m.Context, &controlv1.ListTransitionsRequest{})
		if err != nil {
			t.Fatal(err)
		}
		count, missing := uint64(0), 3
		for _, tr := range resp.GetTransitions() {
			s := tr.GetStatements()
			count += s.GetCount()
			if tr.GetOwner() != "" && s.GetChains() <= most && s.GetSilent() == nil && s.GetLast().AsTime().After(since) {
				missing--
			}
		}
		if missing == 0 {
			t.Logf("%d statements; at most %d chains go on for each transition", count, most)
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d transitions are not stated, but for %d chains: %v", missing, most, resp.GetTransitions())
		}
	}
}

// listed holds that the operator's tool lists each record of one half.
func listed(t *testing.T, m *meshtest.Mesh, records []*crossingv1.Record) {
	t.Helper()
	code := 0
	said := meshtest.Sallyport(t, m.Dir(), "unmatched", "-o", "json")
	for _, r := range records {
		if r.GetState() != crossingv1.Record_ONE_SIDED {
			continue
		}
		if code = 1; !strings.Contains(said.Stdout, r.GetId()) {
			t.Errorf("sallyport unmatched does not list %s", r.GetId())
		}
	}
	if said.Code != code {
		t.Errorf("sallyport unmatched: exit code %d, want %d: %s", said.Code, code, said.Stderr)
	}
}

// TestUnexplained: each record of one half needs one finding that says why, and no
// other finding has a reason.
func TestUnexplained(t *testing.T) {
	t.Parallel()
	alone := &crossingv1.Record{Id: "a", State: crossingv1.Record_ONE_SIDED}
	finding := func(kind controlv1.Finding_Kind, id string, uncertain bool) *controlv1.Finding {
		return &controlv1.Finding{Kind: kind, Crossing: id, Uncertain: uncertain, Cause: "it never came", Difference: crossingv1.Difference_UNSEEN}
	}
	unnamed := finding(controlv1.Finding_ONE_SIDED, "a", false)
	unnamed.Difference = crossingv1.Difference_KIND_UNSPECIFIED
	good := finding(controlv1.Finding_ONE_SIDED, "a", false)
	for _, c := range []struct {
		name     string
		records  []*crossingv1.Record
		findings []*controlv1.Finding
		want     int
	}{
		{"nothing", nil, nil, 0},
		{"joined", []*crossingv1.Record{{Id: "a", State: crossingv1.Record_JOINED}}, nil, 0},
		{"explained", []*crossingv1.Record{alone}, []*controlv1.Finding{good}, 0},
		{"not explained", []*crossingv1.Record{alone}, nil, 1},
		{"not yet explained", []*crossingv1.Record{alone}, []*controlv1.Finding{finding(controlv1.Finding_ONE_SIDED, "a", true)}, 2},
		{"explained by no statement", []*crossingv1.Record{alone}, []*controlv1.Finding{unnamed}, 2},
		{"twice", []*crossingv1.Record{alone}, []*controlv1.Finding{good, good}, 1},
		{"of nothing", nil, []*controlv1.Finding{good}, 1},
		{"of another kind", []*crossingv1.Record{alone}, []*controlv1.Finding{good, finding(controlv1.Finding_LOST, "a", false)}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := unexplained(c.records, c.findings); len(got) != c.want {
				t.Errorf("%q, want %d", got, c.want)
			}
		})
	}
}
