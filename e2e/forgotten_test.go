package e2e

import (
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/localmesh"
	"github.com/sallyport-mesh/sallyport/e2e/meshtest"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// TestForgotten: what is settled leaves the control plane's memory, and nobody who asks can
// tell: it is listed, traced and proven as before.
func TestForgotten(t *testing.T) {
	t.Parallel()
	core, logs := observer.New(zap.DebugLevel)
	m := meshtest.Start(t, func(cfg *localmesh.Config) {
		cfg.Remember, cfg.Log = 200*time.Millisecond, zap.New(core)
	})
	want := map[string]crossingv1.Record_State{}
	client := m.As(t, "orchestrator")
	for range 5 {
		for url, state := range map[string]crossingv1.Record_State{
			"https://llm.azure.mesh:8000/v1/models":  crossingv1.Record_JOINED,
			"https://registry.aws.mesh:5000/v2/":     crossingv1.Record_DENIED,
			"https://llm.azure.mesh:8000/v1/nothing": crossingv1.Record_DENIED,
		} {
			resp, err := client.Get(url)
			if err != nil {
				t.Fatal(err)
			}
			meshtest.ReadAll(t, resp)
			want[resp.Header.Get("sallyport-crossing")] = state
		}
	}
	m.Eventually(t, func() bool {
		forgotten := int64(0)
		for _, e := range logs.FilterMessage("crossings are in the store of records alone").All() {
			forgotten += e.ContextMap()["count"].(int64)
		}
		return forgotten == int64(len(want))
	})
	told := m.Crossings(t, &controlv1.ListCrossingsRequest{})
	if len(told) != len(want) {
		t.Errorf("%d crossings are listed, want %d", len(told), len(want))
	}
	for _, r := range told {
		if r.GetState() != want[r.GetId()] {
			t.Errorf("%s is %s, want %s", r.GetId(), r.GetState(), want[r.GetId()])
		}
	}
	if page := m.Crossings(t, &controlv1.ListCrossingsRequest{Before: told[9].GetId(), Limit: 4}); !slices.EqualFunc(page, told[5:9], sameID) {
		t.Errorf("a page of it has %d crossings, or others", len(page))
	}
	one := told[slices.IndexFunc(told, func(r *crossingv1.Record) bool { return r.GetState() == crossingv1.Record_JOINED })]
	if said := string(tool(t, m, "trace", one.GetId())); !strings.Contains(said, one.GetId()) || !strings.Contains(said, "JOINED") {
		t.Errorf("its trace:\n%s", said)
	}
	a := newAuditor(t, tool(t, m, "log", "keys"))
	a.has("crossing.tlog-proof", tool(t, m, "log", "prove", one.GetId()))
	if said, code := a.verify("crossing.tlog-proof"); code != 0 {
		t.Errorf("its proof: exit %d\n%s", code, said)
	}
	if n := len(m.Unmatched(t)); n > 0 {
		t.Errorf("%d findings", n)
	}
}

func sameID(a, b *crossingv1.Record) bool { return a.GetId() == b.GetId() }
